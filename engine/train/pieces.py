"""A run's weights in files of at most 16 MiB, to be carried from a machine and back.

    PYTHONPATH=engine:kernels python -m train.pieces split RUN FOLDER
    PYTHONPATH=engine:kernels python -m train.pieces join FOLDER RUN

The averaged weights in bfloat16 and the counts of the run; the optimisers build their state anew.
Sign and exponent of trained weights are almost the same everywhere, so their bytes are compressed
apart from the others': 30 million parameters are 43 MB.
"""

import argparse
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train import checkpoint

PIECE_BYTES = 16 << 20
COUNTS = ("config", "step", "seconds", "positions", "seen", "train_config", "date")


def split(run: Path, folder: Path) -> list[Path]:
    """Writes the run's last checkpoint into `folder` as NUMBER-of-COUNT.piece files."""
    state = checkpoint.load(run / "checkpoint.pt")
    average = state["average"]
    raw = torch.cat([each.bfloat16().flatten() for each in average.values()])
    planes = raw.view(torch.uint8).view(-1, 2).numpy()
    body = zlib.compress(planes[:, 1].tobytes(), 1)
    packed = len(body)
    body += planes[:, 0].tobytes()
    head = {name: state[name] for name in COUNTS} | {
        "shapes": {name: list(each.shape) for name, each in average.items()},
        "packed": packed,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    data = json.dumps(head).encode() + b"\n" + body
    parts = [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.piece"):
        old.unlink()
    paths = [folder / f"{i}-of-{len(parts)}.piece" for i in range(1, len(parts) + 1)]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    return paths


def joined(folder: Path) -> dict[str, Any]:
    """The checkpoint that `split` wrote: its averaged weights are both the model and the average.

    Raises ValueError, with the remedy, when pieces are missing or damaged.
    """
    names = {path.name for path in folder.glob("*.piece")}
    count = max((int(name.split(".")[0].split("-of-")[1]) for name in names), default=0)
    wanted = [f"{i}-of-{count}.piece" for i in range(1, count + 1)]
    if not count or names != set(wanted):
        raise ValueError(
            f"{folder} holds {sorted(names)}; copy all pieces of one checkpoint, and no others"
        )
    head, body = b"".join((folder / name).read_bytes() for name in wanted).split(b"\n", 1)
    state = json.loads(head)
    if hashlib.sha256(body).hexdigest() != state.pop("sha256"):
        raise ValueError(f"the pieces in {folder} are damaged or mixed; copy them again")
    packed, shapes = state.pop("packed"), state.pop("shapes")
    high = np.frombuffer(zlib.decompress(body[:packed]), np.uint8)
    low = np.frombuffer(body[packed:], np.uint8)
    raw = torch.from_numpy(np.stack((low, high), 1)).view(torch.bfloat16).flatten().float()
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    parts = zip(shapes.items(), raw.split(sizes), strict=True)
    average = {name: part.view(shape) for (name, shape), part in parts}
    return {**state, "model": average, "average": average}


def join(folder: Path, run: Path) -> None:
    """Writes RUN/checkpoint.pt, from which `train.train` and `train.export` go on."""
    state = joined(folder)
    run.mkdir(parents=True, exist_ok=True)
    torch.save(state, run / "checkpoint.pt")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.pieces", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("action", choices=("split", "join"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    try:
        if options.action == "join":
            join(options.source, options.target)
            return
        for path in split(options.source, options.target):
            print(f"{path} {path.stat().st_size / 2**20:.1f} MiB")
    except (OSError, ValueError) as error:
        raise SystemExit(f"train.pieces: {error}") from None


if __name__ == "__main__":
    main()

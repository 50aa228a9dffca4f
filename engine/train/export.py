"""Turns a checkpoint into what ships: averaged weights in half precision, and their model card.

    PYTHONPATH=engine:kernels python -m train.export --run artifacts/run

Every number of the card is read from the checkpoint and the run's log.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from infill_engine.models.two_sided.config import TwoSidedConfig
from infill_engine.models.writing import write_whole
from infill_ls.cli.machine import commit
from train import checkpoint

WEIGHTS = Path(__file__).parent.parent / "infill_engine" / "weights"
TABLE = Path("data/ngram_table/table.safetensors")
SHOWN_TITLE = "## What is shown"
NGRAM_TABLE = (
    "\nBeside every token of the prefix it is given which token followed the last one to four in "
    "most packages of the training data, out of a table of counts (`engine/train/ngram_table.py`)."
)
CARD = """\
# Model card: the embedded default

A two-sided text-diffusion model for infilling code: {millions:.1f} million parameters, \
trained from scratch for infill-ls.
{state}

## Architecture
One set of weights, three streams: the prefix is read forward, the suffix backward, and a short \
canvas between them reads both caches and itself in both directions \
(`engine/infill_engine/models/two_sided`).{ngrams}
Width {d_model}, {num_layers} layers, {num_heads} query heads and {num_kv_heads} key/value heads, \
SwiGLU of {d_ff}, RMSNorm, rotary positions relative to the hole, vocabulary {vocab_size} \
(byte-level BPE, `tokenizer.json`), embedding and head tied.
Noise is absorbing (a mask token) with some wrong visible tokens; END tokens say where a hole \
ends.
Weights are stored in float16 ({megabytes:.1f} MB{with_table}).

## Data and licences
Permissively licensed source code from released packages; see `DATA_NOTICE.md` and `MANIFEST.tsv` \
beside this card for every package, its version, licence and checksum.
{unique_tokens:,} unique tokens were available, {tokens:,} document tokens were read.
The weights are under Apache-2.0, like the project.

## Training
| | |
|---|---|
| date | {date} |
| code | `engine/train`, exported at commit {commit} |
| hardware | {hardware} |
| time | {minutes:.0f} active minutes of wall clock |
| steps | {step:,} |
| document tokens read | {tokens:,} |
| positions (both streams and canvases) | {positions:,} |
| positions per second | {speed:,.0f} |
| optimiser | Muon {muon_lr}, AdamW {adam_lr}, linear decay over the last {decay:.0%}, EMA {ema} |

## Results on held-out packages
Nats per token, on windows of packages that were held out of training ({val_at}):

| | |
|---|---|
{results}

{shown_title}
Not measured; `python -m train.evaluate --calibrate 0.5` does.

## Limitations
{limitations}

## Reproduce
```
{command}
```
"""


def read_log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


RESULT_NAMES = {
    "canvas_all_mask": "canvas, nothing visible",
    "canvas_half": "canvas, half visible",
    "prefix": "prefix stream, next token",
    "suffix": "suffix stream, previous token",
}


def card(
    state: dict[str, Any],
    log: list[dict[str, Any]],
    size: int,
    parameters: int,
    extra: dict[str, str],
) -> str:
    network, config = state["config"], json.loads(state["train_config"])
    vals = [line for line in log if line.get("event") in ("val", "end")]
    last = vals[-1] if vals else {"step": 0}
    unique = [line["unique_tokens"] for line in log if "unique_tokens" in line]
    rows = [
        f"| {title} | {last[name]:.3f} |" for name, title in RESULT_NAMES.items() if name in last
    ]
    if last.get("tail_count"):
        rows.append(
            f"| rest-of-line exact match, greedy, {last['tail_count']} spans | "
            f"{last['tail_exact']:.1%} |"
        )
    return CARD.format(
        **network,
        millions=parameters / 1e6,
        megabytes=size / 1e6,
        unique_tokens=unique[-1] if unique else 0,
        tokens=state["seen"],
        positions=state["positions"],
        step=state["step"],
        minutes=state["seconds"] / 60,
        speed=state["positions"] / max(1e-9, state["seconds"]),
        date=state["date"],
        commit=commit(),
        val_at=f"step {last['step']:,}",
        results="\n".join(rows) or "| none measured | |",
        muon_lr=config["muon_lr"],
        adam_lr=config["adam_lr"],
        decay=config["decay"],
        ema=config["ema"],
        shown_title=SHOWN_TITLE,
        ngrams=NGRAM_TABLE if network.get("ngram_table") else "",
        with_table=", the n-gram table included" if network.get("ngram_table") else "",
        **extra,
    )


def write_weights(path: Path, arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    """Writes a weights file by rename, with the umask's mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda partial: save_file(arrays, partial, metadata))


def export(run: Path, target: Path, extra: dict[str, str], table: Path = TABLE) -> None:
    """Writes default.safetensors and MODEL_CARD.md into `target`, by rename.

    `table` is what `train.ngram_table` made, for a network that reads one.
    """
    state = checkpoint.load(run / "checkpoint.pt")
    arrays = {name: tensor.half().contiguous().numpy() for name, tensor in state["average"].items()}
    config = TwoSidedConfig(**state["config"])
    path = target / "default.safetensors"
    metadata = {
        "config": config.to_json(),
        "step": str(state["step"]),
        "tokens": str(state["seen"]),
        "date": state["date"],
        "licence": "Apache-2.0",
    }
    parameters = sum(array.size for array in arrays.values())
    if config.ngram_table:
        arrays |= load_file(table)
    write_weights(path, arrays, metadata)
    text = card(state, read_log(run / "log.jsonl"), path.stat().st_size, parameters, extra)
    (target / "MODEL_CARD.md").write_text(text, encoding="utf-8")


DEFAULT_EXTRA = {
    "state": "",
    "hardware": "see engine/train/LOG.md",
    "limitations": (
        "It is small and was trained briefly: it is right about short, local and repetitive code, "
        "and wrong about most else.\n"
        "It may reproduce snippets of its training data.\n"
        "Python and JavaScript/TypeScript are most of what it has read; "
        "other languages it hardly knows."
    ),
    "command": "engine/train/run.sh",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.export", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--run", type=Path, default=Path("artifacts/run"))
    parser.add_argument("--target", type=Path, default=WEIGHTS)
    parser.add_argument("--table", type=Path, default=TABLE, help="the n-gram table of the network")
    for name, default in DEFAULT_EXTRA.items():
        parser.add_argument(f"--{name}", default=default)
    options = parser.parse_args()
    extra = {name: str(getattr(options, name)) for name in DEFAULT_EXTRA}
    try:
        export(options.run, options.target, extra, options.table)
    except FileNotFoundError as error:
        raise SystemExit(f"train.export: there is no {error.filename}") from None


if __name__ == "__main__":
    main()

"""The training corpus, from package names to token shards, in one resumable command.

    PYTHONPATH=engine python -m train.corpus all --root data --data BENCHMARKS

runs the stages below in order; each can be run alone, and none repeats what its state under
`--root` says is done (state.py).

    fetch      wheels and npm packages by name, those of packages.txt
    filter     licences, quality, secrets, benchmarks
    dedup      copies, decontamination, caps        -> kept.json
    tokenizer  byte-level BPE                       -> infill_engine/weights/tokenizer.json
    pack       tokens and spans                     -> shards/{val,train-NNN}.npz, MANIFEST.tsv
    carry      shards as xz within a size           -> carry/*.shard
    unpack     the reverse, needs numpy only

`hashes` reads the benchmarks under `--data DIR` and writes the grams' hashes beside this file;
`filter` uses those, so the check repeats without the benchmarks.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from train.corpus.carry import carry, unpack
from train.corpus.packages import PACKAGES, package_list

WEIGHTS = Path(__file__).parents[2] / "infill_engine" / "weights"
STAGES = ("all", "hashes", "fetch", "filter", "dedup", "tokenizer", "pack", "carry", "unpack")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one stage, or all of them."""
    parser = argparse.ArgumentParser(
        prog="python -m train.corpus", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--root", type=Path, default=Path("data"), help="state and results")
    parser.add_argument("--data", type=Path, help="folder of the benchmarks, for the hashes")
    parser.add_argument("--packages", type=Path, default=PACKAGES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tokenizer", type=Path, default=WEIGHTS / "tokenizer.json")
    parser.add_argument("--vocabulary", type=int, default=6144)
    parser.add_argument("--sample-mb", type=float, default=45)
    parser.add_argument("--shard-tokens", type=int, default=25_000_000)
    parser.add_argument("--max-tokens", type=int, default=0, help="training tokens; 0: all")
    parser.add_argument("--carry-mib", type=float, default=60)
    options = parser.parse_args(arguments)
    if options.stage == "hashes" and not options.data:
        parser.error("hashes needs --data DIR, the folder of the benchmarks")
    options.root.mkdir(parents=True, exist_ok=True)
    if options.stage == "carry":
        carry(options.root, options.carry_mib)
    elif options.stage == "unpack":
        unpack(options.root / "carry", options.root / "shards")
    else:
        make(options)


def make(options: argparse.Namespace) -> None:
    """Run the stages that need the tokenizer and the grammars, which `unpack` does without."""
    from train.corpus import decontaminate
    from train.corpus.dedup import dedup
    from train.corpus.fetch import fetch
    from train.corpus.filter import HASHES, filter_packages
    from train.corpus.pack import pack, train_tokenizer

    root, stage, every = options.root, options.stage, options.stage == "all"
    packages = package_list(options.packages)
    if stage == "hashes" or (every and options.data):
        benchmark = decontaminate.benchmark_of(decontaminate.benchmark_texts(options.data))
        decontaminate.save(benchmark, HASHES)
    if every or stage == "fetch":
        fetch(root, packages, max(4, options.workers))
    if every or stage == "filter":
        filter_packages(root, packages, options.workers)
    if every or stage == "dedup":
        dedup(root, packages)
    if stage == "tokenizer" or (every and not options.tokenizer.exists()):
        train_tokenizer(root, options.tokenizer, options.vocabulary, options.sample_mb)
    if every or stage == "pack":
        pack(root, options.tokenizer, options.shard_tokens, options.max_tokens)


if __name__ == "__main__":
    main()

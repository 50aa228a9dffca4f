#!/bin/sh
# From package names to weights that ship: corpus, tokenizer, n-gram table, training, export.
# Every stage takes up where it was stopped. Training reads the fifth that the n-gram table was
# not counted on; a run that reads more than that wants `--no-ngram-table --data data/shards`.
#
#     engine/train/run.sh [MINUTES] [options of train.train, such as --device cuda]
#
# PYTHON names the interpreter, RUN the folder of checkpoints and log (default artifacts/run).
set -eu
cd "$(dirname "$0")/../.."
minutes=${1:-75}
[ $# -eq 0 ] || shift
python=${PYTHON:-.venv/bin/python}
run=${RUN:-artifacts/run}
export PYTHONPATH=engine:kernels
# Freed memory stays in the process, in huge pages: page faults cost a fifth of a step on a CPU.
# Waiting threads sleep, for spinning ones starve whatever else runs.
export GLIBC_TUNABLES="glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184\
:glibc.malloc.top_pad=268435456:glibc.malloc.hugetlb=1"
export OMP_WAIT_POLICY=passive

"$python" -m train.corpus all --root data
[ -f data/ngram_table/table.safetensors ] || "$python" -m train.ngram_table --data data/shards
"$python" -m train.train --data data/ngram_table/shards --ngram-table --out "$run" \
    --minutes "$minutes" "$@"
"$python" -m train.export --run "$run"

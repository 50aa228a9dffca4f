#!/bin/sh
# Everything that waits for a GPU, in one command for a machine that is lent for a quarter of an hour:
#
#     OUT=FOLDER benchmarks/gpu.sh        at most 12 minutes of one GPU with 80 GB
#     OUT=FOLDER benchmarks/gpu.sh dry    the same commands on a CPU, with shapes small enough
#
#   tests    what is marked `gpu`: kernels against their references, captured steps
#   denoise  a step of DiffusionGemma's shape beside transformers' and beside the floor
#   train    a training run: started, stopped, gone on with from its pieces
#
# Each part has a limit of its own, so that one that hangs takes nothing from the next. OUT gets
# some kilobytes: a text file a part, denoise.json, and summary.txt with exit status and seconds; the
# status of all is 1 where that of a part is not 0. PYTHON names the interpreter, by default that of
# .venv where there is one; PATIENCE multiplies the limits, for a machine that others use too.
set -u
cd "$(dirname "$0")/.."
case "${1:-}" in
'' | dry) : "${OUT:?names no folder for the results; OUT=FOLDER benchmarks/gpu.sh [dry]}" ;;
*) echo "$1 is none of: nothing, dry" >&2 && exit 2 ;;
esac
python=.venv/bin/python
[ -x "$python" ] || python=python3
python=${PYTHON:-$python}
patience=${PATIENCE:-1}
out=$(mkdir -p "$OUT" && cd "$OUT" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
export PYTHONPATH=.:engine:kernels PYTHONUNBUFFERED=1
: >"$out/summary.txt"

part() {
    name=$1 limit=$2 started=$(date +%s)
    shift 2
    status=0
    timeout -k 5 $((limit * patience)) "$@" >"$root/$name.txt" 2>&1 || status=$?
    tail -c 16000 "$root/$name.txt" >"$out/$name.txt"
    echo "$name: exit $status after $(($(date +%s) - started)) s" | tee -a "$out/summary.txt"
}

if [ "${1:-}" = dry ]; then
    tests="tests/kernels/test_backend.py tests/kernels/test_formats.py"
    denoise="--device cpu --canvas 16 --formats bf16 int4 --steps 2"
    device=cpu seconds=60
else
    tests="-m gpu tests/kernels tests/engine"
    denoise="--device cuda"
    device=cuda seconds=60
fi

# shellcheck disable=SC2086  # lists of words
part tests 150 "$python" -m pytest -q -p no:cacheprovider $tests
# shellcheck disable=SC2086
part denoise 390 "$python" -m benchmarks.denoise $denoise
tail -n 1 "$out/denoise.txt" | grep '^{' >"$out/denoise.json"

"$python" -c "from pathlib import Path; from tests.train.tiny import write_shards
write_shards(Path('$root/data/shards'))"
train() {
    part "$1" $((seconds + 20)) env OUT="$root/$1" ROOT="$root/data" RUN="$root/run-$1" \
        PYTHON="$python" MODEL="--d-model 32 --num-layers 2 --num-heads 2 --num-kv-heads 1 --d-ff 48" \
        engine/train/gpu.sh $((seconds * patience)) 1 0 --device "$device" --no-compile --tokens 256 \
        --shapes 128x16:0.7,64x8:0.3 --max-steps "$2" --val-infills 3
}
train train 5
# What came back is taken to the next machine, which goes on from there.
mkdir -p "$root/data/pieces"
cp "$root/train"/*.piece "$root/train/log.jsonl" "$root/data/pieces/" 2>/dev/null
train again 10
! grep -v ': exit 0 ' "$out/summary.txt" >/dev/null

#!/bin/sh
# A training run on a GPU machine that may go away, command by command; all commands are the same.
# Each unpacks what was copied to the machine (shards, the pieces of a checkpoint), starts the trainer
# detached where none runs, waits, and leaves log and pieces in $OUT. A trainer that still runs from
# the command before goes on meanwhile, and takes up the new shards. engine/train/LOG.md has the
# commands of a whole run.
#
#     OUT=FOLDER MODEL="--d-model 512 ..." engine/train/gpu.sh SECONDS MINUTES DISTIL [options]
#
# SECONDS is what this command may take, MINUTES what the training takes over all commands, so that
# its decay ends in the last one, and DISTIL the minutes of self-distillation after it (0: none).
# The options go to train.train and train.distil, those in MODEL to train.train alone.
# PYTHON names the interpreter, ROOT the folder of packed files and shards, RUN that of the run.
set -eu
deadline=$(($(date +%s) + $1)) minutes=$2 distil=$3
shift 3
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
root=${ROOT:-data}
run=${RUN:-artifacts/gpu}
export PYTHONPATH=engine:kernels PYTHONUNBUFFERED=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
mkdir -p "$run" "$root/carry" "$root/pieces" "$OUT"

"$python" -m train.corpus unpack --root "$root"
rm -f "$root"/carry/*.shard
if [ ! -e "$run/checkpoint.pt" ] && ls "$root"/pieces/*.piece >/dev/null 2>&1; then
    "$python" -m train.pieces join "$root/pieces" "$run"
    cp "$root/pieces/log.jsonl" "$run/" 2>/dev/null || :
fi

if ! { [ -e "$run/pid" ] && kill -0 "$(cat "$run/pid")" 2>/dev/null; }; then
    cat >"$run/whole.sh" <<EOF
set -eu
"$python" -m train.train --data "$root/shards" --out "$run" --minutes $minutes ${MODEL:-} "\$@"
[ $distil = 0 ] && exit
"$python" -m train.export --run "$run" --target "$run/weights"
"$python" -m train.distil --weights "$run/weights/default.safetensors" --data "$root/shards" \\
    --out "$run/distil" --minutes $distil "\$@"
EOF
    setsid nohup sh "$run/whole.sh" "$@" >>"$run/out.txt" 2>&1 &
    echo $! >"$run/pid"
fi

# Copying takes some seconds of the time.
while kill -0 "$(cat "$run/pid")" 2>/dev/null && [ "$(date +%s)" -lt $((deadline - 15)) ]; do
    sleep 1
done
tail -n 30 "$run/out.txt"
last=$run
[ ! -e "$run/distil/checkpoint.pt" ] || last=$run/distil
tail -n 12 "$last/log.jsonl"
cp "$run/log.jsonl" "$OUT/"
[ ! -e "$run/distil/log.jsonl" ] || cp "$run/distil/log.jsonl" "$OUT/distil.jsonl"
"$python" -m train.pieces split "$last" "$OUT"

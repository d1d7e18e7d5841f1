#!/bin/sh
# The whole recipe: tokenizer, training, export, evaluation.
#
#   DATA=folder OUT=folder [SECONDS_BUDGET=560] [WORK=folder] ./run.sh [train.py flags]
#
# DATA holds train.txt and heldout.txt, plain or with .xz. WORK keeps the tokenizer and the
# tokenised text; when it already has them they are used again. SECONDS_BUDGET bounds the whole
# run; RESERVE of it is kept for evaluation and export.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
begin=$(date +%s)
DATA=${DATA:?folder with train.txt and heldout.txt}
OUT=${OUT:?folder for the results}
WORK=${WORK:-$(mktemp -d)}
PYTHON=${PYTHON:-python3}
SECONDS_BUDGET=${SECONDS_BUDGET:-560}
RESERVE=${RESERVE:-60}
mkdir -p "$OUT" "$WORK"
export PYTHONUNBUFFERED=1

recipe() {
  if [ ! -f "$WORK/train.npy" ]; then
    "$PYTHON" "$here/tokenizer.py" "$DATA" "$WORK" || return
  fi
  left=$((SECONDS_BUDGET - RESERVE - ($(date +%s) - begin)))
  echo "training for $left s"
  "$PYTHON" "$here/train.py" "$DATA" "$WORK" "$OUT" --seconds "$left" "$@" || return
}

# A failing recipe fails the script, although its output goes through tee.
status=$(mktemp)
{ recipe "$@" 2>&1 && echo ok >"$status"; } | tee "$OUT/log.txt"
[ "$(cat "$status")" = ok ]

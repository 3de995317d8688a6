#!/usr/bin/env bash
# From strokes to masks on data that the program makes itself, on any machine with Python 3.10+:
#
#     bash scripts/quickstart.sh          # everything goes to quickstart/
#     bash scripts/quickstart.sh DIR      # ... or to DIR
#
# Sets up .venv, makes scribbled images and videos, pre-trains, video-trains, evaluates the trained
# network beside an untrained one, and ends with J&F tables and pictures. A run that was stopped
# goes on by the same command. Delete the folder to begin anew.
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in
  -h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit
    ;;
  -*)
    echo "error: unknown option $1; expected a folder, or --help" >&2
    exit 2
    ;;
esac
out=${1:-$PWD/quickstart}
case "$out" in /*) ;; *) out=$called_from/$out ;; esac

. scripts/environment.sh
prepare_environment scribbles,train
began=$SECONDS
run() {
  echo
  echo "== $1"
  shift
  "$PYTHON" "$@"
}

run "1/5 making scribbled data (strokes for training, dense masks for scoring only)" \
  scripts/make_synthetic.py "$out/data" --seed 0 --size small
run "2/5 pre-training on images with strokes" train_pretrain.py --config synthetic_pretrain \
  --checkpoints "$out/checkpoints" --runs "$out/runs" "data.root=$out/data"
run "3/5 training on videos with strokes" train_video.py --config synthetic_video \
  --checkpoints "$out/checkpoints" --runs "$out/runs" "data.root=$out/data"
last=$(ls "$out/checkpoints/pretrain_weights_synthetic_video" |
  sed -n 's/^pretrain_checkpoint_\([0-9]*\)\.pth\.tar$/\1/p' | sort -n | tail -1)
evaluate() {
  run "$1" eval_davis.py --config synthetic_video --set val --year 17 \
    --data-root "$out/data/DAVIS" --save_path "$out/results" --overlay "${@:2}"
}
evaluate "4/5 the untrained network, for comparison" --checkpoint random --groups 0
evaluate "5/5 the trained network, on five sets of scribbles" \
  --checkpoint "$out/checkpoints/pretrain_weights_synthetic_video/pretrain_checkpoint_$last.pth.tar"

echo
echo "Took $((SECONDS - began)) s after installing. Masks, overlays, scores: $out/results"

#!/usr/bin/env bash
# From strokes to masks: on a real video at once, then on data that the program makes itself. On any
# machine with Python 3.10+:
#
#     bash scripts/quickstart.sh          # everything goes to quickstart/
#     bash scripts/quickstart.sh DIR      # ... or to DIR
#
# Sets up .venv and segments docs/demo/bottle.mp4 by the network that comes with the project. Then it
# makes scribbled images and videos, pre-trains, video-trains, evaluates the trained network beside
# an untrained one, and ends with J&F tables and pictures. A run that was stopped goes on by the same
# command. Delete the folder to begin anew.
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in
  -h | --help)
    sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
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

run "1/6 a real video, by the network that comes with the project" scripts/segment.py \
  docs/demo/bottle.mp4 --scribble docs/demo/strokes \
  --out "$out/demo" --overlay --resume
echo "look at $out/demo/overlay.mp4; took $((SECONDS - began)) s. Now training a network from nothing:"
run "2/6 making scribbled data (strokes for training, dense masks for scoring only)" \
  scripts/make_synthetic.py "$out/data" --seed 0 --size small
run "3/6 pre-training on images with strokes" train_pretrain.py --config synthetic_pretrain \
  --checkpoints "$out/checkpoints" --runs "$out/runs" "data.root=$out/data"
run "4/6 training on videos with strokes" train_video.py --config synthetic_video \
  --checkpoints "$out/checkpoints" --runs "$out/runs" "data.root=$out/data"
last=$(ls "$out/checkpoints/pretrain_weights_synthetic_video" |
  sed -n 's/^pretrain_checkpoint_\([0-9]*\)\.pth\.tar$/\1/p' | sort -n | tail -1)
evaluate() {
  run "$1" eval_davis.py --config synthetic_video --set val --year 17 \
    --data-root "$out/data/DAVIS" --save_path "$out/results" --overlay "${@:2}"
}
evaluate "5/6 the untrained network, for comparison" --checkpoint random --groups 0
evaluate "6/6 the trained network, on five sets of scribbles" \
  --checkpoint "$out/checkpoints/pretrain_weights_synthetic_video/pretrain_checkpoint_$last.pth.tar"

echo
echo "Took $((SECONDS - began)) s after installing. Masks, overlays, scores: $out/results"

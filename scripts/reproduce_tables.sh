#!/usr/bin/env bash
# Every benchmark of the release in one table, with an empty column for the paper's figures:
#
#     bash scripts/reproduce_tables.sh                 # the authors' checkpoints, data in datasets/
#     bash scripts/reproduce_tables.sh --data-root DATA --save_path results/tables
#     bash scripts/reproduce_tables.sh --config synthetic_video --data-root quickstart/data \
#         --checkpoint quickstart/checkpoints/pretrain_weights_synthetic_video/NAME.pth.tar
#
# Runs
#     eval_davis.py --set val --year 16 --config CONFIG --ckpt_num 69     five scribble sets
#     eval_davis.py --set val --year 17 --config CONFIG --ckpt_num 78     five scribble sets
#     eval_ytb.py --set val --config CONFIG --ckpt_num 71 --size 1000     2018 or 2019, as the data
# and scores DAVIS-2016 in both readings: all objects merged, and object 1 alone as the release does.
#
#     --config NAME          a configuration (default video_training)
#     --data-root DIR        holds DAVIS and Youtube-VOS (default datasets)
#     --save_path DIR        masks, scores, tables.md (default results/tables)
#     --davis16 N --davis17 N --youtube N     epochs of checkpoints/pretrain_weights_CONFIG
#     --checkpoint FILE      one file for all three instead, or `small`, `random`
#     --size N               YouTube-VOS' frames are tracked at this width (default 1000)
#     -- ...                 whatever follows is given to all three, as --device cpu or --overwrite
#
# Masks that are there already are kept. Without dense masks of YouTube-VOS' validation videos, which
# its server alone has, the table names the zip to send there.
set -euo pipefail
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }
fail() {
  echo "error: $1" >&2
  exit 2
}

config=video_training data=datasets save=results/tables checkpoint= size=1000
davis16=69 davis17=78 youtube=71 more=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      usage
      exit
      ;;
    --)
      shift
      more=("$@")
      break
      ;;
    --config | --data-root | --save_path | --davis16 | --davis17 | --youtube | --checkpoint | --size)
      [ $# -gt 1 ] || fail "$1: expected a value after it"
      case "$1" in
        --config) config=$2 ;;
        --data-root) data=$(realpath -m "$2") ;;
        --save_path) save=$(realpath -m "$2") ;;
        --davis16) davis16=$2 ;;
        --davis17) davis17=$2 ;;
        --youtube) youtube=$2 ;;
        --checkpoint) [[ "$2" = random || "$2" = small ]] && checkpoint=$2 || checkpoint=$(realpath -m "$2") ;;
        --size) size=$2 ;;
      esac
      shift 2
      ;;
    *) fail "unknown option $1; see --help" ;;
  esac
done
case "$config" in */*) config=$(realpath -m "$config") ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -x "${PYTHON:=.venv/bin/python}" ] || PYTHON=$(command -v python3) || fail "no Python found"

# All that is missing is named at once, before hours of tracking.
missing=()
need() { [ -e "$1" ] || missing+=("$1 ($2)"); }
for year in 2016 2017; do
  need "$data/DAVIS/ImageSets/$year/val.txt" "DAVIS 2017 TrainVal, 480p"
done
for part in JPEGImages Annotations; do
  need "$data/DAVIS/$part/480p" "DAVIS 2017 TrainVal, 480p"
done
need "$data/DAVIS/valid_scribbles0" "the authors' evaluation scribbles, or make_scribbles.py"
need "$data/Youtube-VOS/valid/meta.json" "YouTube-VOS 2018 or 2019, valid"
need "$data/Youtube-VOS/valid/JPEGImages" "YouTube-VOS 2018 or 2019, valid"
need "$data/Youtube-VOS/valid_scribbles" "the authors' evaluation scribbles"
name=$(basename "$config")
name=${name%.*}
if [ -z "$checkpoint" ]; then
  for epoch in "$davis16" "$davis17" "$youtube"; do
    need "checkpoints/pretrain_weights_$name/pretrain_checkpoint_$epoch.pth.tar" \
      "the authors' weights, or train_video.py"
  done
elif [[ "$checkpoint" != random && "$checkpoint" != small ]]; then
  need "$checkpoint" "--checkpoint"
fi
if [ ${#missing[@]} -gt 0 ]; then
  printf 'missing: %s\n' "${missing[@]}" >&2
  fail "${#missing[@]} of the files and folders above are missing; datasets/README.md says what goes where"
fi

mkdir -p "$save"
evaluate() { # ROW EPOCH SCRIPT OPTIONS...
  local row=$1 epoch=$2 script=$3 weights
  shift 3
  weights=(--ckpt_num "$epoch")
  [ -z "$checkpoint" ] || weights=(--checkpoint "$checkpoint")
  echo
  echo "== $script --config $config ${weights[*]} $*"
  "$PYTHON" "$script" --set val --config "$config" "${weights[@]}" --save_path "$save/$row" "$@" \
    ${more[@]+"${more[@]}"}
}
evaluate davis17 "$davis17" eval_davis.py --year 17 --data-root "$data/DAVIS"
evaluate youtube "$youtube" eval_ytb.py --size "$size" --data-root "$data/Youtube-VOS"
# Tracked once, scored twice: a second --overwrite would track again.
evaluate davis16 "$davis16" eval_davis.py --year 16 --davis16 object1 --data-root "$data/DAVIS"
for scores in "$save"/davis16/*/scores.*; do
  run=$save/davis16_object1/$(basename "$(dirname "$scores")")
  mkdir -p "$run"
  cp "$scores" "$run"
done
options=(${more[@]+"${more[@]}"})
more=()
for option in ${options[@]+"${options[@]}"}; do
  [ "$option" = --overwrite ] || more+=("$option")
done
evaluate davis16 "$davis16" eval_davis.py --year 16 --davis16 merged --data-root "$data/DAVIS"

echo
"$PYTHON" scripts/tables.py "$save"

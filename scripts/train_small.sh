#!/usr/bin/env bash
# Train the small network (checkpoints/rhmnet_small.pth.tar is one) from stills and videos with masks:
#
#     bash scripts/train_small.sh DATA            # everything goes to small/
#     bash scripts/train_small.sh DATA OUT        # ... or to OUT; DATA is only read
#     bash scripts/train_small.sh DATA OUT train.batch_size=8   # settings, for all stages
#     KEEP="flamingo kite-walk" bash scripts/train_small.sh DATA OUT   # videos kept for scoring
#     FROM=small bash scripts/train_small.sh DATA OUT   # from a file's weights, not ImageNet's
#
# DATA holds
#     COCO/instances.json and COCO/train/*.jpg   stills with objects, COCO's format
#     DAVIS/                                     videos with masks, as DAVIS-2017: JPEGImages/480p,
#                                                Annotations/480p, ImageSets/2017/train.txt
#     resnet18.pth                               ImageNet weights; downloaded where it is not there
# Masks serve to draw strokes from, and for scores: training sees strokes alone.
#
# Makes the strokes (SETS=n differing sets on the stills) and 1,500 clips of the stills (CLIPS=n for
# more); trains stage 1 on the stills (small_pretrain), stage 2 on videos and clips (small_middle) and
# stage 3 on larger crops (small_video); scores the videos that are kept apart, or else those of
# ImageSets/2016/val.txt. A run that was stopped goes on by the same command.
#
# With a GPU: the stages of the shipped file took 54, 173 and 139 s on one H100 with 16 cores, from
# 5,719 stills and 27 videos. Without one (or GPU=no): crops of 224, batches of 4, 8,000 clips, stages
# 1 and 2 alone, much as the file before it was trained in about two hours on two cores.
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in
  "" | -h | --help)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    [ -n "${1:-}" ] || exit 2
    exit
    ;;
  -*)
    echo "error: unknown option $1; expected a folder, or --help" >&2
    exit 2
    ;;
esac
absolute() { case "$1" in /*) echo "$1" ;; *) echo "$called_from/$1" ;; esac; }
data=$(absolute "$1")
out=$(absolute "${2:-$PWD/small}")
shift $(($# < 2 ? $# : 2))
for needed in COCO/instances.json COCO/train DAVIS/ImageSets/2017/train.txt DAVIS/JPEGImages/480p \
  DAVIS/Annotations/480p; do
  [ -e "$data/$needed" ] || {
    echo "error: $data/$needed: not there; --help shows what DATA holds" >&2
    exit 2
  }
done

. scripts/environment.sh
prepare_environment scribbles,train
run() {
  echo
  echo "== $1"
  shift
  "$PYTHON" "$@"
}

tree=$out/data
mkdir -p "$tree/DAVIS/ImageSets/2017" "$tree/DAVIS/ImageSets/2016"
ln -sfn "$data/DAVIS/JPEGImages" "$tree/DAVIS/JPEGImages"
ln -sfn "$data/DAVIS/Annotations" "$tree/DAVIS/Annotations"
printf '%s\n' ${KEEP:-} >"$out/kept.txt"
grep -vxFf "$out/kept.txt" "$data/DAVIS/ImageSets/2017/train.txt" >"$tree/DAVIS/ImageSets/2017/train.txt" ||
  cp "$data/DAVIS/ImageSets/2017/train.txt" "$tree/DAVIS/ImageSets/2017/train.txt"
if [ -n "${KEEP:-}" ]; then
  cp "$out/kept.txt" "$tree/DAVIS/ImageSets/2016/val.txt"
elif [ -f "$data/DAVIS/ImageSets/2016/val.txt" ]; then
  cp "$data/DAVIS/ImageSets/2016/val.txt" "$tree/DAVIS/ImageSets/2016/val.txt"
fi
weights=imagenet
[ ! -f "$data/resnet18.pth" ] || weights=$data/resnet18.pth

run "1/6 strokes on the stills" scripts/make_scribbles.py coco "$tree/COCO" \
  --annotations "$data/COCO/instances.json" --images "$data/COCO/train" --sets "${SETS:-1}"
run "2/6 strokes on the videos" scripts/make_scribbles.py davis "$tree/DAVIS" --split train
run "3/6 clips made of the stills" scripts/make_clips.py "$data/COCO" "$tree/Youtube-VOS" \
  --annotations instances.json --images train --count "${CLIPS:-1500}" --no-masks
"$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || GPU=no
cores=$(nproc)
settings=("data.root=$tree" "data.num_workers=$((cores > 2 ? cores - 1 : 1))")
videos=()
last=small_video
device=auto
if [ "${GPU:-yes}" = no ]; then
  settings+=("data.crop_size=[224,224]" data.short_side=256 train.batch_size=4 train.reference_batch=4)
  videos=(data.samples_per_epoch=8000 data.youtube_weight=1 data.max_skip=8 data.skip_every=100
    train.lr=4e-4 train.warmup=20 loss.ignore_kernel=19)
  last=small_middle
  device=cpu
fi
# train SCRIPT CONFIG [setting ...]: those given to this script take the place of ours
train() {
  local script=$1 config=$2 ours=() item
  shift 2
  for item in "${settings[@]}" "$@"; do
    [[ " ${given[*]} " == *" ${item%%=*}="* ]] || ours+=("$item")
  done
  "$PYTHON" "$script" --config "$config" --checkpoints "$out/checkpoints" --runs "$out/runs" \
    --device "$device" ${init:+--init "$init"} "${ours[@]}" "${given[@]}"
  init=
}
given=("$@")
init=${FROM:-}
case "$init" in "" | small) ;; *) init=$(absolute "$init") ;; esac
echo
echo "== 4/6 stage 1, on the stills"
train train_pretrain.py small_pretrain "model.pretrained=$weights"
echo
echo "== 5/6 stage 2, on videos and clips"
train train_video.py small_middle "${videos[@]}"
if [ "$last" = small_video ]; then
  echo
  echo "== 5/6 stage 3, on larger crops"
  train train_video.py small_video
fi
epoch=$(ls "$out/checkpoints/pretrain_weights_$last" |
  sed -n 's/^pretrain_checkpoint_\([0-9]*\)\.pth\.tar$/\1/p' | sort -n | tail -1)
trained=$out/checkpoints/pretrain_weights_$last/pretrain_checkpoint_$epoch.pth.tar
if [ ! -f "$tree/DAVIS/ImageSets/2016/val.txt" ]; then
  echo "no videos to score: KEEP names some, or give DATA the list DAVIS/ImageSets/2016/val.txt"
else
  "$PYTHON" scripts/make_scribbles.py davis "$tree/DAVIS" --split val --year 2016
  run "6/6 scores" eval_davis.py --checkpoint "$trained" --year 16 --device "$device" \
    --data-root "$tree/DAVIS" --save_path "$out/results" "$@"
fi
echo
echo "The network: $trained"

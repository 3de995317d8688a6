#!/usr/bin/env bash
# Train the small network (checkpoints/rhmnet_small.pth.tar is one) from stills and videos with masks:
#
#     bash scripts/train_small.sh DATA            # everything goes to small/
#     bash scripts/train_small.sh DATA OUT        # ... or to OUT; DATA is only read
#     bash scripts/train_small.sh DATA OUT train.batch_size=8   # overrides, for both stages
#     KEEP="flamingo kite-walk" bash scripts/train_small.sh DATA OUT   # videos kept for scoring
#
# DATA holds
#     COCO/instances.json and COCO/train/*.jpg   stills with objects, COCO's format
#     DAVIS/                                     videos with masks, as DAVIS-2017: JPEGImages/480p,
#                                                Annotations/480p, ImageSets/2017/train.txt
#     resnet18.pth                               ImageNet weights; downloaded where it is not there
# Masks serve to draw strokes from, and for scores: training sees strokes alone.
#
# Makes the strokes and 1,500 clips of the stills (CLIPS=n for more), trains stage 1 on the stills
# and stage 2 on videos and clips, and scores the videos that are kept apart, or else those of
# ImageSets/2016/val.txt. With 5,700 stills and 34 videos that is about two hours on two CPU cores.
# A run that was stopped goes on by the same command.
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in
  "" | -h | --help)
    sed -n '2,21s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
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
prepare_environment scribbles
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
  --annotations "$data/COCO/instances.json" --images "$data/COCO/train"
run "2/6 strokes on the videos" scripts/make_scribbles.py davis "$tree/DAVIS" --split train
run "3/6 clips made of the stills" scripts/make_clips.py "$data/COCO" "$tree/Youtube-VOS" \
  --annotations instances.json --images train --count "${CLIPS:-1500}" --no-masks
run "4/6 stage 1, on the stills" train_pretrain.py --config small_pretrain \
  --checkpoints "$out/checkpoints" --runs "$out/runs" "data.root=$tree" "model.pretrained=$weights" "$@"
run "5/6 stage 2, on videos and clips" train_video.py --config small_video \
  --checkpoints "$out/checkpoints" --runs "$out/runs" "data.root=$tree" "$@"
last=$(ls "$out/checkpoints/pretrain_weights_small_video" |
  sed -n 's/^pretrain_checkpoint_\([0-9]*\)\.pth\.tar$/\1/p' | sort -n | tail -1)
trained=$out/checkpoints/pretrain_weights_small_video/pretrain_checkpoint_$last.pth.tar
if [ ! -f "$tree/DAVIS/ImageSets/2016/val.txt" ]; then
  echo "no videos to score: KEEP names some, or give DATA the list DAVIS/ImageSets/2016/val.txt"
else
  "$PYTHON" scripts/make_scribbles.py davis "$tree/DAVIS" --split val --year 2016
  run "6/6 scores" eval_davis.py --config small_video --checkpoint "$trained" --year 16 --device auto \
    --data-root "$tree/DAVIS" --save_path "$out/results" "$@"
fi
echo
echo "The network: $trained"

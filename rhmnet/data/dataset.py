"""From a key to a clip: draw until one is accepted, count what was not, and never for ever."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import torch
from torch.utils.data import Dataset

from rhmnet.config import Config
from rhmnet.data.clips import Rejected, Sample, cut_clip
from rhmnet.data.mixture import ImageSource, Source, VideoSource
from rhmnet.data.readers import open_coco, open_davis, open_youtube
from rhmnet.data.sampler import SampleKey, sample_rng
from rhmnet.errors import InputError
from rhmnet.structures import REDRAW_REASONS, Clip

STAGES = ("pretrain", "video")
_REMEDIES = {
    "few_object_pixels": "draw longer scribbles, or lower data.object_area",
    "crop": "draw longer background scribbles, or lower data.minimum_area",
    "bad_file": "data.on_bad_file=error names the first of them",
}
_PROBE = SampleKey(epoch=0, index=0, skip=0)


class ClipDataset(Dataset[Clip]):
    """Clips by key. `dataset[key]` is a `Clip` of one, the same for equal seeds and keys.

    Raises InputError for a file that cannot be used (`data.on_bad_file=skip` draws again instead),
    and where `data.max_redraws` draws in a row were all rejected, or as many as it takes to try
    every video, if those are more.
    """

    def __init__(self, source: Source, config: Config) -> None:
        self.source = source
        self._config, self._seed = config.data, config.train.seed

    def __len__(self) -> int:
        return self.source.samples_per_epoch

    def __getitem__(self, key: SampleKey) -> Clip:
        rng = sample_rng(self._seed, key)
        rejected: Counter[str] = Counter()
        bound = max(self._config.max_redraws, self.source.whole_round)
        for frames in islice(self.source.draws(rng, key), bound):
            try:
                sample = cut_clip(rng, frames, self.source.augmentation, self._config)
            except Rejected as rejection:
                rejected[rejection.reason] += 1
            except InputError:
                if self._config.on_bad_file == "error":
                    raise
                rejected["bad_file"] += 1
            else:
                return _as_clip(sample, rejected)
        raise self._unusable(rejected)

    def _unusable(self, rejected: Counter[str]) -> InputError:
        (reason, _), *_ = ranked = rejected.most_common()
        found = ", ".join(f"{count} {name}" for name, count in ranked)
        draws = rejected.total()
        return InputError(
            f"{self.source.name}: no usable clip in {draws} draws ({found}); {_REMEDIES[reason]}"
        )


def build_dataset(config: Config, stage: str) -> ClipDataset:
    """The clips of a stage: `pretrain` (COCO) or `video` (YouTube-VOS and DAVIS).

    Makes one clip of each data set first: one that never gives any would hide in the mixture.
    Raises InputError where `data.root` lacks what the stage needs, or no clip can be made of it.
    """
    data, root = config.data, Path(config.data.root)
    if stage == "pretrain":
        dataset = ClipDataset(ImageSource(open_coco(root), data, config.train.seed), config)
        dataset[_PROBE]
        return dataset
    if stage != "video":
        raise ValueError(f"stage={stage!r}: expected one of {', '.join(STAGES)}")
    weighted = [(open_youtube, data.youtube_weight), (open_davis, data.davis_weight)]
    weighted = [(opened, weight) for opened, weight in weighted if weight > 0]
    trees = [opened(root, data.clip_length) for opened, _ in weighted]
    for tree in trees:
        ClipDataset(VideoSource([tree], [1.0], data), config)[_PROBE]
    return ClipDataset(VideoSource(trees, [weight for _, weight in weighted], data), config)


def _as_clip(sample: Sample, rejected: Counter[str]) -> Clip:
    return Clip(
        *(torch.from_numpy(array)[None] for array in sample[:4]),
        num_objects=torch.tensor([sample.num_objects]),
        smooth=torch.ones(1, dtype=torch.bool),
        redraws=torch.tensor([[rejected[reason] for reason in REDRAW_REASONS]]),
    )

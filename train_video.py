"""Stage 2: train RHMNet on the scribbled videos of YouTube-VOS and DAVIS.

One process on whatever device there is, one process per GPU, or the release's command line:

    python train_video.py --config video_training
    torchrun --nproc_per_node 4 train_video.py --config video_training
    python -m torch.distributed.launch --nproc_per_node 4 train_video.py --config video_training

It starts from epoch 14 of pre-training, or from `--init FILE`. On fewer GPUs keep the release's
effective batch of 16 by accumulation, here on 1:

    python train_video.py train.accumulation=4

A run that was stopped or killed goes on by the same command. Ctrl-C and SIGTERM finish the step,
save and leave with exit code 130 or 143; bad input leaves with 2. (A launcher turns them into a
code of its own, torchrun into 1.)
"""

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from torch.distributed.elastic.multiprocessing.errors import record

from rhmnet.evaluation.benchmarks import davis_validation
from rhmnet.runtime.command import run_command
from rhmnet.training.options import parse_options
from rhmnet.training.run import train


@record
def main() -> int:
    options = parse_options(__doc__, default_config="video_training")
    validate = davis_validation(options.config, options.log_folder / "validation")
    return train("video", options, validate)


if __name__ == "__main__":
    run_command(main, keep_memory=True)

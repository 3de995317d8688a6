"""Stage 1: pre-train RHMNet on scribbled images (COCO), made into clips of three frames.

One process on whatever device there is, one process per GPU, or the release's command line:

    python train_pretrain.py --config pre_training
    torchrun --nproc_per_node 8 train_pretrain.py --config pre_training
    python -m torch.distributed.launch --nproc_per_node 8 train_pretrain.py --config pre_training

On fewer GPUs keep the release's effective batch of 32 by accumulation, here on 2:

    torchrun --nproc_per_node 2 train_pretrain.py train.accumulation=4

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
    options = parse_options(__doc__, default_config="pre_training")
    validate = davis_validation(options.config, options.log_folder / "validation")
    return train("pretrain", options, validate)


if __name__ == "__main__":
    run_command(main, keep_memory=True)

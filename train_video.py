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

from functools import partial

from torch.amp import GradScaler
from torch.distributed.elastic.multiprocessing.errors import record

from rhmnet.data.loader import build_dataset, build_loader, iterations_per_epoch
from rhmnet.evaluation.benchmarks import davis_validation
from rhmnet.losses import Criterion
from rhmnet.model import build_model
from rhmnet.runtime import run_command
from rhmnet.runtime.processes import parallel, seed_everything
from rhmnet.training import ClipLosses, Run, build_optimizer, prepare
from rhmnet.training.run import Options, Training, Validate, find_origin, joined, parse_options

STAGE, CONFIG = "video", "video_training"  # all that the two training scripts differ in


@record
def main() -> int:
    options = parse_options(__doc__, CONFIG)
    return train(options, davis_validation(options.config, options.log_folder / "validation"))


def train(options: Options, validate: Validate | None = None) -> int:
    """Put the run together and train it to its end, or until asked to stop; the exit code.

    Raises InputError for what the user can mend.
    """
    config, settings = options.config, options.config.train
    with joined(options) as (processes, stop):
        origin = find_origin(options, processes)
        dataset = build_dataset(config, STAGE)
        split = {"world_size": processes.size, "accumulation": settings.accumulation}
        loader = partial(build_loader, config, STAGE, rank=processes.rank, dataset=dataset, **split)
        seed_everything(settings.seed)
        with processes.main_first():  # it may download the backbone's weights for all
            model = build_model(origin.config).to(processes.device)
        origin.fill(model)
        prepare(model, settings)
        criterion = Criterion(config.loss)
        losses = parallel(ClipLosses(model, criterion, settings), processes)
        optimizer = build_optimizer(model, settings)
        scaler = GradScaler(processes.device.type, enabled=settings.precision == "float16")
        iterations = iterations_per_epoch(config, STAGE, dataset=dataset, **split)
        run = Run(config, model, optimizer, scaler, iterations)
        return Training(options, run, losses, loader, processes, stop, validate).train(origin)


if __name__ == "__main__":
    run_command(main, keep_memory=True)

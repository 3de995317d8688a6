"""Make scribbles from masks: COCO instances, DAVIS or YouTube-VOS annotations, any label maps.

    %(prog)s coco datasets/COCO \\
        --annotations annotations/instances_train2017.json --images train2017
    %(prog)s davis datasets/DAVIS --split train
    %(prog)s davis datasets/DAVIS --split val --year 2016 --sets 5
    %(prog)s youtube datasets/Youtube-VOS --split train
    %(prog)s folder my_scribbles --masks my_label_maps

Scribbles are 8-bit BMP label maps: 0 unlabelled, n the strokes of object n, N + 1 the background's.
The same seed gives the same bytes, whatever the number of workers. A run that was stopped goes on
where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rhmnet.bounds import MOST_SEED
from rhmnet.errors import InputError, say
from rhmnet.files.concurrency import usable_cores
from rhmnet.files.reading import read_list
from rhmnet.labels import MAX_OBJECTS
from rhmnet.runtime.command import MOST_WORKERS, CommandParser, Number, whole
from rhmnet.tools.scribbles.make import Recipe, make_scribbles, write_coco_list
from rhmnet.tools.scribbles.placing import given_or_below, place
from rhmnet.tools.scribbles.sources.coco import coco_jobs
from rhmnet.tools.scribbles.sources.maps import folder_jobs, video_jobs
from rhmnet.tools.scribbles.strokes import StrokeOptions

YEARS = ("2017", "2016")
_OBJECTS, _SETS = whole(1, MAX_OBJECTS), whole(1, 100)
COCO_MIN_AREA = 100.0
"""Training counts objects of more than 100 stroke pixels: what is smaller can never have them."""


def main(argv: Sequence[str] | None = None, prog: str = "rhmnet scribbles make") -> None:
    """Parse the command line and make what it asks for."""
    arguments = _parser(prog).parse_args(argv)
    names = [field.name for field in dataclasses.fields(StrokeOptions)]
    arguments.options = StrokeOptions(**{name: getattr(arguments, name) for name in names})
    {"coco": _coco, "davis": _davis, "youtube": _youtube, "folder": _folder}[arguments.kind](
        arguments
    )


def _coco(arguments: argparse.Namespace) -> None:
    root, images = arguments.root, arguments.images
    annotations = given_or_below(arguments.annotations, root, "--annotations, instances_*.json")
    if images is not None:
        images = given_or_below(images, root, "--images, the folder of the JPEGs")
        if not images.is_dir():
            raise InputError(f"{images}: no folder; --images names the folder of the JPEGs")
    jobs = coco_jobs(annotations, images, arguments.max_objects, arguments.options.min_area)
    selection = {"max_objects": arguments.max_objects, "annotations": arguments.annotations.name}
    sets = [f"s{index}/" for index in range(arguments.sets)] if arguments.sets > 1 else [""]
    made = _make(arguments, jobs, [root / "scribbles" / one for one in sets], **selection)
    path = root / "COCO_scribbles.json"
    count = write_coco_list(path, jobs, made, sets)
    if images is not None and not (root / "images").exists():
        place(images, root / "images", copy=False)
    each = f", {len(sets)} times each" if len(sets) > 1 else ""
    say(f"{path} lists {count} images{each}; {len(jobs) - count} have no object to scribble on")


def _davis(arguments: argparse.Namespace) -> None:
    root = arguments.root
    years = (arguments.year,) if arguments.year else YEARS
    lists = [root / "ImageSets" / year / f"{arguments.split}.txt" for year in years]
    listing = next((path for path in lists if path.is_file()), None)
    if listing is None:
        raise InputError(f"{lists[0]}: no such file; name the folder that holds ImageSets")
    masks, videos = root / "Annotations" / "480p", read_list(listing)
    if arguments.split == "train":
        if arguments.sets > 1:
            raise InputError("--sets: training reads one set; give it with --split val")
        _make(arguments, video_jobs(masks, videos), [root / "train_scribbles"])
    else:
        jobs = video_jobs(masks, videos, first_only=True)
        _make(arguments, jobs, [root / f"valid_scribbles{i}" for i in range(arguments.sets)])


def _youtube(arguments: argparse.Namespace) -> None:
    root, split = arguments.root, arguments.split
    jobs = video_jobs(root / split / "Annotations", appearing=split == "valid")
    _make(arguments, jobs, [root / f"{split}_scribbles"])


def _folder(arguments: argparse.Namespace) -> None:
    root, sets = arguments.root, arguments.sets
    if root.resolve().is_relative_to(arguments.masks.resolve()):
        raise InputError(f"{root}: lies among the masks, and would be taken for one; name another")
    folders = [root] if sets == 1 else [root.with_name(f"{root.name}{i}") for i in range(sets)]
    jobs = folder_jobs(arguments.masks, arguments.num_objects)
    selection = {"num_objects": arguments.num_objects, "masks": arguments.masks.resolve().name}
    _make(arguments, jobs, folders, **selection)


def _make(arguments: argparse.Namespace, jobs: list, folders: list[Path], **selection) -> list:
    recipe = Recipe(arguments.seed, arguments.options, tuple(selection.items()))
    made = make_scribbles(jobs, folders, recipe, arguments.workers, arguments.overwrite)
    drawn, kept = sum(one.drawn for one in made), len(made) * len(folders)
    places = ", ".join(str(folder) for folder in folders)
    say(f"{drawn} scribbles drawn, {kept - drawn} kept as they were: {places}")
    return made


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(prog, description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    common = [_common_options()]

    coco = kinds.add_parser("coco", parents=common, help="COCO instance annotations")
    coco.add_argument("root", type=Path, help="folder for scribbles/ and COCO_scribbles.json")
    coco.add_argument(
        "--annotations", type=Path, required=True, help="instances_*.json, from here or from ROOT"
    )
    coco.add_argument(
        "--images",
        type=Path,
        help="folder of the JPEGs, from here or from ROOT: linked as ROOT/images; others are left",
    )
    coco.add_argument(
        "--sets", type=_SETS, default=1, help="differing sets, all listed: scribbles/s0, ..."
    )
    coco.add_argument(
        "--max-objects", type=_OBJECTS, default=10, help="kept per image, the largest (default 10)"
    )
    coco.set_defaults(min_area=COCO_MIN_AREA)

    davis = kinds.add_parser("davis", parents=common, help="DAVIS annotation folders")
    davis.add_argument("root", type=Path, help="folder that holds Annotations/ and ImageSets/")
    davis.add_argument("--split", choices=("train", "val"), required=True, help="val: first frames")
    davis.add_argument("--year", choices=YEARS, help="list of videos (default: the newest there)")

    youtube = kinds.add_parser("youtube", parents=common, help="YouTube-VOS annotation folders")
    youtube.add_argument("root", type=Path, help="folder that holds train/ and valid/")
    youtube.add_argument(
        "--split",
        choices=("train", "valid"),
        required=True,
        help="valid: the frames at which objects appear, those objects alone",
    )

    folder = kinds.add_parser("folder", parents=common, help="any folder of label maps")
    folder.add_argument("root", type=Path, help="folder for the scribbles")
    folder.add_argument(
        "--masks", type=Path, required=True, help="label maps; a subfolder's belong to one video"
    )
    folder.add_argument(
        "--num-objects", type=_OBJECTS, help="N of every map (default: its largest label)"
    )
    davis.add_argument(
        "--sets", type=_SETS, default=1, help="differing sets of --split val (default 1)"
    )
    folder.add_argument(
        "--sets", type=_SETS, default=1, help="differing sets: ROOT0, ... (default 1)"
    )
    return parser


def _common_options() -> CommandParser:
    common = CommandParser(add_help=False)
    common.add_argument(
        "--seed", type=whole(0, MOST_SEED), default=0, help="of every stroke (default 0)"
    )
    common.add_argument(
        "--workers",
        type=whole(1, MOST_WORKERS),
        default=usable_cores(),
        help="processes (default: all cores)",
    )
    common.add_argument(
        "--overwrite", action="store_true", help="remove what was made here, draw anew"
    )
    strokes = common.add_argument_group("strokes")
    for field in dataclasses.fields(StrokeOptions):
        kind = type(field.default)
        action = argparse.BooleanOptionalAction if kind is bool else "store"
        strokes.add_argument(
            f"--{field.name.replace('_', '-')}",
            default=field.default,
            action=action,
            help=f"{field.metadata['help']} (default %(default)s)",
            **({} if kind is bool else {"type": Number(kind, field.metadata["bounds"])}),
        )
    return common

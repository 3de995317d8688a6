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
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from rhmnet.data.coco import CocoFolder
from rhmnet.data.davis import YEARS, DavisFolder
from rhmnet.data.youtube import YoutubeFolder
from rhmnet.errors import MOST_SEED, InputError, say
from rhmnet.files import given_or_below
from rhmnet.files.concurrency import LOCK, alone_in, in_processes, usable_cores
from rhmnet.files.images import is_cut_off, write_map
from rhmnet.files.reading import read_json, read_list
from rhmnet.files.writing import TEMPORARY, link_or_copy, remove, remove_unfinished, write_json
from rhmnet.labels import MAX_OBJECTS
from rhmnet.runtime import MOST_WORKERS, CommandParser, Number, whole
from rhmnet.tools.scribbles import masks
from rhmnet.tools.scribbles.hand import HandOptions, draw_scribble

VERSION = 1
"""Of the strokes: raised whenever the same seed and options give other bytes than before."""
STAMP = "made.json"
"""Says in each folder of made scribbles how they were made."""
MAX_CHUNK = 16  # jobs that travel to a worker together
FEW_IMAGES = 64  # drawn while a worker process would start
_REMEDY = "wait for it, or name another folder"
_OBJECTS, _SETS = whole(1, MAX_OBJECTS), whole(1, 100)
COCO_MIN_AREA = 100.0
"""Training counts objects of more than 100 stroke pixels: what is smaller can never have them."""


class Made(NamedTuple):
    """One scribble that is there now."""

    name: str
    num_objects: int | None
    """N; None for a label map that had its scribble already and was not read."""
    drawn: int
    """Files written for it; those that were there already do not count."""


class ScribbleRecipe(NamedTuple):
    """All that the scribbles depend on besides the masks."""

    seed: int
    options: HandOptions
    selection: tuple[tuple[str, int | str | None], ...] = ()
    """What was picked from the source, as (option, value)."""

    def stamp(self) -> dict:
        """What a folder's stamp says of it."""
        options = dataclasses.asdict(self.options)
        return {"version": VERSION, "seed": self.seed, **options, **dict(self.selection)}


def main(argv: Sequence[str] | None = None, prog: str = "rhmnet scribbles make") -> None:
    """Parse the command line and make what it asks for."""
    arguments = _parser(prog).parse_args(argv)
    names = [field.name for field in dataclasses.fields(HandOptions)]
    arguments.options = HandOptions(**{name: getattr(arguments, name) for name in names})
    kinds = {"coco": _coco, "davis": _davis, "youtube": _youtube, "folder": _folder}
    kinds[arguments.kind](arguments)


def _coco(arguments: argparse.Namespace) -> None:
    folder, images = CocoFolder(arguments.root), arguments.images
    named = "--annotations, instances_*.json"
    annotations = given_or_below(arguments.annotations, folder.root, named)
    if images is not None:
        images = given_or_below(images, folder.root, "--images, the folder of the JPEGs")
        if not images.is_dir():
            raise InputError(f"{images}: no folder; --images names the folder of the JPEGs")
    jobs = masks.coco_jobs(annotations, images, arguments.max_objects, arguments.options.min_area)
    selection = {"max_objects": arguments.max_objects, "annotations": arguments.annotations.name}
    sets = [f"s{index}/" for index in range(arguments.sets)] if arguments.sets > 1 else [""]
    made = _run(arguments, jobs, [folder.scribbles / one for one in sets], **selection)
    count = write_coco_list(folder.list_file, jobs, made, sets)
    if images is not None and not folder.images.exists():
        link_or_copy(images, folder.images, copy=False)
    each = f", {len(sets)} times each" if len(sets) > 1 else ""
    left = len(jobs) - count
    say(f"{folder.list_file} lists {count} images{each}; {left} have no object to scribble on")


def _davis(arguments: argparse.Namespace) -> None:
    folder, split = DavisFolder(arguments.root), arguments.split
    years = (arguments.year,) if arguments.year else sorted(YEARS, reverse=True)
    lists = [folder.list_file(year, split) for year in years]
    listing = next((path for path in lists if path.is_file()), None)
    if listing is None:
        raise InputError(f"{lists[0]}: no such file; name the folder that holds ImageSets")
    videos = read_list(listing)
    if split == "train":
        if arguments.sets > 1:
            raise InputError("--sets: training reads one set; give it with --split val")
        _run(arguments, masks.video_jobs(folder.annotations, videos), [folder.train_scribbles])
    else:
        jobs = masks.video_jobs(folder.annotations, videos, first_only=True)
        _run(arguments, jobs, [folder.valid_scribbles(k) for k in range(arguments.sets)])


def _youtube(arguments: argparse.Namespace) -> None:
    folder, split = YoutubeFolder(arguments.root), arguments.split
    jobs = masks.video_jobs(folder.annotations(split), appearing=split == "valid")
    _run(arguments, jobs, [folder.scribbles(split)])


def _folder(arguments: argparse.Namespace) -> None:
    root, sets = arguments.root, arguments.sets
    if root.resolve().is_relative_to(arguments.masks.resolve()):
        raise InputError(f"{root}: lies among the masks, and would be taken for one; name another")
    folders = [root] if sets == 1 else [root.with_name(f"{root.name}{i}") for i in range(sets)]
    jobs = masks.folder_jobs(arguments.masks, arguments.num_objects)
    selection = {"num_objects": arguments.num_objects, "masks": arguments.masks.resolve().name}
    _run(arguments, jobs, folders, **selection)


def _run(arguments: argparse.Namespace, jobs: list, folders: list[Path], **selection) -> list:
    recipe = ScribbleRecipe(arguments.seed, arguments.options, tuple(selection.items()))
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
    add = coco.add_argument
    add("root", type=Path, help="folder for scribbles/ and COCO_scribbles.json")
    add("--annotations", type=Path, required=True, help="instances_*.json, from here or from ROOT")
    where = "folder of the JPEGs, from here or from ROOT: linked as ROOT/images; others are left"
    add("--images", type=Path, help=where)
    add("--sets", type=_SETS, default=1, help="differing sets, all listed: scribbles/s0, ...")
    most = "kept per image, the largest (default 10)"
    add("--max-objects", type=_OBJECTS, default=10, help=most)
    coco.set_defaults(min_area=COCO_MIN_AREA)

    add = kinds.add_parser("davis", parents=common, help="DAVIS annotation folders").add_argument
    add("root", type=Path, help="folder that holds Annotations/ and ImageSets/")
    add("--split", choices=("train", "val"), required=True, help="val: first frames")
    years = tuple(map(str, sorted(YEARS, reverse=True)))
    add("--year", choices=years, help="list of videos (default: the newest there)")
    add("--sets", type=_SETS, default=1, help="differing sets of --split val (default 1)")

    youtube = kinds.add_parser("youtube", parents=common, help="YouTube-VOS annotation folders")
    youtube.add_argument("root", type=Path, help="folder that holds train/ and valid/")
    parts = "valid: the frames at which objects appear, those objects alone"
    youtube.add_argument("--split", choices=("train", "valid"), required=True, help=parts)

    add = kinds.add_parser("folder", parents=common, help="any folder of label maps").add_argument
    add("root", type=Path, help="folder for the scribbles")
    what = "label maps; a subfolder's belong to one video"
    add("--masks", type=Path, required=True, help=what)
    add("--num-objects", type=_OBJECTS, help="N of every map (default: its largest label)")
    add("--sets", type=_SETS, default=1, help="differing sets: ROOT0, ... (default 1)")
    return parser


def _common_options() -> CommandParser:
    common = CommandParser(add_help=False)
    add, seeds, cores = common.add_argument, whole(0, MOST_SEED), usable_cores()
    add("--seed", type=seeds, default=0, help="of every stroke (default 0)")
    add(
        "--workers",
        type=whole(1, MOST_WORKERS),
        default=cores,
        help="processes (default: all cores)",
    )
    add("--overwrite", action="store_true", help="remove what was made here, draw anew")
    strokes = common.add_argument_group("strokes")
    for field in dataclasses.fields(HandOptions):
        kind = type(field.default)
        action = argparse.BooleanOptionalAction if kind is bool else "store"
        strokes.add_argument(
            f"--{field.name.replace('_', '-')}",
            default=field.default,
            action=action,
            help=f"{field.metadata['help']} (default %(default)s)",
            **({} if kind is bool else {"type": Number(kind, field.metadata["rule"])}),
        )
    return common


def make_scribbles(
    jobs: Sequence[masks.MaskJob],
    folders: Sequence[Path],
    recipe: ScribbleRecipe,
    workers: int = 1,
    overwrite: bool = False,
) -> list[Made]:
    """Write `<folder>/<name>.bmp` for every scene of the jobs, one differing set in each folder.

    workers: processes; 1, or fewer images than FEW_IMAGES, works in this one.
    Files that are there, and whole, are kept, so that a run that was killed goes on where it was;
    `overwrite` first removes those that were made here.
    Returns what was made or kept, in the order of the jobs.
    Raises InputError where a folder holds scribbles that were made otherwise, or by others, or
    another run is at work in it.
    """
    with ExitStack() as alone:
        for folder in sorted(folders):
            _check_ours(folder, recipe, overwrite)
            alone.enter_context(alone_in(folder, _REMEDY, tidy=True))
        for folder in folders:  # as they are now
            _check_ours(folder, recipe, overwrite)
        for folder in folders:  # only when none of them is refused
            remove_unfinished(folder, below=True)
            for path in folder.rglob("*.bmp") if overwrite else ():
                remove(path)
            write_json(folder / STAMP, recipe.stamp())
        return _make_all(jobs, folders, recipe, workers)


def _make_all(
    jobs: Sequence[masks.MaskJob], folders: Sequence[Path], recipe: ScribbleRecipe, workers: int
) -> list[Made]:
    images = sum(len(job.names) for job in jobs)
    if images * len(folders) < FEW_IMAGES:
        workers = 1
    results: dict[int, list[Made]] = {}
    # many small jobs travel together; few stay single, so that no worker ends long after another
    size = max(1, min(MAX_CHUNK, len(jobs) // (8 * workers)))
    numbered = list(enumerate(jobs))
    work = (numbered[i : i + size] for i in range(0, len(jobs), size))
    with tqdm(total=images, unit="image", desc="scribbles") as bar:
        for part in in_processes(_make_chunk, work, (tuple(folders), recipe), workers):
            for index, made in part:
                results[index] = made
                bar.update(len(jobs[index].names))
    return [made for index in range(len(jobs)) for made in results[index]]


def write_coco_list(
    path: Path, jobs: Sequence[masks.CocoJob], made: Sequence[Made], sets: Sequence[str] = ("",)
) -> int:
    """Write COCO_scribbles.json for the images that have scribbles; returns their number.

    sets: folders in that of the scribbles, `s0/`; every image is listed once for each.
    `num_objects` is the label value of the background's strokes, N + 1, as the release takes it.
    """
    files = {job.names[0]: job.image.file_name for job in jobs}
    entries = []
    for folder in sets:
        for name, count, _ in made:
            entry = {"file_name": files[name], "anno_name": f"{folder}{name}.bmp"}
            entries.append({**entry, "num_objects": count + 1})
    write_json(path, {"images": entries}, indent=None)
    return len(made)


def _check_ours(folder: Path, recipe: ScribbleRecipe, overwrite: bool) -> None:
    """Refuse a folder that holds others' scribbles, or differently made ones."""
    path = folder / STAMP
    if path.is_file():
        try:
            found = read_json(path)
        except InputError:
            if overwrite:
                return
            told = "cannot be read, so that nobody knows how its scribbles were made"
            remedy = "name another folder, or give --overwrite"
            raise InputError(f"{path}: {told}; {remedy}") from None
        check_stamp(folder, "scribbles", found, recipe.stamp(), overwrite)
    elif _is_foreign(folder) and not path.is_file():  # it may have come meanwhile
        # never --overwrite here: hand-drawn scribbles cannot be made again
        raise InputError(
            f"{folder}: holds files that were not made here ({STAMP} is missing); "
            "name another folder, or move them away"
        )


def check_stamp(folder: Path, what: str, found: dict, stamp: dict, overwrite: bool) -> None:
    """Refuse a folder of what was made otherwise: by `found`, not by `stamp`."""
    differing = [key for key in stamp if found.get(key) != stamp[key]]
    if differing and not overwrite:
        told = ", ".join(f"{key} {found.get(key)} not {stamp[key]}" for key in differing)
        raise InputError(
            f"{folder}: its {what} were made with {told}; "
            "give the same options, another folder, or --overwrite"
        )


def _is_foreign(folder: Path) -> bool:
    """Whether a folder holds what no run writes before its stamp."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return any(name != LOCK and not fnmatch(name, TEMPORARY) for name in names)


def _make_chunk(
    chunk: list[tuple[int, masks.MaskJob]], folders: tuple[Path, ...], recipe: ScribbleRecipe
) -> list[tuple[int, list[Made]]]:
    return [(i, list(_make(job, folders, recipe))) for i, job in chunk]


def _is_there(path: Path) -> bool:
    return path.is_file() and not is_cut_off(path)


def _make(job: masks.MaskJob, folders: tuple[Path, ...], recipe: ScribbleRecipe) -> Iterator[Made]:
    if isinstance(job, masks.MapJob):
        wanted = [folder / f"{name}.bmp" for folder in folders for name in job.names]
        if all(map(_is_there, wanted)):
            yield from (Made(name, None, 0) for name in job.names)
            return
    for scene in job.scenes():
        drawn = 0
        seed = zlib.crc32(scene.name.encode("utf-8", "surrogateescape"))
        for index, folder in enumerate(folders):
            path = folder / f"{scene.name}.bmp"
            if _is_there(path):
                continue
            rng = np.random.default_rng([recipe.seed, index, seed])
            options = recipe.options
            if not scene.background:
                options = dataclasses.replace(options, background=False)
            scribble = draw_scribble(scene.labels, scene.num_objects, rng, options, scene.avoid)
            write_map(path, scribble)
            drawn += 1
        yield Made(scene.name, scene.num_objects, drawn)

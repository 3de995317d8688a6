"""What made a folder of masks: `manifest.json` beside them.

Masks made with other weights, options or strokes look just like the right ones. So an evaluation
that goes on where it was stopped reuses only what the same manifest made, and a score of masks
whose weights have changed since is refused.

Only what the manifest lists is ever removed, and only where it holds nothing but masks. Several
runs may share a folder: each adds its videos under a lock.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from rhmnet.config import Config, to_dict
from rhmnet.errors import InputError
from rhmnet.files import check_name, is_systems, list_files
from rhmnet.files.concurrency import LOCK, alone_in
from rhmnet.files.reading import read_json
from rhmnet.files.writing import TEMPORARY, move, remove, write_json

MANIFEST = "manifest.json"
_REMEDY = "wait for it, or name another --save_path"


class Manifest(NamedTuple):
    """What masks depend on."""

    made_by: dict[str, Any]
    """Fingerprint of the `weights`, configuration and options: one for all videos."""
    prompts: dict[str, str]
    """{video: fingerprint of the strokes or mask that it was started from}; its masks need not be
    there yet."""
    checkpoint: str | None
    """The file of the weights, to be looked at again when the masks are scored."""


def fingerprint(paths: Iterable[Path]) -> str:
    """SHA-256 of the files' contents, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def made_by(config: Config, checkpoint: Path | None) -> dict[str, Any]:
    """All that a mask depends on, besides its video and strokes; see `Manifest`."""
    groups = to_dict(config)
    weights = fingerprint([checkpoint]) if checkpoint else f"random, seed {config.train.seed}"
    if checkpoint:
        del groups["model"]["pretrained"]  # overwritten by the checkpoint's weights
    del groups["test"]["snapshot_budget"]  # no mask depends on it
    crop_size = groups["data"]["crop_size"]  # the position embedding's size depends on it
    return {
        "weights": weights,
        "model": groups["model"],
        "crop_size": crop_size,
        "test": groups["test"],
    }


def prepare_folder(folder: Path, manifest: Manifest, overwrite: bool) -> None:
    """Make `folder` ready for masks of this manifest; what the same manifest made stays.

    With `overwrite`, the masks of the manifest's videos are removed, and all others too that were
    not made in the same way. Without it, such masks raise InputError, as does, with it or without,
    what this program has not made.
    """
    with alone_in(folder, _REMEDY):
        path = folder / MANIFEST
        before = _read(path) if path.is_file() else None
        same = before is not None and before.made_by == manifest.made_by
        if overwrite and before is not None:
            stale = {*manifest.prompts} & {*before.prompts} if same else {*before.prompts}
            for name in stale:
                _remove_masks(folder, name)
        present = [n for n in manifest.prompts if (folder / n).exists()]
        kept = {}
        if before is not None:
            # of another run of the same making, too, that has not finished them yet
            kept = {n: p for n, p in before.prompts.items() if same or (folder / n).exists()}
        if present or (kept and not same):
            _check_same(folder, before, manifest, present)
        whole = manifest._replace(prompts={**kept, **manifest.prompts})
        write_json(path, whole._asdict())


def publish(folder: Path, name: str, finished: Path, manifest: Manifest) -> None:
    """Move the masks of a video, in the folder `finished`, to their place in `folder`.

    Raises InputError where the manifest tells of others by now: another run has taken the folder.
    """
    with alone_in(folder, _REMEDY):
        now = _read(folder / MANIFEST)
        if now.made_by != manifest.made_by or now.prompts.get(name) != manifest.prompts[name]:
            raise InputError(
                f"{folder}: another run has begun to make other masks there; {_REMEDY}"
            )
        move(finished, folder / name)
        remove(folder / name / LOCK)  # not before: another run would take the folder for its own


@contextmanager
def unfinished(folder: Path, name: str) -> Iterator[Path | None]:
    """A folder in `folder` for a video's masks until they are published, empty and this run's own.

    None where they are there. Another run that is at the same video is waited for.
    What an error leaves half done is removed, as is what a run that was killed has left.
    """
    if (folder / name).is_dir():
        yield None
        return
    partial = folder / f".{zlib.crc32(name.encode()):08x}.partial"  # a longer one might be too long
    with alone_in(partial, _REMEDY, seconds=math.inf):
        if (folder / name).is_dir():
            remove(partial)
            yield None
            return
        try:
            for path in _masks_in(partial):
                remove(path)
            yield partial
        except BaseException:
            with suppress(InputError):
                remove(partial)
            raise


def videos_in(folder: Path) -> set[str]:
    """The videos whose masks in `folder` were made as its manifest says; those that are there."""
    path = folder / MANIFEST
    names = _read(path).prompts if path.is_file() else {}
    return {name for name in names if (folder / name).is_dir()}


def check_weights(folder: Path) -> None:
    """Raise InputError if the checkpoint that a manifest names holds other weights by now."""
    if not (folder / MANIFEST).is_file():
        return
    manifest = _read(folder / MANIFEST)
    path = Path(manifest.checkpoint or "")
    try:
        there = path.is_file()
    except OSError:  # a name that no file can have
        there = False
    if there and fingerprint([path]) != manifest.made_by.get("weights"):
        raise InputError(
            f"{folder}: its masks are older than the weights in {path}, which have changed since; "
            "track again (eval_davis.py --overwrite)"
        )


def check_newer(folder: Path, names: Sequence[str], checkpoint: Path) -> None:
    """Raise InputError if a mask was written before the checkpoint was."""
    if not checkpoint.is_file():
        raise InputError(f"--checkpoint {checkpoint}: no such file")
    written = checkpoint.stat().st_mtime
    for name in names:
        for mask in list_files(folder / name, (".png",)):
            if mask.stat().st_mtime < written:
                raise InputError(f"{mask}: older than the weights in {checkpoint}; track again")


def _remove_masks(root: Path, name: str) -> None:
    """Remove a video's folder, or the link in its place. Raises InputError for others' files."""
    folder = root / name
    if not folder.parent.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{folder}: a link leads out of {root}; remove it yourself")
    if folder.is_dir() and not folder.is_symlink():
        _masks_in(folder)
    remove(folder)


def _masks_in(folder: Path) -> list[Path]:
    """The masks, whole or half written, in a folder that holds nothing else."""
    paths = [path for path in folder.iterdir() if path.name != LOCK]
    for path in paths:
        ours = path.suffix == ".png" or fnmatch(path.name, TEMPORARY) or is_systems(path.name)
        if not ours or (path.is_dir() and not path.is_symlink()):
            raise InputError(
                f"{path}: was not made here, and goes with no mask; move it away, or name another "
                "--save_path"
            )
    return paths


def _check_same(
    folder: Path, before: Manifest | None, now: Manifest, present: Sequence[str]
) -> None:
    if before is None:
        raise InputError(
            f"{folder}: holds {present[0]} but no {MANIFEST} that says what made it; move it away, "
            "or give another --save_path"
        )
    remedy = "give --overwrite to make them anew, or another --save_path"
    changed = _differences(before.made_by, now.made_by)
    changed += [f"other strokes of {n}" for n in present if before.prompts.get(n) != now.prompts[n]]
    if changed:
        what = ", ".join(changed)
        raise InputError(f"{folder}: its masks were made otherwise ({what}); {remedy}")


def _read(path: Path) -> Manifest:
    """Raises InputError for what no manifest looks like, and for names that lead elsewhere."""
    content = read_json(path, "what made the masks beside it")
    made_by, prompts = content.get("made_by"), content.get("prompts")
    checkpoint = content.get("checkpoint")
    if (
        content.keys() != set(Manifest._fields)
        or not isinstance(made_by, dict)
        or not isinstance(prompts, dict)
        or not all(isinstance(value, str) for value in prompts.values())
        or not isinstance(checkpoint, str | None)
    ):
        raise InputError(
            f"{path}: not a manifest; expected made_by, prompts and checkpoint as evaluations "
            "write them; remove it and the masks beside it"
        )
    for name in prompts:
        check_name(name, f"{path}: prompts")
    return Manifest(made_by, prompts, checkpoint)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`key: old -> new` for what differs, at any depth; only the key where values are long."""
    parts = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            parts += _differences(old, new, f"{prefix}{key}.")
        else:
            values = f"{prefix}{key}: {old} -> {new}"
            parts.append(values if len(values) <= 80 else f"other {prefix}{key}")
    return parts

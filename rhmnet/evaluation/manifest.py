"""What made a folder of masks: `manifest.json` beside them.

Masks made with other weights, options or strokes look just like the right ones. So an evaluation
that goes on where it was stopped reuses only what the same manifest made, and a score of masks
whose weights have changed since is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rhmnet.errors import InputError

MANIFEST = "manifest.json"


class Manifest(NamedTuple):
    """What masks depend on."""

    made_by: dict[str, Any]
    """Fingerprint of the `weights`, configuration and options: one for all videos."""
    prompts: dict[str, str]
    """{video: fingerprint of the strokes or mask that it was started from}."""
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


def prepare_folder(folder: Path, manifest: Manifest, overwrite: bool) -> None:
    """Make `folder` ready for masks of this manifest; what the same manifest made stays.

    With `overwrite`, the masks of the manifest's videos are removed, and all others too that were
    not made in the same way. Without it, such masks raise InputError.
    """
    path = folder / MANIFEST
    before = _read(path) if path.is_file() else None
    if overwrite:
        same = before is not None and before.made_by == manifest.made_by
        stale = {*manifest.prompts, *(() if same or before is None else before.prompts)}
        for name in stale:
            shutil.rmtree(folder / name, ignore_errors=True)
    present = [n for n in manifest.prompts if (folder / n).exists()]
    kept = {}
    if before is not None:
        kept = {n: p for n, p in before.prompts.items() if (folder / n).exists()}
    if present or kept:
        _check_same(folder, before, manifest, present)
    folder.mkdir(parents=True, exist_ok=True)
    whole = manifest._replace(prompts={**kept, **manifest.prompts})
    temporary = path.with_name(f"{MANIFEST}.partial")
    temporary.write_text(json.dumps(whole._asdict(), indent=1) + "\n")
    os.replace(temporary, path)


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
    if path.is_file() and fingerprint([path]) != manifest.made_by.get("weights"):
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
        for mask in sorted((folder / name).glob("*.png")):
            if mask.stat().st_mtime < written:
                raise InputError(f"{mask}: older than the weights in {checkpoint}; track again")


def _check_same(
    folder: Path, before: Manifest | None, now: Manifest, present: Sequence[str]
) -> None:
    remedy = "give --overwrite to make them anew, or another --save_path"
    if before is None:
        raise InputError(f"{folder}: holds masks but no {MANIFEST} that says of what; {remedy}")
    changed = _differences(before.made_by, now.made_by)
    changed += [f"other strokes of {n}" for n in present if before.prompts.get(n) != now.prompts[n]]
    if changed:
        what = ", ".join(changed)
        raise InputError(f"{folder}: its masks were made otherwise ({what}); {remedy}")


def _read(path: Path) -> Manifest:
    try:
        return Manifest(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not a manifest ({error}); remove it and the masks beside it"
        ) from None


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

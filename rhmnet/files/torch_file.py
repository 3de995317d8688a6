"""Reading what `torch.save` wrote: whole, or refused by name; nothing in a file is ever run.

What lies under the name of a checkpoint is often something else: the web page that a file-sharing
link gives, the pointer that Git LFS leaves, an archive that was not unpacked. It is told by its
first bytes, before anything tries to load it.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhmnet.errors import InputError

if TYPE_CHECKING:
    import torch

_HEAD = 1024  # bytes that tell what a file is
_PAGE = re.compile(rb"<(!doctype|html|head|body|script|\?xml|!--|title|meta|svg)", re.IGNORECASE)
_PACKED = (
    (b"\x1f\x8b", "a gzip archive; unpack it first (gunzip)"),
    (b"BZh", "a bzip2 archive; unpack it first (bunzip2)"),
    (b"\xfd7zXZ\x00", "an xz archive; unpack it first (unxz)"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it first (unzstd)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x89HDF", "an HDF5 file; expected one written by torch.save"),
    (b"\x93NUMPY", "a NumPy array; expected a file written by torch.save"),
)
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
_RUNS_CODE = re.compile(r"\bGLOBAL\b|unsupported global|call reduce|allowlisted", re.IGNORECASE)
_NOT_OF_TORCH = "Unsupported operand"  # of pickle's language, which weights do without


def read_torch_file(path: str | Path, device: str | torch.device = "cpu") -> Any:
    """What `torch.save` wrote, its tensors on a device.

    Raises InputError for a file that is missing, damaged by its own checksums, cut off or something
    else, and for one with anything but tensors and plain values, which is refused unread.
    """
    import torch

    path = Path(path)
    head = _look_at(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign pickles, which raise anyway
            return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # whatever a foreign file makes of the reader, it is no checkpoint
        other = head.startswith(_PICKLE) and _NOT_OF_TORCH in str(error)
        if other or _RUNS_CODE.search(str(error)):
            raise InputError(
                f"{path}: refused: it holds more than tensors and plain values, and loading it "
                "could run code; expected a dict with a state_dict of tensors"
            ) from None
        first = str(error).partition("\n")[0][:200]
        told = " " in first and "weights" not in first.lower()  # PyTorch's advice
        detail = f" ({first})" if told else ""
        raise InputError(
            f"{path}: cut off or not a checkpoint{detail}; expected a file written by torch.save"
        ) from None


def _look_at(path: Path) -> bytes:
    """The first bytes; raises InputError that says what a file is that torch.save never wrote."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected one written by torch.save") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder; expected a file written by torch.save") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read: {reason}") from None
    if not head:
        raise InputError(f"{path}: is empty; expected a file written by torch.save")
    if found := _foreign(head):
        raise InputError(f"{path}: not a checkpoint but {found}")
    if head.startswith(_ZIP):
        _check_archive(path, size)
    return head


def _foreign(head: bytes) -> str | None:
    """What a file is by its first bytes, and what to do; None where it may be a checkpoint."""
    for magic, name in _PACKED:
        if head.startswith(magic):
            return name
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, without the file it stands for; fetch that with `git lfs pull`"
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first (tar -xf)"
    if head[8:10] == b'{"':  # its first 8 bytes are a length
        return "a safetensors file; expected one written by torch.save"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        text = head[2:].replace(b"\0", b"").lstrip()
    if _PAGE.match(text):
        return (
            "a web page, as file-sharing links give where they want a click or a login; download "
            "it in a browser, then name that file"
        )
    if text and all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in text):
        shown = text[:40].decode("utf-8", "replace").split("\n")[0]
        return f"a text file ({shown.strip()!r}); expected one written by torch.save"
    return None


def _check_archive(path: Path, size: int) -> None:
    """A zip archive's parts are those of torch.save, and their checksums are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if not any(name.endswith("data.pkl") for name in names):
                shown = ", ".join(sorted(names)[:3]) or "nothing"
                raise InputError(
                    f"{path}: not a checkpoint but a zip archive of {shown!r}; unpack it first"
                )
            if any(name.endswith("constants.pkl") for name in names):
                raise InputError(
                    f"{path}: refused: a TorchScript program, which is code; expected a dict with "
                    "a state_dict of tensors"
                )
            if sum(part.file_size for part in archive.infolist()) > size:
                raise InputError(
                    f"{path}: its parts are larger than the file: compressed, or made to fill the "
                    "memory; expected a file as torch.save writes it"
                )
            broken = archive.testzip()
    except InputError:
        raise
    except Exception as error:  # a damaged directory makes zipfile raise nearly anything
        reason = str(error).partition("\n")[0][:100] or type(error).__name__
        raise InputError(f"{path}: cut off or damaged ({reason}); fetch or make it anew") from None
    if broken is not None:
        raise InputError(
            f"{path}: damaged: the checksum of {broken!r} is not that of its content; fetch or "
            "make it anew"
        )

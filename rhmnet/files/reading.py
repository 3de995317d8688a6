"""Reading files that may come from anywhere: whole, or refused by name in one line.

Nothing in a file is ever run. What lies under the name of a checkpoint is often something else: the
web page that a file-sharing link gives, the pointer that Git LFS leaves, an archive that was not
unpacked. It is told by its first bytes, before anything tries to load it.
"""

from __future__ import annotations

import codecs
import json
import math
import os
import re
import stat
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhmnet.errors import InputError, short
from rhmnet.files import check_name
from rhmnet.files.writing import write_bytes

if TYPE_CHECKING:
    import torch

MOST_BYTES = 2 << 30
"""Of a picture or a JSON file; COCO's largest annotations are half a GiB."""
_MARK = "\ufeff"
_ENDS = re.compile(r"\r\n|\r|\n")  # not those that str.splitlines finds inside of names
_MOST_DIGITS = 200
_HUGE = re.compile(rb"[eE]\+?\d{3}|\d{%d}" % _MOST_DIGITS)  # such a number may be infinite
_HEAD = 1024  # bytes that tell what a file is
_PAGE = re.compile(rb"<(!doctype|html|head|body|script|\?xml|!--|title|meta|svg)", re.IGNORECASE)
_SUM = ', "sum": "'
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
_OF_TORCH = "a file written by torch.save"
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
_RUNS_CODE = re.compile(r"\bGLOBAL\b|unsupported global|call reduce|allowlisted", re.IGNORECASE)
_NOT_OF_TORCH = "Unsupported operand"  # of pickle's language, which weights do without


def read_bytes(path: str | Path, wanted: str) -> bytes:
    """A file's content. Raises InputError that names it and says that it was to be `wanted`."""
    check_file(path, wanted)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, error, wanted) from None


def check_file(path: str | Path, wanted: str) -> None:
    """Raise InputError unless a path is that of a file that may be read into memory."""
    size = regular_size(path, wanted)
    if size == 0:
        raise broken(path, wanted, "it is empty")
    if size > MOST_BYTES:
        raise broken(path, wanted, f"it has {size} bytes, more than {MOST_BYTES >> 30} GiB")


def regular_size(path: str | Path, wanted: str) -> int:
    """Bytes of a regular file. Raises InputError for what is none, or is not there.

    A pipe would be waited for, and a device never ends.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"{short(path)}: expected the path of a file: {wanted}")
    try:
        status = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error, wanted) from None
    except ValueError:  # a NUL in the name
        raise InputError(f"{str(path)!r}: no name of a file; expected {wanted}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "is a folder" if stat.S_ISDIR(status.st_mode) else "is no regular file"
        raise InputError(f"{path}: cannot be read, it {kind}; expected {wanted}")
    return status.st_size


def _unreadable(path: str | Path, error: Exception, wanted: str) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such file; expected {wanted}")
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{path}: cannot be read ({reason}); expected {wanted}")


def broken(path: str | Path, wanted: str, why: str) -> InputError:
    """The error for a file that cannot be used."""
    return InputError(f"{path}: cannot be read as {wanted}: {why}; replace the file")


def read_list(path: Path) -> list[str]:
    """The names in a list of videos, one a line, in order; a name may hold spaces.

    UTF-8, with a byte order mark or without; UTF-16 where a mark says so.
    Raises InputError that names the file, and what `check_name` raises.
    """
    wanted = "a list of videos, one name a line"
    data = read_bytes(path, wanted)
    wide = len(data) > 2 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        lines = _ENDS.split(data.decode("utf-16" if wide else "utf-8-sig"))
    except ValueError as error:
        raise broken(path, wanted, f"{error}") from None
    names = [line.replace(_MARK, "").strip(" \t\xa0") for line in lines]
    return [check_name(n, f"{path}: line {i}") for i, n in enumerate(names, start=1) if n]


def read_json(path: str | Path, wanted: str = "a JSON object") -> dict[str, Any]:
    """The object that a JSON file holds; all its numbers are finite.

    wanted: what was expected, in words, for messages.
    Raises InputError that names the file if it is missing, too large, no UTF-8, nested too deep,
    no JSON (NaN and Infinity are not), or holds another thing than an object.
    """
    data = read_bytes(path, wanted)
    content = parse_json(data, str(path), wanted)
    if not isinstance(content, dict):
        found = type(content).__name__
        raise InputError(f"{path}: expected {wanted}, found {found}; replace the file")
    return content


def parse_json(data: bytes, name: str, wanted: str = "JSON") -> Any:
    """The value that JSON text (UTF-8, with a byte order mark or not) holds.

    name: of the file, for messages, and `wanted`. Raises InputError as `read_json` does.
    """
    hooks: dict[str, Any] = {"parse_constant": _refuse}
    if _HUGE.search(data):
        hooks |= {"parse_float": _finite, "parse_int": _of_few_digits}
    try:
        return json.loads(data.decode("utf-8-sig"), **hooks)
    except RecursionError:
        raise InputError(f"{name}: is nested too deep to be JSON; expected {wanted}") from None
    except ValueError as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InputError(
            f"{name}: cannot be read as JSON ({reason[:200]}); expected {wanted}"
        ) from None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:30]} is too large")
    return number


def _of_few_digits(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"the number {text[:30]}... is too large")
    return int(text)


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file; one that was cut off in the end is cut off the file. None: no file."""
    if not os.path.lexists(path):
        return []
    regular_size(path, "lines of text")
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); make it readable") from None
    if rest and _is_whole(rest):  # all but its end, which the next line brings
        lines.append(rest)
    elif rest:
        write_bytes(path, b"".join(line + b"\n" for line in lines))
    return lines


def sealed(content: dict[str, Any]) -> str:
    """A line of JSON that ends with its check sum."""
    head = json.dumps(content, allow_nan=False)[:-1]
    return f'{head}{_SUM}{zlib.crc32(head.encode()):08x}"}}'


def sealed_bytes(body: bytes) -> bytes:
    """Bytes behind their check sum, for `unsealed_bytes`."""
    return zlib.crc32(body).to_bytes(4, "little") + body


def unsealed_bytes(data: bytes) -> bytes | None:
    """What `sealed_bytes` was given; None of what is damaged."""
    return data[4:] if zlib.crc32(data[4:]) == int.from_bytes(data[:4], "little") else None


def unsealed(line: bytes) -> Any:
    """What a sealed line holds. Raises InputError for one that is another than was written."""
    if not _is_whole(line):
        raise InputError("is damaged, by its check sum")
    return parse_json(line.rpartition(_SUM.encode())[0] + b"}", "a line")


def _is_whole(line: bytes) -> bool:
    head, _, tail = line.rpartition(_SUM.encode())
    return tail == b'%08x"}' % zlib.crc32(head)


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
            f"{path}: cut off or not a checkpoint{detail}; expected {_OF_TORCH}"
        ) from None


def _look_at(path: Path) -> bytes:
    """The first bytes; raises InputError that says what a file is that torch.save never wrote."""
    size = regular_size(path, _OF_TORCH)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise _unreadable(path, error, _OF_TORCH) from None
    if not head:
        raise InputError(f"{path}: is empty; expected {_OF_TORCH}")
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

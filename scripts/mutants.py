"""Make deliberate errors, one at a time, on a copy of the tree, and see that a test fails.

    python scripts/mutants.py                      # all of tests/mutants.yaml; minutes
    python scripts/mutants.py --only eviction      # those whose description holds a word
    python scripts/mutants.py --jobs 4

Prints each error with the test that noticed it, and what survived. Exit code 1 if any did.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import multiprocessing
import os
import re
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import yaml

from rhmnet.runtime import MOST_WORKERS, CommandParser, run_command, whole

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "mutants.yaml"
COPIED = (
    *("rhmnet", "configs", "tests", "scripts", "docs"),
    *("*.py", "*.md", "*.toml", "*.yaml", "*.cff", "LICENSE", "datasets/*.md", "checkpoints/*.*"),
)
SECONDS = 600
"""A mutant may run for ever; the test that hangs has noticed it."""
_PROCESSES = multiprocessing.get_context("forkserver")


class Mutant(NamedTuple):
    """One deliberate error."""

    what: str
    old: str
    """Text that stands once in the package."""
    new: str
    tests: tuple[str, ...]
    """Test files, or tests, of which one fails at least."""


def read_table(path: Path = TABLE) -> list[Mutant]:
    """The table's mutants, in its order."""
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [Mutant(row["what"], row["old"], row["new"], tuple(row["tests"])) for row in rows]


def places(mutant: Mutant, root: Path = ROOT) -> list[Path]:
    """The file that a mutant changes, once for each time that it could."""
    texts = {path: path.read_text(encoding="utf-8") for path in (root / "rhmnet").rglob("*.py")}
    return [path for path, text in texts.items() for _ in range(text.count(mutant.old))]


@contextmanager
def applied(mutant: Mutant, root: Path):
    """Change the file of a tree, and put it back. Raises ValueError unless it fits once."""
    found = places(mutant, root)
    if len(found) != 1:
        raise ValueError(f"{mutant.what}: its text stands {len(found)} times in rhmnet/")
    text = found[0].read_text(encoding="utf-8")
    found[0].write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        yield found[0].relative_to(root)
    finally:
        found[0].write_text(text, encoding="utf-8")


def run_tests(root: Path, tests: tuple[str, ...]) -> tuple[bool, str]:
    """Whether tests pass in a tree, and the first that fails."""
    report = root / "report.txt"
    report.write_text("")  # what an earlier run said is no answer
    process = _PROCESSES.Process(target=_pytest, args=(root, tests, report))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        return False, "(runs for ever)"
    text = report.read_text(encoding="utf-8")
    if process.exitcode == 0:
        return True, ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    if process.exitcode != 1 or failed is None:
        raise RuntimeError(f"pytest {' '.join(tests)}: {text[-3000:]}")
    return False, failed[1]


def _pytest(root: Path, tests: tuple[str, ...], report: Path) -> None:
    """Run in a process of its own, which has imported the libraries and nothing of the project."""
    import pytest

    os.setsid()  # tests may signal their process group
    os.chdir(root)
    for name in [name for name in sys.modules if name.split(".")[0] == "rhmnet"]:
        del sys.modules[name]  # this script's own, of the tree without errors
    sys.path.insert(0, str(root))
    os.environ |= {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True  # a change of the same length in the same second
    with report.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests])))


def main() -> int:
    """See the module."""
    parser = CommandParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", metavar="WORD", help="of descriptions that hold it")
    parser.add_argument(
        "--jobs", type=whole(1, MOST_WORKERS), default=2, help="copies that are tried side by side"
    )
    options = parser.parse_args()
    mutants = [mutant for mutant in read_table() if options.only in mutant.what]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _PROCESSES.set_forkserver_preload(["torchvision", "cv2", "hypothesis", "pytest"])
    with tempfile.TemporaryDirectory() as folder:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.jobs):
            trees.put(_copy(Path(folder) / str(number)))
        tree = trees.get()
        passes, failed = run_tests(tree, tuple(sorted({t for m in mutants for t in m.tests})))
        trees.put(tree)
        if not passes:
            print(f"without any change, {failed} fails", file=sys.stderr)
            return 2

        def attempt(mutant: Mutant) -> bool:
            tree = trees.get()
            try:
                with applied(mutant, tree) as file:
                    passes, failed = run_tests(tree, mutant.tests)
            finally:
                trees.put(tree)
            notice = "SURVIVED" if passes else f"caught by {failed}"
            print(f"{file}: {mutant.what}: {notice}", flush=True)
            return not passes

        with ThreadPoolExecutor(options.jobs) as pool:
            caught = sum(pool.map(attempt, mutants))
    print(f"{caught} of {len(mutants)} caught")
    return 0 if caught == len(mutants) else 1


def _copy(target: Path) -> Path:
    target.mkdir()
    for path in (path for name in COPIED for path in ROOT.glob(name)):
        place = target / path.relative_to(ROOT)
        if path.is_dir():
            shutil.copytree(path, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.parent.mkdir(exist_ok=True)
            shutil.copy(path, place)
    return target


if __name__ == "__main__":
    run_command(main)

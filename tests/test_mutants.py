"""The table of deliberate errors: each still fits the source, and names tests that are there."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest
from davis_files import load_script

mutants = load_script("scripts/mutants.py")
ROOT = Path(__file__).resolve().parents[1]
TABLE = mutants.read_table()


def test_each_error_fits_once_and_is_another_program() -> None:
    """What is no Python would fail any test."""
    texts = [path.read_text() for path in (ROOT / "rhmnet").rglob("*.py")]
    misfits = {m.what: n for m in TABLE if (n := sum(t.count(m.old) for t in texts)) != 1}
    assert not misfits, "change `old` in tests/mutants.yaml with the source, or drop the error"
    parsed = functools.cache(lambda text: ast.dump(ast.parse(text)))
    for mutant in TABLE:
        text = next(text for text in texts if mutant.old in text)
        assert ast.dump(ast.parse(text.replace(mutant.old, mutant.new))) != parsed(text), mutant


def test_each_error_has_a_name_and_a_test() -> None:
    assert len(TABLE) >= 40
    assert len({(m.old, m.new) for m in TABLE}) == len({m.what for m in TABLE}) == len(TABLE)
    for mutant in TABLE:
        assert mutant.tests, mutant.what
        for test in mutant.tests:
            assert (ROOT / test.partition("::")[0]).is_file(), (mutant.what, test)


def test_an_error_is_made_and_unmade(tmp_path: Path) -> None:
    package = tmp_path / "rhmnet" / "room"
    package.mkdir(parents=True)
    file = package / "a.py"
    file.write_text("x = 1\ny = 2\n")
    mutant = mutants.Mutant("one more", "x = 1", "x = 2", ("tests/test_a.py",))
    with mutants.applied(mutant, tmp_path) as place:
        assert place == Path("rhmnet/room/a.py")
        assert file.read_text() == "x = 2\ny = 2\n"
    assert file.read_text() == "x = 1\ny = 2\n"
    (package / "b.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="stands 2 times"), mutants.applied(mutant, tmp_path):
        pass


@pytest.mark.slow
def test_every_error_is_noticed() -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "mutants.py"], check=True)

"""The table of deliberate errors: each still fits the source, and names tests that are there."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest
from davis_files import load_script

mutants = load_script("scripts/mutants.py")
ROOT = Path(__file__).resolve().parents[1]
TABLE = mutants.read_table()


def test_each_error_fits_once() -> None:
    texts = [path.read_text() for path in (ROOT / "rhmnet").rglob("*.py")]
    misfits = {m.what: n for m in TABLE if (n := sum(t.count(m.old) for t in texts)) != 1}
    assert not misfits, "change `old` in tests/mutants.yaml with the source, or drop the error"


def test_each_error_is_another_program() -> None:
    """What is no Python would fail any test."""
    for mutant in TABLE:
        for path in mutants.places(mutant):
            text = path.read_text()
            changed = ast.parse(text.replace(mutant.old, mutant.new))
            assert ast.dump(changed) != ast.dump(ast.parse(text)), mutant.what


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


def test_what_notices_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_a.py").write_text("def test_b(): pass\ndef test_c(): assert 0\n")
    assert mutants.run_tests(tmp_path, ("test_a.py",)) == (False, "test_a.py::test_c")

    def ends_with(code: int) -> None:
        done = subprocess.CompletedProcess([], code, stdout="", stderr="no such test")
        monkeypatch.setattr(subprocess, "run", lambda *args, **options: done)

    ends_with(0)
    assert mutants.run_tests(tmp_path, ("test_a.py",)) == (True, "")
    ends_with(4)  # a test that is not there notices nothing
    with pytest.raises(RuntimeError, match=r"pytest test_a\.py: no such test"):
        mutants.run_tests(tmp_path, ("test_a.py",))


@pytest.mark.slow
def test_every_error_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["mutants.py"])
    assert mutants.main() == 0

"""README and the pages: what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    *("README.md", "CONTRIBUTING.md", "checkpoints/README.md", "docs/method.md", "docs/code.md"),
    *("docs/small_network.md", "docs/performance.md", "docs/segment.md", "docs/scribbles.md"),
    *("docs/canvas.md", "docs/python.md", "docs/demo/README.md", "datasets/README.md"),
)
PLACES = ("", "rhmnet/", "rhmnet/data/", "rhmnet/training/", "rhmnet/evaluation/", "scripts/")


def sections() -> set[str]:
    return set(re.findall(r"^## (\d) ", (ROOT / "docs/method.md").read_text(), re.MULTILINE))


def test_every_section_that_docstrings_cite_is_there() -> None:
    assert sections() == set("0123456789")
    cited = set()
    for path in (ROOT / "rhmnet").rglob("*.py"):
        text = " ".join(path.read_text().split())
        assert "pecification" not in text, path
        cited |= set(re.findall(r"docs/method\.md, sections? (\d)", text))
    assert cited == sections()


@pytest.mark.parametrize("page", PAGES)
def test_files_and_links_of_a_page_are_there(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+?)(?:#[^)]*)?\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target
    anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in _headings(text)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
    for name in re.findall(r"`([\w/]+\.(?:py|yaml|sh|md|tsv))(?:::\w+)?`", text):
        assert any((ROOT / place / name).exists() for place in PLACES), name


def test_names_of_the_map_are_in_their_modules() -> None:
    text = (ROOT / "docs/code.md").read_text()
    named = re.findall(r"`(\w+(?:\.\w+)*)\.([A-Za-z_]\w+)`", text)
    found = 0
    for module, name in named:
        if "ovis" in name:  # the data set that the page adds
            continue
        place = ROOT / "rhmnet" / module.replace(".", "/")
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if path.is_file() and name not in ("py", "yaml") and not (place / f"{name}.py").is_file():
            assert re.search(rf"\b{name}\b", path.read_text()), (module, name)
            found += 1
    assert found > 15


def _headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.*)$", text, re.MULTILINE)


def test_the_table_of_errors_is_as_long_as_contributors_are_told() -> None:
    count = (ROOT / "tests/mutants.yaml").read_text().count("\n- what: ")
    page = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    tried, total = re.search(r"(\d+) of the (\d+) were tried", page).groups()
    assert int(tried) <= int(total) == count

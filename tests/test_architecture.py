"""Who may import whom: the one-way flow between the rooms, and nothing that happens on import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASE = {"errors", "labels", "arithmetic", "structures", "config"}
LEAVES = {
    "attention": {"arithmetic"},
    "feature_extractor": set(),
    "position_embedding": set(),
    "memory_encoder": {"attention", "arithmetic"},
    "memory_bank": set(),
    "matching": {"attention", "arithmetic"},
    "segmentation_head": {"arithmetic"},
}
MAY_IMPORT = {
    "errors": set(),
    "runtime": {"errors", "runtime"},
    "labels": set(),
    "arithmetic": {"labels"},
    "structures": {"config", "labels", "arithmetic"},
    "__main__": {"errors", "config", "config_yaml", "runtime"},
    "config_yaml": {"errors"},
    "config": {"errors", "config_yaml", "labels"},
    **{leaf: {"labels", "structures", *extra} for leaf, extra in LEAVES.items()},
    "state_dict": {"errors", "config", "files", "feature_extractor"},
    "model": BASE | set(LEAVES) | {"state_dict"},
    "accelerate": BASE | set(LEAVES) | {"accelerate", "model"},
    "inputs": BASE,
    "tracker": BASE | {"model", "memory_bank", "accelerate", "inputs"},
    "checkpoint": BASE | {"config_yaml", "model", "files", "state_dict"},
    "losses": BASE | {"arithmetic"},
    "visualize": BASE,
    "files": BASE | {"files", "inputs"},
    "data": BASE | {"data", "files", "inputs"},
    "training": BASE
    | {"training", "model", "losses", "data", "files", "checkpoint", "state_dict"}
    | {"visualize", "runtime"},
    "evaluation": BASE
    | {"evaluation", "model", "tracker", "inputs"}
    | {"data", "files", "checkpoint", "visualize", "runtime"},
    "tools/canvas": BASE
    | {"tools/canvas", "tools/segment", "tools/scribbles", "files", "checkpoint"}
    | {"visualize", "runtime"},
    "tools/clips": BASE | {"tools/clips", "tools/scribbles", "data", "files", "runtime"},
    "tools/scribbles": BASE | {"tools/scribbles", "data", "files", "visualize", "runtime"},
    "tools/segment": BASE
    | {"tools/segment", "tools/scribbles", "inputs", "data", "files", "tracker", "model"}
    | {"segmentation_head"}
    | {
        "checkpoint",
        "evaluation",
        "visualize",
        "runtime",
    },
    "tools/synthetic": BASE | {"tools/synthetic", "tools/scribbles", "data", "files", "runtime"},
}
TOOLS = "tools"


def imports_of(path: Path) -> set[str]:
    """Rooms of rhmnet that a file imports, by name."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {_room(name.split(".")[1:]) for name in names if name.startswith("rhmnet.")}
    return rooms


def _room(parts: list[str]) -> str:
    """A tool is a room of its own."""
    return "/".join(parts[: 2 if parts[0] == TOOLS else 1])


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_room_imports_only_what_it_may(room: str) -> None:
    package = ROOT / "rhmnet"
    files = sorted((package / room).rglob("*.py")) or [package / f"{room}.py"]
    for path in files:
        extra = imports_of(path) - MAY_IMPORT[room]
        assert not extra, f"{path.relative_to(ROOT)} may not import {sorted(extra)}"


def names_of_torch(path: Path) -> set[str]:
    """Dotted names that a file uses of torch, as `torch.ops.aten`."""
    nodes = ast.walk(ast.parse(path.read_text()))
    names = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    return {name for name in names if name.startswith("torch.")}


def test_private_operators_are_for_acceleration_alone() -> None:
    def private(path: Path) -> list[str]:
        used = sorted(names_of_torch(path))
        return [n for n in used if any(x == "ops" or x[0] == "_" for x in n.split("."))]

    room = ROOT / "rhmnet" / "accelerate"
    assert any(private(path) for path in room.glob("*.py"))
    for path in (ROOT / "rhmnet").rglob("*.py"):
        assert path.is_relative_to(room) or not private(path), path


def test_the_figures_boxes_are_short_and_know_no_devices() -> None:
    texts = [(ROOT / "rhmnet" / f"{box}.py").read_text() for box in LEAVES]
    assert sum(len(text.splitlines()) for text in texts) < 900
    for text in (*texts, (ROOT / "rhmnet" / "model.py").read_text()):
        assert not re.search(r"device\.type|is_cuda|is_grad_enabled", text)


def test_every_room_is_listed() -> None:
    places = [*(ROOT / "rhmnet").iterdir(), *(ROOT / "rhmnet" / TOOLS).iterdir()]
    modules = [p.relative_to(ROOT / "rhmnet") for p in places if p.suffix == ".py" or p.is_dir()]
    rooms = {p.with_suffix("").as_posix() for p in modules}
    ignored = {
        f"{folder}{name}" for folder in ("", f"{TOOLS}/") for name in ("__init__", "__pycache__")
    }
    assert rooms - ignored - {TOOLS} == set(MAY_IMPORT)


def repeated(names: list[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}


def test_names_of_modules_and_classes_occur_once() -> None:
    """So that a name leads to one place; packages' own `__init__` aside."""
    paths = [*(ROOT / "rhmnet").rglob("*.py")]
    trees = [ast.parse(path.read_text()) for path in paths]
    assert len(paths) < 92
    assert repeated([path.stem for path in paths]) == {"__init__"}
    classes = [n.name for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    assert not repeated(classes)


def test_files_and_functions_are_short() -> None:
    for path in (ROOT / "rhmnet").rglob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 350, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"


def test_nothing_imports_the_root_scripts() -> None:
    scripts = {p.stem for p in ROOT.glob("*.py")}
    for path in (ROOT / "rhmnet").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in scripts, path


def test_importing_the_package_loads_no_heavy_library() -> None:
    assert loaded_by("rhmnet") == []


def test_the_canvas_loads_pytorch_after_its_page_is_there() -> None:
    pytest.importorskip("uvicorn")
    assert loaded_by("rhmnet.tools.canvas") == []


def loaded_by(module: str) -> list[str]:
    """The libraries that take long to load, and that importing a module loads."""
    heavy = ["torch", "skimage", "tensorboard", "pycocotools"]
    code = f"import sys, {module}; print(*(m for m in {heavy} if m in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return out.stdout.split()


def writes_by_itself(call: ast.Call) -> bool:
    """Whether a call writes or removes files otherwise than by rhmnet/files/writing.py."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    mode = next((a.value for a in call.args[:2] if isinstance(a, ast.Constant)), "")
    if name == "open":
        return isinstance(mode, str) and len(mode) < 4 and bool({*"wax"} & {*mode})
    if name == "save":  # of Pillow and torch; a method of one's own takes no file
        return isinstance(call.func, ast.Attribute) and bool(call.args)
    if name in ("write_text", "write_bytes"):
        return isinstance(call.func, ast.Attribute)
    if ast.unparse(call.func) == "os.replace":
        return True
    return name in (
        "imwrite",
        "rename",
        "rmtree",
        "unlink",
        "rmdir",
        "mkdir",
        "makedirs",
        "mkstemp",
        "savez",
    )


def test_all_files_are_written_by_the_one_writer() -> None:
    places = [
        *(ROOT / "rhmnet").rglob("*.py"),
        *(ROOT / "scripts").glob("*.py"),
        *ROOT.glob("*.py"),
    ]
    own = {ROOT / "rhmnet" / "files" / f"{name}.py" for name in ("writing", "concurrency")}
    own.add(ROOT / "scripts" / "mutants.py")  # works on a copy
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in places
        if path not in own
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and writes_by_itself(node)
    ]
    assert not found
    calls = ("open(p, 'w')", "p.open('xb')", "image.save(p)", "p.write_text(t)", "p.mkdir()")
    assert all(writes_by_itself(ast.parse(call, mode="eval").body) for call in calls)

"""Commands choose how threads wait before PyTorch is loaded, and leave what the user chose."""

from __future__ import annotations

from rhmnet.runtime.waiting import wait_asleep

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = [
    *(path for path in ROOT.glob("scripts/*.py") if "run_command(" in path.read_text("utf-8")),
    *(*ROOT.glob("train_*.py"), *ROOT.glob("eval_*.py"), ROOT / "rhmnet" / "__main__.py"),
]


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.name)
def test_it_comes_first_in_every_command(path: Path) -> None:
    imports = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and getattr(node, "module", "") != "__future__"
    ]
    first = min(imports, key=lambda node: node.lineno)
    assert isinstance(first, ast.Import) and first.names[0].name == "rhmnet.runtime.waiting"


def test_it_loads_no_torch_and_is_seen_by_what_does() -> None:
    code = "import rhmnet.runtime.waiting, os, sys; assert 'torch' not in sys.modules\n"
    code += "print(os.environ['OMP_WAIT_POLICY'])"
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout == "PASSIVE\n"


def test_what_the_user_chose_stays() -> None:
    for name, value in (
        *(("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "100"), ("KMP_BLOCKTIME", "5")),
    ):
        environment = {name: value}
        wait_asleep(environment)
        assert environment == {name: value}
    environment = {"HOME": "/"}
    wait_asleep(environment)
    assert environment == {"HOME": "/", "OMP_WAIT_POLICY": "PASSIVE"}


def test_the_library_leaves_it_alone() -> None:
    users = [
        path
        for path in (ROOT / "rhmnet").rglob("*.py")
        if "runtime.waiting" in path.read_text(encoding="utf-8")
    ]
    assert users == [ROOT / "rhmnet" / "__main__.py"]

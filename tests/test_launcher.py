"""A launcher's variables: what is incomplete or wrong is told in one line, and none waits long."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

import pytest

from rhmnet.errors import InputError
from rhmnet.runtime import processes
from rhmnet.runtime.processes import Launcher, meet, read_launcher

WHOLE = {
    "WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29555",
}


def test_what_torchrun_sets_is_read() -> None:
    assert read_launcher(WHOLE) == Launcher(1, 2, 1)


@pytest.mark.parametrize(
    "given",
    [{"PATH": "/"}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": " ", "RANK": "3"}, {"WORLD_SIZE": "1"}],
)
def test_alone_without_them(given: dict[str, str]) -> None:
    assert read_launcher(given) == Launcher(0, 1, 0)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE='abc': expected 1 to"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE='0': expected 1 to"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE='-2': expected 1 to"),
        ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE='999"),
        ({"RANK": "2"}, "RANK='2': expected 0 to 1"),
        ({"RANK": "7"}, "RANK='7': expected 0 to 1"),
        ({"RANK": ""}, "WORLD_SIZE=2 without RANK; start it with torchrun"),
        ({"RANK": "", "MASTER_PORT": ""}, "WORLD_SIZE=2 without RANK, MASTER_PORT"),
        ({"WORLD_SIZE": "", "LOCAL_RANK": "abc"}, "LOCAL_RANK='abc': expected 0 to"),
        ({"WORLD_SIZE": "1", "RANK": "1"}, "RANK='1': expected 0 to 0"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK='x': expected 0 to 1"),
        ({"MASTER_PORT": "abc"}, "MASTER_PORT='abc': expected 1 to 65535"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT='70000': expected 1 to 65535"),
        ({"MASTER_ADDR": "no.such.invalid"}, "MASTER_ADDR='no.such.invalid': no such machine"),
        ({"MASTER_ADDR": "a" * 300}, "MASTER_ADDR='aaa"),
    ],
)
def test_wrong_variables_are_named(changed: dict[str, str], told: str) -> None:
    with pytest.raises(InputError) as error:
        read_launcher(WHOLE | changed)
    message = str(error.value)
    assert message.startswith(told) and "\n" not in message and len(message) < 250


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_stays_alone_ends_with_a_remedy(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in (WHOLE | {"RANK": str(rank), "MASTER_PORT": str(port)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "SECONDS_TO_MEET", 0.5)
    with pytest.raises(InputError, match="not all came; start as many as WORLD_SIZE says"):
        meet(read_launcher(os.environ), "gloo", timedelta(seconds=5))


def test_a_port_that_is_taken_ends_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        changed = {"RANK": "0", "MASTER_PORT": str(taken.getsockname()[1])}
        for name, value in (WHOLE | changed).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(processes, "SECONDS_TO_MEET", 0.5)
        with pytest.raises(InputError, match="is taken, by another run perhaps; use torchrun --st"):
            meet(read_launcher(), "gloo", timedelta(seconds=5))

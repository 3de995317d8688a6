"""What a run goes on from, and its kind: damage is told, and never taken for whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from davis_files import load_script
from small import small_config, small_model

import rhmnet
from rhmnet.data.youtube import YoutubeVos
from rhmnet.errors import InputError
from rhmnet.files.writing import write_bytes
from rhmnet.tools.segment.results import Results, State

LINE = {"frame": 0, "area": [5, 0], "probability": [0.5, None], "reliability": [1.0, None]}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    (tmp_path / "out").mkdir()
    return Results(tmp_path / "out")


def test_a_bit_of_a_state_is_noticed(results: Results) -> None:
    results.save_state(State("forward", 3, {"a": torch.zeros(4000)}))
    assert results.load_state(torch.device("cpu")).frame == 3
    path = results.folder / ".resume/state.pth"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"state\.pth: damaged.*--overwrite"):
        results.load_state(torch.device("cpu"))


@pytest.mark.parametrize(
    "content",
    [
        *(5, {}, {"stage": "forward"}, {"stage": "x", "frame": 0, "tracker": None}),
        *({"stage": "forward", "frame": n, "tracker": None} for n in (-5, 1.5, True, 10**12)),
    ],
)
def test_other_states_are_none(results: Results, content: object) -> None:
    (results.folder / ".resume").mkdir()
    torch.save(content, results.folder / ".resume/state.pth")
    with pytest.raises(InputError, match=r"state\.pth: not the state of a run; give --overwrite"):
        results.load_state(torch.device("cpu"))


def test_the_later_line_of_a_frame_counts_and_a_cut_one_does_not(results: Results) -> None:
    lines = [LINE, {**LINE, "area": [7, 1]}, {**LINE, "frame": 1}]
    text = "\n".join([*map(json.dumps, lines), '{"frame": 1, "ar'])
    (results.folder / "statistics.jsonl").write_text(text)
    table = results.statistics(2, 2)
    assert table[:, 0].tolist() == [[7, 1], [5, 0]]
    with pytest.raises(InputError, match="no line of frame 2"):
        results.statistics(3, 2)


@pytest.mark.parametrize(
    "change",
    [
        *({"frame": frame} for frame in (None, -1, 1, True, "0", [0], 0.0)),
        *({"area": area} for area in (None, 5, [5], [5, None], [5, -1], [[5], [0]], [5, "0"])),
        *({"reliability": shares} for shares in ([2.0, None], ["x", None], [[0.5, 0.5]], 0.5)),
    ],
)
def test_lines_that_are_none(results: Results, change: dict) -> None:
    line = json.dumps({**LINE, **change})
    (results.folder / "statistics.jsonl").write_text(f"{json.dumps(LINE)}\n{line}\n")
    with pytest.raises(InputError, match=r"statistics\.jsonl: a line is not of this video"):
        results.statistics(1, 2)


def test_what_waits_has_as_many_maps(results: Results) -> None:
    maps = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    results.put_waiting(0, maps)
    assert np.array_equal(results.get_waiting(0, 4), maps)
    with pytest.raises(InputError, match="frame 0 is gone"):
        results.get_waiting(0, 3)


def test_categories_are_text(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    entry = {"category": ["dog"], "frames": ["00000"]}
    meta = {"videos": {"ant": {"objects": {"1": entry}}}}
    (tmp_path / "train/meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match=r"meta\.json: expected"):
        YoutubeVos(tmp_path, "valid").seen_categories()


@pytest.mark.parametrize("odd", [torch.nan, "bit", "integers"])
def test_a_backbones_file_is_looked_at(tmp_path: Path, odd: object) -> None:
    path = tmp_path / "r18.pth"
    backbone = small_model().feature_extractor.backbone.state_dict()
    weight = backbone["layer1.0.conv1.weight"]
    if odd == "integers":
        backbone["layer1.0.conv1.weight"] = weight.long()
    elif odd != "bit":
        weight.view(-1)[7] = odd
    torch.save(backbone, path)
    if odd == "bit":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(InputError, match=r"r18\.pth.*(NaN|damaged|int64)"):
        rhmnet.build_model(small_config(f"model.pretrained={path}"))


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    message = str(InputError(f"file.json: {'x' * 10**6}; replace the file"))
    assert len(message) < 2100
    assert message.startswith("file.json: x") and message.endswith("x; replace the file")


@pytest.mark.parametrize("path", [5, None, b"x", "a\0b", "\ud800", ["a"]])
def test_what_is_no_name_is_not_written_to(path: object) -> None:
    with pytest.raises(InputError, match="no name of a file"):
        write_bytes(path, b"x")


@pytest.mark.parametrize("score", [-0.1, 1.01, 10**400, float("nan"), "0.5", [0.5]])
def test_scores_are_shares(score: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        load_script("scripts/tables.py").percent(score)

"""scripts/tables.py, reproduce_tables.sh and scribble_sensitivity.py: arithmetic and bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from davis_files import FRAMES, ROOT, load_script, make_davis
from PIL import Image

from rhmnet.data.davis import open_davis
from rhmnet.errors import InputError
from rhmnet.files.images import read_labels


def write_scores(folder: Path, report: dict) -> None:
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps(report))


@pytest.fixture
def davis_scores(tmp_path):
    """What the evaluations leave for the three DAVIS rows: J 0.5, F 0.7 with two sets."""
    for row in ("davis16", "davis16_object1", "davis17"):
        mean = {"J&F-Mean": 0.6, "J-Mean": 0.5, "F-Mean": 0.7}
        std = {"J&F-Mean": 0.012, "J-Mean": 0.01, "F-Mean": 0.02}
        report = {"videos": ["ant"], "sets": {"a": {}, "b": {}}, "mean": mean, "std": std}
        write_scores(tmp_path / row / "run", report)
    return tmp_path


def table(monkeypatch, folder: Path) -> list[list[str]]:
    monkeypatch.setattr(sys, "argv", ["tables.py", str(folder)])
    load_script("scripts/tables.py").main()
    lines = (folder / "tables.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_table_has_every_benchmark_and_a_column_for_the_paper(monkeypatch, davis_scores):
    groups = {"unseen": {"objects": 1, "J": 0.25, "F": 0.35}}
    report = {"videos": ["v"], "overall": 0.3, "groups": groups}
    write_scores(davis_scores / "youtube/run", report)
    head, _, *rows = table(monkeypatch, davis_scores)
    assert head == ["Benchmark", "Measure", "Here", "Std over sets", "Paper"]
    assert len(rows) == 3 * 3 + 5
    title = "DAVIS-2016 val, objects merged (standard), 1 videos, 2 sets"
    assert rows[0] == [title, "J&F", "60.0", "1.2", ""]
    here = {row[1]: row[2] for row in rows[9:]}
    assert here["Overall"] == "30.0"
    assert here["F unseen"] == "35.0"
    assert here["J seen"] == "no object"
    assert all(row[4] == "" for row in rows)


def test_table_names_the_zip_where_only_the_server_can_score(monkeypatch, davis_scores):
    with pytest.raises(InputError, match="youtube: neither scores nor a zip"):
        table(monkeypatch, davis_scores)
    (davis_scores / "youtube/run").mkdir(parents=True)
    (davis_scores / "youtube/run/run.zip").touch()
    assert "run.zip to the server" in table(monkeypatch, davis_scores)[-1][2]
    write_scores(davis_scores / "davis17/other", {})
    with pytest.raises(InputError, match=r"davis17: 2 files .*another --save_path"):
        table(monkeypatch, davis_scores)


def reproduce(*options: str) -> subprocess.CompletedProcess:
    command = ["bash", str(ROOT / "scripts/reproduce_tables.sh"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_all_that_is_missing_is_named_before_anything_runs(tmp_path):
    done = reproduce("--data-root", str(tmp_path), "--save_path", str(tmp_path / "out"))
    assert done.returncode == 2
    for name in ("2016/val.txt", "valid/meta.json", "valid_scribbles0", "pretrain_checkpoint_78"):
        assert name in done.stderr
    assert not (tmp_path / "out").exists()
    assert reproduce("--unknown").returncode == 2
    assert reproduce("--config").returncode == 2
    assert "ckpt_num 71" in reproduce("--help").stdout


@pytest.fixture
def sensitivity(monkeypatch, tmp_path):
    """Run scripts/scribble_sensitivity.py on tmp_path/DAVIS; its report."""

    def run(*options: str) -> dict:
        fixed = ["--data-root", f"{tmp_path}/DAVIS", "--save_path", f"{tmp_path}/out"]
        weights = ["--checkpoint", "random", "--device", "cpu", "--end", "1"]
        network = ["--opts", "model.backbone=resnet18", "model.pretrained=none"]
        argv = ["scribble_sensitivity.py", *fixed, *weights, *options, *network]
        monkeypatch.setattr(sys, "argv", argv)
        load_script("scripts/scribble_sensitivity.py").main()
        (path,) = (tmp_path / "out").glob("*/sensitivity.json")
        return json.loads(path.read_text())

    return run


def test_sensitivity_draws_sets_and_reports_each(sensitivity, tmp_path, fake, capsys):
    make_davis(tmp_path / "DAVIS", 2017)
    few = ["--coverage", "0.2", "1", "--thickness", "60", "--draws", "2"]
    report = sensitivity(*few)
    assert [row["value"] for row in report["set"]] == [0, 1, "all"]
    assert [row["value"] for row in report["coverage"]] == [0.2, 1]
    assert report["thickness"][0]["mean"]["J&F-Mean"] == 1  # the tracker knows the answer
    assert "coverage" in capsys.readouterr().out
    drawn = [scribble for scribble, _ in fake.started[2:]]
    short, long, thick = (sum((s > 0).sum() for s in drawn[i : i + 2]) for i in (0, 2, 4))
    assert short < long < thick
    few_ink, more, most = (
        report[k][i]["ink"] for k, i in (("coverage", 0), ("coverage", 1), ("thickness", 0))
    )
    assert 0 < few_ink < more < most <= 1
    assert (drawn[0] != drawn[1]).any()
    frames = fake.frames
    sensitivity(*few)  # finished masks are kept
    assert fake.frames == frames == 8 * FRAMES
    with pytest.raises(InputError, match="other strokes of ant"):
        sensitivity(*few, "--seed", "1")


def test_sensitivity_of_binary_annotations(tmp_path):
    davis = open_davis(make_davis(tmp_path / "DAVIS", 2016), 2016)
    script = load_script("scripts/scribble_sensitivity.py")
    conditions = {0: script.Condition("set", 0, 0), 100: script.Condition("coverage", 0.5, 0)}
    for _ in range(2):
        script.write_strokes(davis, ["ant"], conditions, tmp_path / "strokes", seed=3)
        strokes = read_labels(tmp_path / "strokes/valid_scribbles100/ant.bmp")
        assert np.unique(strokes).tolist() == [0, 1, 2]
    assert (tmp_path / "DAVIS/valid_scribbles0/ant.bmp").is_file()  # links alone are removed


def test_sensitivity_is_mean_and_deviation_over_draws():
    script = load_script("scripts/scribble_sensitivity.py")
    scores = {
        script.Condition("coverage", 0.5, draw): {"ant": np.full((2, 1, 3), value)}
        for draw, value in enumerate((0.4, 0.8))
    }
    (row,) = script.tabulate(scores, dict.fromkeys(scores, script.Amount(0.25, 0.5)))["coverage"]
    assert row["mean"]["J&F-Mean"] == pytest.approx(0.6)
    assert row["std"]["J&F-Mean"] == pytest.approx(0.2)
    table = script.format_table("coverage", [row])
    assert "0.6000 ± 0.2000" in table and "25.0%" in table and "50.0%" in table


def test_strokes_thinner_than_the_network_sees_are_told(tmp_path):
    """A line of 2 pixels fills an eighth of each 16-pixel cell, one of 4 a quarter."""
    davis = open_davis(make_davis(tmp_path / "DAVIS", 2016), 2016)
    script = load_script("scripts/scribble_sensitivity.py")
    shape = davis.first_annotation(davis.video("ant")).labels.shape
    mask = np.ones(shape, np.uint8)  # the object fills the frame
    Image.fromarray(mask).save(davis.root / "Annotations/480p/ant/00000.png")
    top, left = (-side % 16 // 2 for side in shape)  # padding
    row, first, last = 16 - top, 16 - left, 32 - left  # one cell of the second row of cells
    for group, (thickness, seen) in enumerate([(2, 0.0), (4, 1.0)]):
        strokes = np.zeros(mask.shape, np.uint8)
        strokes[row : row + thickness, first:last] = 1
        Image.fromarray(strokes).save(davis.root / f"valid_scribbles{group}/ant.bmp")
        amount = script.amount(davis, ["ant"], group, short_side=0)
        assert amount.seen == seen
        assert amount.ink == pytest.approx(16 * thickness / mask.sum())

"""Bad input to the DAVIS evaluation and to scripts/score.py: one line that names it."""

from __future__ import annotations

import os
import sys
import warnings

import numpy as np
import pytest
from davis_files import FRAMES, HEIGHT, WIDTH, load_script, make_davis, masks_of, save

from rhmnet.data.davis import open_davis, parse_year, read_prompt
from rhmnet.errors import InputError
from rhmnet.evaluation import Reading, score_folder, select
from rhmnet.evaluation.benchmarks import choose_groups
from rhmnet.evaluation.tracking import find_epoch
from rhmnet.files.images import write_mask
from rhmnet.runtime import run_command


@pytest.fixture
def davis17(tmp_path):
    return open_davis(make_davis(tmp_path / "DAVIS", 2017), 2017)


@pytest.fixture
def davis16(tmp_path):
    return open_davis(make_davis(tmp_path / "DAVIS", 2016), 2016)


@pytest.fixture
def results(tmp_path):
    """Perfect masks of both videos."""
    for video in ("ant", "bee"):
        (tmp_path / "r" / video).mkdir(parents=True)
        for frame in range(FRAMES):
            write_mask(tmp_path / f"r/{video}/{frame:05d}.png", masks_of(frame))
    return tmp_path / "r"


def score(davis, results, reading=Reading.OBJECTS):
    return score_folder(davis, results, davis.names(), reading, workers=1)


def test_year_without_a_list_says_which_there_are(davis17):
    with pytest.raises(InputError, match=r"2016/val\.txt: no such file; there is .*2017/val\.txt"):
        open_davis(davis17.root, 2016)
    with pytest.raises(InputError, match="no ImageSets"):
        open_davis(davis17.root / "nowhere")
    assert open_davis(davis17.root).year == 2017


def test_years_have_two_spellings():
    assert [parse_year(t) for t in ("16", "2016", "17", "2017")] == [2016, 2016, 2017, 2017]
    with pytest.raises(InputError, match="--year 18"):
        parse_year("18")


def test_videos_are_chosen_by_slice_or_name():
    names = ["a", "b", "c"]
    assert select(names, 1, None, None) == ["b", "c"]
    assert select(names, None, None, "c") == ["c"]
    with pytest.raises(InputError, match="--video_name d"):
        select(names, None, None, "d")
    with pytest.raises(InputError, match="--start 5"):
        select(names, 5, None, None)


@pytest.mark.parametrize("text", ["0-1", "0,1", "1,0", " 0 , 1"])
def test_groups_are_numbers_and_ranges(davis17, text):
    assert choose_groups(davis17, text, mask_init=False) == [0, 1]
    assert choose_groups(davis17, None, mask_init=False) == [0, 1]


@pytest.mark.parametrize("text", ["7", "0-4", "x", "", "1-0"])
def test_groups_that_are_not_there(davis17, text):
    with pytest.raises(InputError, match="--groups"):
        choose_groups(davis17, text, mask_init=False)


@pytest.mark.parametrize("ending", ["ant/00000.bmp", "ant.png", "ant/00000.png"])
def test_scribbles_may_lie_in_folders_or_be_png(davis17, ending):
    path = davis17.scribble("ant", 0)
    strokes = read_prompt(davis17, davis17.video("ant"), 0).scribble
    path.unlink()
    save(path.parent / ending, strokes)
    assert (read_prompt(davis17, davis17.video("ant"), 0).scribble == strokes).all()


def test_missing_scribble_frame_annotation(davis17):
    davis17.scribble("ant", 0).unlink()
    with pytest.raises(InputError, match="no scribble of ant"):
        davis17.scribble("ant", 0)
    (davis17.root / "JPEGImages/480p/ant/00002.jpg").unlink()
    with pytest.raises(InputError, match=r"video ant: 4 frames .* 5 annotations .*00002"):
        davis17.video("ant")
    for path in (davis17.root / "Annotations/480p/bee").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"bee: no \.png files"):
        davis17.video("bee")


@pytest.mark.parametrize(
    ("strokes", "message"),
    [
        (np.zeros((HEIGHT, WIDTH)), "empty"),
        (np.full((HEIGHT, WIDTH), 3), "empty"),  # background alone
        (np.ones((HEIGHT, WIDTH + 1)), f"{WIDTH + 1}x{HEIGHT} pixels"),
        (np.full((HEIGHT, WIDTH), 4), "label 4 is out of range"),
    ],
)
def test_bad_strokes_name_their_file(davis17, strokes, message):
    path = davis17.scribble("ant", 1)
    save(path, strokes.astype(np.uint8))
    with pytest.raises(InputError, match=f"valid_scribbles1/ant.bmp: .*{message}"):
        read_prompt(davis17, davis17.video("ant"), 1)


def test_strokes_on_binary_annotations_may_not_skip_a_label(davis16):
    with pytest.warns(UserWarning, match="label 3, the largest, is read as the background"):
        assert read_prompt(davis16, davis16.video("ant"), 0).num_objects == 2
    path = davis16.scribble("ant", 0)
    strokes = masks_of(0)
    strokes[0] = 9
    save(path, strokes)
    with pytest.raises(InputError, match="label 9 is out of range"):
        read_prompt(davis16, davis16.video("ant"), 0)


def test_background_of_a_mask_is_kept_where_it_is_asked_for(davis17):
    for with_bg, rest in ((False, 0), (True, 255)):
        video = davis17.video("ant")
        prompt = read_prompt(davis17, video, 0, with_bg=with_bg, mask_init=True)
        wanted = np.where(masks_of(0) == 0, rest, masks_of(0))
        np.testing.assert_array_equal(prompt.scribble, wanted)


def test_how_the_largest_label_is_read_on_binary_annotations(davis16):
    """As the background, as in the release, and that is told; 255 beside it settles it."""
    path = davis16.scribble("ant", 0)
    with pytest.warns(
        UserWarning, match=r"ant.bmp: label 3, the largest, is read as the back.*255"
    ):
        prompt = read_prompt(davis16, davis16.video("ant"), 0, with_bg=True)
    assert set(np.unique(prompt.scribble)) == {0, 1, 2, 255}
    strokes = np.zeros((HEIGHT, WIDTH), np.uint8)
    strokes[0], strokes[4], strokes[8], strokes[12] = 1, 2, 3, 255
    for kept, count in (((1, 2, 3, 255), 3), ((1, 255), 1), ((1,), 1)):
        save(path, np.where(np.isin(strokes, kept), strokes, np.uint8(0)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            prompt = read_prompt(davis16, davis16.video("ant"), 0, with_bg=True)
        assert prompt.num_objects == count
        assert set(np.unique(prompt.scribble)) == {0, *kept}


def test_255_in_annotations(davis16):
    path = davis16.root / "Annotations/480p/ant/00000.png"
    assert davis16.annotation(path).labels.max() == 1
    as_2017 = type(davis16)(davis16.root, 2017, "val")
    with pytest.raises(InputError, match=r"255 is not an object.*--year 16"):
        as_2017.annotation(path)
    mixed = masks_of(0)
    mixed[0, 0] = 255
    save(path, mixed)
    with pytest.raises(InputError, match="255 beside other labels"):
        davis16.annotation(path)


def test_empty_first_annotation_and_two_frames(davis17):
    save(davis17.root / "Annotations/480p/ant/00000.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(InputError, match=r"ant/00000\.png: no object in it"):
        read_prompt(davis17, davis17.video("ant"), 0)
    for frame in range(2, FRAMES):
        (davis17.root / f"Annotations/480p/ant/{frame:05d}.png").unlink()
        (davis17.root / f"JPEGImages/480p/ant/{frame:05d}.jpg").unlink()
    with pytest.raises(InputError, match="video ant: 2 frames"):
        davis17.video("ant")


def test_perfect_results_score_one(davis17, results):
    scores = score(davis17, results)
    assert all((values == 1).all() for values in scores.values())
    assert scores["ant"].shape == (2, 2, FRAMES - 2)


def broken_mask(labels, kind):
    if kind == "colours":
        return np.stack([labels] * 3, axis=-1)
    if kind == "255":
        return np.where(labels == 1, np.uint8(255), labels)
    if kind == "id":
        return np.where(labels == 1, np.uint8(5), labels)
    if kind == "next id":
        return np.where(labels == 1, np.uint8(3), labels)
    return labels[:-1]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("colours", "RGB"),
        ("255", "255 is not an object's id; write"),
        ("id", "id 5, but the video has 2 objects; write"),
        ("next id", "id 3, but the video has 2 objects; write"),
        ("size", f"{WIDTH}x{HEIGHT - 1} pixels"),
    ],
)
def test_known_traps_are_errors(davis17, results, kind, message):
    save(results / "bee/00002.png", broken_mask(masks_of(2), kind))
    with pytest.raises(InputError, match=rf"bee/00002\.png: .*{message}"):
        score(davis17, results)


def test_missing_masks_are_errors(davis17, results):
    (results / "bee/00003.png").unlink()
    with pytest.raises(InputError, match=r"bee: 1 of 5 masks are missing.*00003\.png"):
        score(davis17, results)


def test_ids_of_several_objects_pass_where_binary_annotations_merge_them(davis16, results):
    assert all((v == 1).all() for v in score(davis16, results, Reading.MERGED).values())


def test_checkpoint_is_found_by_configuration_and_epoch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"checkpoint_3\.pth\.tar: no such file.*train_video"):
        find_epoch("video_training", "3")
    with pytest.raises(InputError, match="no such file"):
        find_epoch("video_training", None)
    folder = tmp_path / "checkpoints/pretrain_weights_video_training"
    folder.mkdir(parents=True)
    for epoch in (9, 10):
        (folder / f"pretrain_checkpoint_{epoch}.pth.tar").touch()
    assert find_epoch("video_training", None).name == "pretrain_checkpoint_10.pth.tar"
    assert find_epoch("configs/video_training.yaml", "9").name.endswith("_9.pth.tar")


def run_score(monkeypatch, *arguments):
    """Exit code of scripts/score.py."""
    script = load_script("scripts/score.py")
    monkeypatch.setattr(sys, "argv", ["score.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as leaving:
        run_command(script.main)
    return leaving.value.code


def test_score_command_prints_a_table(monkeypatch, capsys, davis17, results, tmp_path):
    assert run_score(monkeypatch, results, davis17.root, "--out", tmp_path / "scores") == 0
    assert "official DAVIS-2017" in capsys.readouterr().out
    assert (tmp_path / "scores/scores.csv").is_file()


def test_score_command_refuses_masks_older_than_weights(
    monkeypatch, capsys, davis17, results, tmp_path
):
    weights = tmp_path / "w.pth"
    weights.touch()
    os.utime(weights, (4e9, 4e9))
    assert run_score(monkeypatch, results, davis17.root, "--checkpoint", weights) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "older than the weights" in message
    assert message.count("\n") == 1

"""Lists of the images of each set."""

import itertools
import shutil

import pytest
from checked_folders import VocFolder
from faster_rcnn.cli.main import run


@pytest.fixture
def split(capsys):
    """Runs the command in this process; gives its exit status and what it prints."""

    def call(*words):
        try:
            run("split", list(map(str, words)), prog="frcnn split")
            status = 0
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return call


def lists(folder):
    return {path.stem: path.read_text().split() for path in folder.iterdir()}


def test_images_without_a_split(tmp_path, split):
    data, out = VocFolder(tmp_path / "cells").root, tmp_path / "lists"
    shutil.rmtree(data / "ImageSets")
    status, _, err = split(data, "--shares", "0.5/0.25/0.25", "--output", out)
    assert status == 0 and f"{out / 'train.txt'}: 3 images" in err
    found = lists(out)
    images = sorted(path.name for path in (data / "JPEGImages").iterdir())
    assert found.keys() == {"train", "val", "test"}
    named = sorted(itertools.chain(*found.values()))
    assert named == [f"JPEGImages/{name}" for name in images]
    assert split(data, "--output", out)[0] == 0 and lists(out) == found


def test_a_set_with_splits(tmp_path, split):
    folder = VocFolder(tmp_path / "cells")
    folder.list("train", "ab")
    folder.list("val", "c")
    assert split(folder.root, "--output", tmp_path / "lists")[0] == 0
    found = lists(tmp_path / "lists")
    assert found["train"] == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]
    assert found["val"] == ["JPEGImages/c.jpg"]
    status, _, err = split(folder.root, "--shares", "0.5/0.5")
    assert status == 2 and "leave out data.split" in err


def test_a_word_has_no_folder(split):
    status, _, err = split("voc")
    assert status == 2 and "voc: expected the folder of a data set" in err

"""Lists of the images of each set."""

import itertools
import os

import pytest
from faster_rcnn.cli.main import run
from test_tidy_folders import labelimg, roboflow_coco


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
    data, out = tmp_path / "cells", tmp_path / "lists"
    labelimg(data)
    words = ("--shares", "0.6/0.2/0.2", "--output", out)
    status, _, err = split(data, *words)
    assert status == 0 and f"{out / 'train.txt'}: 3 images" in err
    found = lists(out)
    assert {name: len(lines) for name, lines in found.items()} == {
        **{"train": 3, "val": 1, "test": 1}
    }
    assert sorted(itertools.chain(*found.values())) == [f"p{i}.png" for i in range(5)]
    assert split(data, "--output", out)[0] == 0 and lists(out) == found


def test_splits_of_an_export(tmp_path, split):
    roboflow_coco(tmp_path / "cells")
    assert split(tmp_path / "cells", "--output", tmp_path / "lists")[0] == 0
    found = lists(tmp_path / "lists")
    assert found["train"] == [os.path.join("train", f"p{i}.png") for i in range(4)]
    assert found.keys() == {"train", "val"}
    status, _, err = split(tmp_path / "cells", "--shares", "0.5/0.5")
    assert status == 2 and "leave out data.split" in err


def test_a_word_has_no_folder(split):
    status, _, err = split("voc")
    assert status == 2 and "voc: expected the folder of a data set" in err

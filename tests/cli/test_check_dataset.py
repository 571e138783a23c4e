"""The tool's arguments, exit status, page and cleaned copy."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from checked_folders import CocoFolder, VocFolder, encoded, picture, thing


@pytest.fixture
def folder(tmp_path):
    return VocFolder(tmp_path / "own")


@pytest.fixture
def call(run_tool, tmp_path):
    """Runs the tool; its page goes into a temporary folder unless told otherwise."""

    def run(*words):
        return run_tool("check_dataset", "--html", tmp_path / "own.html", *words)

    return run


def test_the_page_s_own_place(folder, run_tool, monkeypatch):
    written = []
    monkeypatch.setattr(
        "faster_rcnn.cli.check.write_page",
        lambda path, report, **_: written.append(path),
    )
    assert run_tool("check_dataset", folder.root)[0] == 0
    assert written == [Path.cwd() / "output" / "check" / "own.html"]


def test_clean_folder_passes(folder, call):
    status, out, _ = call(folder.root, "--jobs", 1)
    assert status == 0 and out.endswith("\ntrains\n")
    assert (
        "sides 32 64 128 256 512 px at strides 16, short side 600" in out
    )  # own_data.yml


def test_defects_fail_page_and_copy(folder, call, tmp_path):
    folder.annotate("a", thing(), thing(box=(9, 1, 9, 9)))
    page, copy = tmp_path / "page.html", tmp_path / "copy"
    status, out, err = call(folder.root, "--html", page, "--fix", copy)
    assert status == 1 and out.endswith("\ntrains; 1 box left out\n")
    assert f"{folder.annotation_path('a')}: cell 2: (9, 1, 9, 9) in 80 x 60" in out
    assert "6/6 100.0%" in err and str(page) in err and str(copy) in err
    assert page.read_text().startswith("<!doctype html>")
    assert call(copy)[0] == 0


def spoil_sizes(folder):
    for stem in "abcd":
        folder.annotate(stem, thing(), size=(90, 70))
    return "4 of 4 images looked at cannot be used, more than data.max_unreadable"


def make_all_difficult(folder):
    for stem in "abcd":
        folder.annotate(stem, thing(extra="<difficult>1</difficult>"))
    return "found none in 4 images: 4 x object marked difficult"


def rename_the_list(folder):
    (folder.root / "ImageSets" / "Main" / "train.txt").unlink()
    shutil.rmtree(folder.root / "JPEGImages")
    return "expected trainval.txt or train.txt together with test.txt"


def lose_a_listed_image(folder):
    folder.image_path("a").unlink()
    return "1 of 4 images are not in"


@pytest.mark.parametrize(
    "spoil", [spoil_sizes, make_all_difficult, rename_the_list, lose_a_listed_image]
)
def test_what_training_refuses_cannot_train(folder, call, run_tool, tmp_path, spoil):
    problem = spoil(folder)
    status, out, _ = call(folder.root, "mobile_v2")
    assert status == 2 and "cannot train: " in out.splitlines()[-1]
    assert problem in " ".join(out.split())
    words = (folder.root, "mobile_v2", "--output", tmp_path, "--device", "cpu")
    status, _, err = run_tool("train_net", *words)
    assert status == 2 and problem in err and "Traceback" not in err


def test_what_training_warns_of(folder, call):
    for stem in "abc":
        folder.annotate(stem, thing(box=(30, 30, 9, 9)))
    status, out, _ = call(folder.root)
    assert status == 1 and "1 of 4 objects are left to learn from" in out
    assert "3 x inverted box (are the corners in another order" in out


def test_pictures_in_two_sets(folder, call):
    folder.list("val", "ab")
    _, out, _ = call(folder.root)
    assert "own_train and own_val share 2 of 2 images, first" in out
    folder.list("train", "cd")
    status, out, _ = call(folder.root)
    assert status == 0 and "share" not in out


def test_a_head_without_its_annotations(folder, call):
    status, out, _ = call(folder.root, "mask_mobile_v2_fpn")
    assert status == 2 and "expected masks to train on, found boxes alone" in out
    status, out, _ = call(folder.root, "keypoint_mobile_v2_fpn")
    assert status == 2 and "expected keypoints to train on, found none" in out


def test_a_class_that_only_val_has(call, tmp_path):
    folder = CocoFolder(tmp_path / "coco")
    folder.tables["val"]["categories"].append({"id": 9, "name": "fox"})
    folder.write()
    assert call(folder.root, "--jobs", 1)[0] == 0  # a name alone
    folder.add("val", 4, [1, 1, 5, 5], category=9)
    _, out, _ = call(folder.root)
    assert "cannot train" in out
    assert "coco_train has too, found 1 object of fox, first in" in out


@pytest.mark.parametrize("channels", ["grey", "rgba"])
def test_channels_do_not_matter_to_training(folder, call, channels):
    pixels = picture(0)
    if channels == "grey":
        folder.image("a", encoded(pixels[..., 0]))
    else:
        folder.image_path("a").unlink()
        folder.image("a", encoded(np.dstack([pixels, pixels[..., :1]]), "png"), "png")
    status, out, _ = call(folder.root)
    assert status == 0 and "wrong channel count (note)" in out


def test_recipe_and_settings(folder, call, tmp_path):
    recipe = tmp_path / "mine.yml"
    recipe.write_text("anchors:\n  scales: [3]\ndata:\n  short_sides: [90, 30, 60]\n")
    _, out, _ = call(folder.root, "mobile_v2", "--cfg", recipe)
    assert "mine: sides 48 px at strides 16, short side 60" in out
    _, out, _ = call(folder.root, "mobile_v2_fpn")
    assert "sides 32 64 128 256 512 px at strides 4 8 16 32 64" in out
    _, out, _ = call(folder.root, "--set", "anchors.scales", "[5]")
    assert "sides 80 px at strides 16" in out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "required: DATASET"),
        (["vco"], "unknown data set 'vco'"),
        (["no/such"], "no such folder"),
        (["voc", "res1"], "found 'res1'; did you mean res1"),
        (["voc", "--jobs", "0"], "expected a whole number"),
        (["{empty}"], "VOC layout"),
        (["{own}", "--set", "anchors.scale", "1"], "did you mean anchors.scales?"),
        (["{own}", "--cfg", "gone.yml"], "gone.yml cannot be read"),
        (["{own}", "--fix", "{own}/copy"], "outside the source"),
        (["{own}", "--html", "{file}/page.html"], "page.html: cannot be written"),
        (["{own}", "--fix", "{file}/copy"], "copy: cannot be written ("),
    ],
)
def test_wrong_input(folder, call, tmp_path, words, problem):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    names = {"own": folder.root, "empty": tmp_path / "empty"}
    names["file"] = tmp_path / "file"
    status, _, err = call(*(word.format(**names) for word in words))
    assert status == 2
    assert problem in err and "Traceback" not in err
    assert not (folder.root / "copy").exists()


def test_help(call):
    status, out, _ = call("--help")
    assert status == 0
    words = ("DATASET", "--html", "--fix", "--jobs", "--set", "--cfg", "Exit status")
    assert all(word in out for word in words)

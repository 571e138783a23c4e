"""A file given as DATASET: settings, COCO's JSON, a zip."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from faster_rcnn.datasets.catalog import dataset_name, load_dataset
from faster_rcnn.datasets.given_files import as_folders
from faster_rcnn.datasets.origins import own_file
from test_tidy_folders import coco, label, pictures, roboflow_coco, write


def images(word, split="train"):
    found = load_dataset(word, root=Path(), split=split)
    return sorted(record.path.name for record in found.records)


@pytest.fixture
def cells(tmp_path):
    """A folder with the pictures of YOLO's settings, which are elsewhere."""
    for start, split in enumerate(("train", "val")):
        for name in pictures(tmp_path / "cells" / "images" / split, 2, 9 * start):
            label(tmp_path / "cells" / "labels" / split / name.replace("png", "txt"))
    return tmp_path / "cells"


SPLITS = "names: [cat]\ntrain: images/train\nval: images/val\n"


def test_settings_of_the_folder(cells):
    write(cells / "data.yaml", SPLITS)
    assert as_folders(str(cells / "data.yaml")) == str(cells)


def test_settings_beside_others(cells, tmp_path):
    write(cells / "data.yaml", SPLITS)
    settings = tmp_path / "yaml" / "swapped.yaml"
    write(
        settings, "path: ../cells\nnames: [dog]\ntrain: images/val\nval: images/train"
    )
    word = as_folders(str(settings))
    assert images(word) == ["p10.png", "p9.png"] and dataset_name(word) == "swapped"
    assert own_file(Path(word) / "data.yaml") == settings
    write(
        settings, "path: ../cells\nnames: [dog]\ntrain: images/train\nval: images/val"
    )
    assert as_folders(str(settings)) == word and images(word) == ["p0.png", "p1.png"]


def test_coco_json(tmp_path):
    names = pictures(tmp_path / "photos" / "a", 5)
    write(tmp_path / "notes.json", "{}")
    coco(tmp_path / "cells.json", [f"photos\\a\\{name}" for name in names])
    word = as_folders(str(tmp_path / "cells.json"))
    assert sorted(images(word) + images(word, "val")) == names
    assert dataset_name(word) == "cells" and as_folders(word) == word
    coco(tmp_path / "cells.json", ["elsewhere.png"])
    with pytest.raises(
        ValueError, match=r"cells\.json: expected its images, such as el"
    ):
        as_folders(str(tmp_path / "cells.json"))


def test_coco_json_of_a_split(tmp_path):
    roboflow_coco(tmp_path)
    file = tmp_path / "train" / "_annotations.coco.json"
    assert as_folders(str(file)) == str(tmp_path)


def test_zip(tmp_path):
    roboflow_coco(tmp_path / "inner")
    shutil.make_archive(str(tmp_path / "my cells"), "zip", tmp_path, "inner")
    word = as_folders(str(tmp_path / "my cells.zip"))
    shutil.rmtree(tmp_path / "inner")
    assert images(word) == [f"p{i}.png" for i in range(4)]
    assert dataset_name(word) == "my_cells"
    before = Path(word).stat().st_mtime_ns
    assert as_folders(str(tmp_path / "my cells.zip")) == word
    assert Path(word).stat().st_mtime_ns == before  # unpacked once


def packed(path, name, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def broken(path):
    packed(path, "a.txt", "a" * 1000)
    path.write_bytes(path.read_bytes()[:-30])
    return "expected a zip archive, cannot read it"


def outside(path):
    packed(path, "../../a.txt", "a")
    return "expected paths inside the archive, found '../../a.txt'"


def bomb(path):
    packed(path, "a.txt", b"\0" * (1 << 24))
    return r"expected an archive of pictures, found 16\.8 MB packed into"


def full_disk(path):
    packed(path, "a.txt", "a")
    return "expected 1 bytes of free space in .*, found 0 bytes"


@pytest.mark.parametrize("make", [broken, outside, bomb, full_disk])
def test_archives_that_are_refused(tmp_path, monkeypatch, make):
    problem = make(tmp_path / "cells.zip")
    if make is full_disk:
        monkeypatch.setattr("faster_rcnn.datasets.given_files.free_space", lambda _: 0)
    with pytest.raises(ValueError, match=rf"cells\.zip: {problem}"):
        as_folders(str(tmp_path / "cells.zip"))
    assert not list(tmp_path.parent.glob("a.txt")) + list(tmp_path.glob("*.txt"))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "data.yaml",
            "a: 1",
            "expected settings of YOLO with names and train, found a",
        ),
        ("cells.json", json.dumps([]), "expected a list of objects under the key"),
        ("cells.csv", "", "expected a folder, settings of YOLO"),
    ],
)
def test_other_files(tmp_path, name, content, problem):
    write(tmp_path / name, content)
    with pytest.raises(ValueError, match=problem):
        as_folders(str(tmp_path / name))


def test_words_and_folders_stay(tmp_path):
    word = f"voc+{tmp_path}"
    assert as_folders(word) == word and as_folders("no/such.zip") == "no/such.zip"

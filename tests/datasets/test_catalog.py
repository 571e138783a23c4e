import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from faster_rcnn.datasets import catalog
from faster_rcnn.datasets.catalog import (
    coco_folder,
    dataset_name,
    devkit_folder,
    load_dataset,
    resolve,
)
from faster_rcnn.datasets.records import MissingDataError


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint8))


def write_voc(folder, name="cat", **lists):
    """Write a folder in VOC layout whose images each show one object."""
    (folder / "Annotations").mkdir(parents=True)
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    corners = "<xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax>"
    thing = f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"
    for split, stems in lists.items():
        lines = "".join(f"{stem}\n" for stem in stems)
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(lines)
        for stem in stems:
            write_image(folder / "JPEGImages" / f"{stem}.jpg")
            xml = f"<annotation>{thing}</annotation>"
            (folder / "Annotations" / f"{stem}.xml").write_text(xml)
    return folder


def write_coco(folder, images="{}", **counts):
    """Write a folder in COCO layout: a file and an image folder per keyword."""
    (folder / "annotations").mkdir(parents=True)
    for number, (split, count) in enumerate(counts.items()):
        ids = [100 * number + i for i in range(count)]
        for i in ids:
            write_image(folder / images.format(split) / f"{i}.jpg")
        content = {
            "images": [{"id": i, "file_name": f"{i}.jpg"} for i in ids],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [],
        }
        file = folder / "annotations" / f"instances_{split}.json"
        file.write_text(json.dumps(content))
    return folder


def load(name, root, split="train"):
    return load_dataset(str(name), root=root, split=split)


def ids(dataset):
    return [record.image_id for record in dataset.records]


def test_words():
    assert resolve("shapes") == ("shapes", "shapes_train", "shapes_test")
    assert resolve("voc") == ("voc", "voc_2007_trainval", "voc_2007_test")
    assert resolve("voc0712") == (
        "voc0712",
        "voc_2007_trainval+voc_2012_trainval",
        "voc_2007_test",
    )
    assert resolve("coco") == ("coco", "coco_2017_train", "coco_2017_val")


def test_path_stands_for_both_sets(tmp_path):
    folder = tmp_path / "My Cells"
    folder.mkdir()
    assert resolve(str(folder)) == ("my_cells", str(folder), str(folder))


@pytest.mark.parametrize("word", ["vocc", "shape"])
def test_unknown_word(word):
    wanted = f"unknown data set '{word}' .did you mean '{word[:3]}.*shapes, voc, voc07"
    with pytest.raises(ValueError, match=wanted):
        resolve(word)


def test_unknown_name_and_path(tmp_path):
    with pytest.raises(ValueError, match=r"did you mean 'voc_2007_trainval'\?"):
        load("voc_2007_trainvl", tmp_path)
    for function in (resolve, lambda path: load(path, tmp_path)):
        with pytest.raises(ValueError, match="'no/such': no such folder"):
            function("no/such")


def test_dataset_name(tmp_path, monkeypatch):
    folder = tmp_path / "Mini" / "VOCdevkit" / "VOC2007"
    folder.mkdir(parents=True)
    assert dataset_name(str(folder)) == "voc2007"
    assert dataset_name(str(folder.parent)) == "mini"
    assert dataset_name(str(folder.parent) + "/") == "mini"
    assert dataset_name(str(folder.parent.parent)) == "mini"
    assert dataset_name("voc") == "voc"
    assert dataset_name("voc_2007_train+voc_2012_val") == "voc_2007_train+voc_2012_val"
    monkeypatch.chdir(folder.parent)
    assert dataset_name(".") == "mini"
    assert dataset_name("../VOCdevkit") == "mini"


@pytest.mark.parametrize("inside", ["", "VOCdevkit"])
def test_voc_by_name(tmp_path, inside):
    write_voc(tmp_path / inside / "VOC2007", trainval=["a", "b"], test=["c"])
    found = load("voc_2007_trainval", tmp_path)
    assert found.name == "voc_2007_trainval" and ids(found) == ["a", "b"]
    assert len(found.classes) == 21 and found.classes[1] == "aeroplane"
    assert found.records[0].classes.tolist() == [found.classes.index("cat")]
    assert ids(load("voc", tmp_path, "train")) == ["a", "b"]
    assert ids(load("voc", tmp_path, "test")) == ["c"]
    assert devkit_folder(tmp_path) == tmp_path / inside


def test_joined_sets(tmp_path):
    write_voc(tmp_path / "VOCdevkit" / "VOC2007", trainval=["a"], test=["c"])
    write_voc(tmp_path / "VOCdevkit" / "VOC2012", trainval=["b"])
    found = load("voc0712", tmp_path)
    assert found.name == "voc_2007_trainval+voc_2012_trainval"
    assert ids(found) == ["a", "b"] and found.annotation_file is None


def test_joined_folders_whose_ids_collide(tmp_path):
    one = write_voc(tmp_path / "one", train=["a"], test=["b"])
    two = write_voc(tmp_path / "two", train=["a"], test=["c"])
    assert ids(load(f"{one}+{two}", tmp_path)) == ["one_train/a", "two_train/a"]
    assert ids(load(f"{one}+{two}", tmp_path, "test")) == ["b", "c"]


def test_join_adds_drops(tmp_path):
    folders = [write_voc(tmp_path / n, train=[n, n], test=["t"]) for n in ("p", "q")]
    found = load("+".join(map(str, folders)), tmp_path)
    assert found.drops == {"repeated line in a list": 2}


def test_join_refuses_other_classes_and_common_images(tmp_path):
    cats = write_voc(tmp_path / "cats", train=["a"], test=["b"])
    dogs = write_voc(tmp_path / "dogs", "dog", train=["c"], test=["d"])
    with pytest.raises(ValueError, match=r"cats_train\+dogs_train.*cat and voc .* dog"):
        load(f"{cats}+{dogs}", tmp_path)
    with pytest.raises(ValueError, match=r"a\.jpg twice"):
        load(f"{cats}+{cats}", tmp_path)


def test_missing_sets(tmp_path):
    with pytest.raises(MissingDataError, match=r"voc_2007_test: .*VOC2007.*test\.txt"):
        load("voc_2007_test", tmp_path)
    with pytest.raises(MissingDataError, match=r"instances_train2017\.json.*unpack"):
        load("coco", tmp_path)
    write_voc(tmp_path / "VOCdevkit" / "VOC2007", trainval=["a"])
    with pytest.raises(MissingDataError, match=r"test\.txt"):
        load("voc", tmp_path, "test")


@pytest.mark.parametrize("inside", ["", "coco"])
@pytest.mark.parametrize("images", ["{}", "images/{}"])
def test_coco_by_name(tmp_path, inside, images):
    write_coco(tmp_path / inside, images, train2017=2, val2017=1)
    found = load("coco_2017_train", tmp_path)
    assert found.name == "coco_2017_train" and ids(found) == ["0", "1"]
    assert ids(load("coco", tmp_path, "test")) == ["100"]
    assert coco_folder(tmp_path) == tmp_path / inside


def test_voc_folder(tmp_path):
    folder = write_voc(
        tmp_path / "Own", train=["a"], val=["b"], trainval=["a", "b"], test=["c"]
    )
    found = load(folder, tmp_path)
    assert found.name == "own_train" and ids(found) == ["a", "b"]
    assert found.classes == ("__background__", "cat")
    found = load(folder, tmp_path, "test")
    assert found.name == "own_test" and ids(found) == ["c"]


def test_voc_folder_without_test_never_trains_on_val(tmp_path):
    folder = write_voc(tmp_path / "own", train=["a"], val=["b"], trainval=["a", "b"])
    assert ids(load(folder, tmp_path)) == ["a"]
    assert ids(load(folder, tmp_path, "test")) == ["b"]


@pytest.mark.parametrize("lists", [{}, {"trainval": ["a"], "val": ["a"]}])
def test_voc_folder_without_the_lists(tmp_path, lists):
    folder = write_voc(tmp_path / "own", **lists)
    there = ", ".join(f"{name}.txt" for name in lists) or "no list"
    with pytest.raises(ValueError, match=f"Main: expected .* found {there};"):
        load(folder, tmp_path)


def test_devkit_folder_by_path(tmp_path):
    root = tmp_path / "tiny"
    write_voc(root / "VOCdevkit" / "VOC2007", trainval=["a"], test=["b"])
    for path in (root, root / "VOCdevkit"):
        found = load(path, tmp_path / "elsewhere")
        assert found.name == "tiny_train" and len(found.classes) == 21
        assert ids(load(path, tmp_path / "elsewhere", "test")) == ["b"]


def test_coco_folder_by_path(tmp_path):
    folder = write_coco(tmp_path / "own", train2014=1, train2017=2, val2017=3)
    found = load(folder, tmp_path / "elsewhere")
    assert found.name == "own_train" and len(found.records) == 2
    assert found.annotation_file == folder / "annotations" / "instances_train2017.json"
    assert len(load(folder, tmp_path, "test").records) == 3


def test_coco_folder_with_one_image_folder(tmp_path):
    folder = write_coco(tmp_path / "own", "images", train=1, test=2)
    assert len(load(folder, tmp_path).records) == 1
    assert len(load(folder, tmp_path, "test").records) == 2


def test_coco_folder_without_files(tmp_path):
    folder = write_coco(tmp_path / "own", "elsewhere", train=1)
    with pytest.raises(MissingDataError, match=r"images in .*train or .*images"):
        load(folder, tmp_path)
    with pytest.raises(ValueError, match=r"found instances_train\.json"):
        load(folder, tmp_path, "test")


def test_folder_of_neither_layout(tmp_path):
    with pytest.raises(ValueError, match=r"expected Annotations/.*an empty folder"):
        load(tmp_path, tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match="found photos;"):
        load(tmp_path, tmp_path)


def test_shapes_are_drawn_once(tmp_path, monkeypatch):
    from faster_rcnn.datasets import shapes

    drawn = []

    def generate(folder: Path) -> None:
        drawn.append(folder)
        write_voc(folder, "ring", train=["a"], test=["b"])

    monkeypatch.setattr(shapes, "generate", generate)
    monkeypatch.setattr(shapes, "is_current", Path.is_dir)
    assert ids(load("shapes", tmp_path)) == ["a"]
    found = load("shapes_test", tmp_path)
    assert found.name == "shapes_test" and ids(found) == ["b"]
    assert found.classes[1:] == tuple(sorted(shapes.CLASSES))
    assert drawn == [tmp_path / "shapes"]


def test_every_word_names_known_sets():
    for sets in catalog.WORDS.values():
        for name in "+".join(sets).split("+"):
            assert name in catalog._SETS


def test_real_folders(shared, tmp_path):
    data = shared / "data"
    bccd = load(data / "bccd", tmp_path)
    assert bccd.name == "bccd_train" and len(bccd.records) == 292
    assert sum(len(r.boxes) for r in bccd.records) == 3941
    test = load(data / "bccd", tmp_path, "test")
    assert test.name == "bccd_test" and test.classes == bccd.classes
    # 4888 boxes, less the two of zero size.
    assert sum(len(r.boxes) for r in (*bccd.records, *test.records)) == 4886
    devkit = data / "voc2007_mini" / "VOCdevkit"
    for path in (devkit, devkit.parent):
        assert load(path, tmp_path).name == "voc2007_mini_train"
        assert len(load(path, tmp_path, "test").records) == 400
    for root in (devkit, devkit.parent):
        assert len(load("voc", root).records) == 500

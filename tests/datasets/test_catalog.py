import json
from pathlib import Path

import numpy as np
import pytest
from dataset_folders import ids, load, write_coco, write_image, write_voc
from faster_rcnn.datasets import catalog
from faster_rcnn.datasets.catalog import dataset_name, register, resolve, tidy
from faster_rcnn.datasets.folders import coco_folder, devkit_folder
from faster_rcnn.datasets.formats.in_code import make_dataset
from faster_rcnn.evaluation.image_detections import ImageDetections
from faster_rcnn.evaluation.scoring import evaluate
from faster_rcnn.utils.errors import MissingDataError


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


def test_all_names_of_the_family():
    voc = {
        f"voc_{year}_{split}{ending}"
        for year in (2007, 2012)
        for split in ("train", "val", "trainval", "test")
        for ending in ("", "_diff")
    }
    coco = {f"coco_2014_{s}" for s in ("train", "val", "minival", "valminusminival")}
    coco |= {"coco_2017_train", "coco_2017_val"}
    coco |= {f"coco_{year}_{s}" for year in (2015, 2017) for s in ("test", "test-dev")}
    assert set(catalog._SETS) == {*voc, *coco, "shapes_train", "shapes_test"}


def test_minival_lies_in_val2014(tmp_path):
    folder = write_coco(tmp_path / "coco", "val2014", minival2014=1, train2014=1)
    found = load("coco_2014_minival", tmp_path)
    assert found.records[0].path == folder / "val2014" / "0.jpg"
    assert found.name == "coco_2014_minival" and found.annotation_file is not None
    with pytest.raises(
        MissingDataError, match=r"expected its images in .*train2014 or"
    ):
        load("coco_2014_train", tmp_path)
    with pytest.raises(
        MissingDataError, match=r"instances_valminusminival2014\.json, not"
    ):
        load("coco_2014_valminusminival", tmp_path)


@pytest.mark.parametrize("name", ["2015_test", "2017_test-dev"])
def test_sets_without_ground_truth(tmp_path, name, caplog):
    year, _, split = name.partition("_")
    folder = write_coco(tmp_path / "coco", f"test{year}", x=2)
    file = folder / "annotations" / "instances_x.json"
    content = json.loads(file.read_text())
    del content["annotations"]
    (file.parent / f"image_info_{split}{year}.json").write_text(json.dumps(content))
    with caplog.at_level("INFO"):
        found = load(f"coco_{name}", tmp_path)
    assert f"coco_{name} has no ground truth" in caplog.text
    assert ids(found) == ["0", "1"] and found.classes[1:] == ("person",)
    assert found.annotation_file is None
    box = np.array([[1, 2, 3, 4]], np.float32), np.ones(1, np.float32), np.ones(1, int)
    evaluation = evaluate(found, [ImageDetections(i, *box) for i in ids(found)])
    assert np.isnan(evaluation.headline[1]) and evaluation.detections == 2
    assert f"coco_{name} has no " in evaluation.table()


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


def test_set_name_is_no_word():
    with pytest.raises(
        ValueError, match="found the name of one set, 'coco_2014_train'"
    ):
        resolve("coco_2014_train")


def test_every_word_names_known_sets():
    for sets in catalog.WORDS.values():
        for name in "+".join(sets).split("+"):
            assert name in catalog._SETS


def test_real_folders(shared, tmp_path):
    data = shared / "data"
    bccd = load(data / "bccd", tmp_path)
    assert bccd.name == "bccd_train" and len(bccd.records) == 205
    bccd = load(data / "bccd", tmp_path, "trainval")
    assert bccd.name == "bccd_train" and len(bccd.records) == 292
    assert len(load(data / "bccd", tmp_path, "val").records) == 87
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


@pytest.fixture
def _no_additions(monkeypatch):
    monkeypatch.setattr(catalog, "_registered", {})


@pytest.mark.usefixtures("_no_additions")
def test_register(tmp_path):
    for stem in "ab":
        write_image(tmp_path / f"{stem}.png")

    def cells(root, split):
        file = root / ("a.png" if split == "train" else "b.png")
        boxes = [[1, 2, 11, 22], [30, 20, 60, 60], [5, 5, 5, 9]]
        return make_dataset(
            f"cells_{split}",
            [(file, boxes, ["RBC", "WBC", "RBC"])],
            classes=["WBC", "RBC"],
        )

    register("cells", cells)
    assert resolve("cells") == ("cells", "cells_train", "cells_test")
    assert dataset_name("cells") == "cells"
    found = load("cells", tmp_path)
    assert found.name == "cells_train" and ids(found) == ["a"]
    (record,) = found.records
    assert record.boxes.tolist() == [[1, 2, 11, 22], [30, 20, 40, 30]]
    assert record.classes.tolist() == [2, 1]
    assert found.drops == {"zero-area box": 1, "clipped box": 1}
    assert ids(load("cells_test", tmp_path)) == ["b"]
    assert ids(load("cells_train+cells_test", tmp_path)) == ["a", "b"]
    with pytest.raises(ValueError, match="did you mean 'cells'"):
        resolve("cell")

    register("cells", lambda root, split: None)
    with pytest.raises(ValueError, match="return a Dataset, found NoneType"):
        load("cells", tmp_path)


@pytest.mark.usefixtures("_no_additions")
@pytest.mark.parametrize("name", ["voc", "voc_2007_test", "shapes", "a+b", "a/b", ""])
def test_names_that_cannot_be_registered(name):
    with pytest.raises(ValueError, match=r"expected a (new )?name"):
        register(name, lambda root, split: None)


@pytest.mark.parametrize(
    ("given", "tidied"),
    [
        ("cells/", "cells"),
        ("./cells", "cells"),
        ("coco", "coco"),
        ("coco/", "coco/"),
        ("./coco+cells/", "./coco+cells/"),
        ("./shapes_test", "./shapes_test"),
        ("path/to/coco/", "path/to/coco"),
        ("voc+cells/", "voc+cells"),
    ],
)
def test_tidy_paths_stay_paths(given, tidied):
    assert tidy(given) == tidied

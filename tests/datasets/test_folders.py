import shutil

import pytest
from dataset_folders import ids, load, write_coco, write_voc
from faster_rcnn.datasets.catalog import resolve, validation_set
from faster_rcnn.utils.errors import MissingDataError
from yolo_folders import YoloFolder, write_image


def test_voc_folder(tmp_path):
    folder = write_voc(
        tmp_path / "Own", train=["a"], val=["b"], trainval=["a", "b"], test=["c"]
    )
    found = load(folder, tmp_path)
    assert found.name == "own_train" and ids(found) == ["a"]
    assert found.classes == ("__background__", "cat")
    found = load(folder, tmp_path, "trainval")
    assert found.name == "own_train" and ids(found) == ["a", "b"]
    found = load(folder, tmp_path, "val")
    assert found.name == "own_val" and ids(found) == ["b"]
    found = load(folder, tmp_path, "test")
    assert found.name == "own_test" and ids(found) == ["c"]
    assert validation_set(str(folder)) == str(folder)


def test_voc_folder_with_trainval_alone(tmp_path):
    folder = write_voc(tmp_path / "own", trainval=["a", "b"], test=["c"])
    for split in ("train", "trainval"):
        assert ids(load(folder, tmp_path, split)) == ["a", "b"]
    assert validation_set(str(folder)) is None
    with pytest.raises(ValueError, match=r"expected val\.txt for the validation set"):
        load(folder, tmp_path, "val")


def test_voc_folder_without_test_never_trains_on_val(tmp_path):
    folder = write_voc(tmp_path / "own", train=["a"], val=["b"], trainval=["a", "b"])
    for split in ("train", "trainval"):
        assert ids(load(folder, tmp_path, split)) == ["a"]
    for split in ("val", "test"):
        assert ids(load(folder, tmp_path, split)) == ["b"]


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


def test_coco_folder_with_three_splits(tmp_path):
    folder = write_coco(tmp_path / "own", train=1, val=2, test=3)
    splits = ("train", "trainval", "val", "test")
    counts = [len(load(folder, tmp_path, split).records) for split in splits]
    assert counts == [1, 1, 2, 3]
    assert validation_set(str(folder)) == str(folder)
    (folder / "annotations" / "instances_val.json").unlink()
    assert validation_set(str(folder)) is None
    with pytest.raises(ValueError, match=r"expected instances_val\*\.json for the val"):
        load(folder, tmp_path, "val")


def test_coco_folder_without_files(tmp_path):
    folder = write_coco(tmp_path / "own", "elsewhere", train=1)
    with pytest.raises(ValueError, match=r"own .COCO's JSON.: expected images for"):
        load(folder, tmp_path)  # a single one, which cannot be split
    shutil.rmtree(folder / "elsewhere")
    with pytest.raises(MissingDataError, match=r"images in .*train or .*images"):
        load(folder, tmp_path)
    with pytest.raises(ValueError, match=r"found instances_train\.json"):
        load(folder, tmp_path, "test")


def test_yolo_folder(tmp_path):
    own = YoloFolder(tmp_path / "Own")
    found = load(own.root, tmp_path)
    assert found.name == "own_train" and ids(found) == ["a"]
    assert found.classes == ("__background__", "cat", "dog") and found.layout == "voc"
    found = load(own.root, tmp_path, "test")
    assert found.name == "own_test" and ids(found) == ["b"]
    assert load(own.root, tmp_path, classes=["dog"]).records[0].boxes.shape == (0, 4)
    assert validation_set(str(own.root)) == str(own.root)
    # Without val, test is tested on.
    own.settings("names: [cat, dog]\ntrain: images/train\ntest: images/val\n")
    assert ids(load(own.root, tmp_path, "test")) == ["b"]
    assert validation_set(str(own.root)) is None
    own.settings("names: [cat, dog]\ntrain: images/train\n")
    wanted = r"YOLO's label files.: expected images for the splits train, val, found 1"
    with pytest.raises(ValueError, match=wanted):
        load(own.root, tmp_path, "test")
    with pytest.raises(
        ValueError, match="expected a folder, found a file; name the fol"
    ):
        load(own.root / "data.yaml", tmp_path)


def test_yolo_folder_with_three_splits(tmp_path, caplog):
    own = YoloFolder(tmp_path / "own")
    splits = "train: images/train\nval: images/val\ntest: images/test\n"
    own.settings(f"names: [cat, dog]\n{splits}")
    # As of published sets, whose test images are elsewhere, or have no labels.
    assert ids(load(own.root, tmp_path, "test")) == ["b"]
    assert "no test on the split test" in caplog.text
    write_image(own.root / "images" / "test" / "c.png")
    assert ids(load(own.root, tmp_path, "test")) == ["b"]
    label = own.root / "labels" / "test" / "c.txt"
    label.parent.mkdir()
    label.write_text("0 0.5 0.5 0.2 0.2\n")
    assert ids(load(own.root, tmp_path, "test")) == ["c"]
    assert ids(load(own.root, tmp_path, "val")) == ["b"]


def test_folder_of_two_layouts(tmp_path):
    folder = YoloFolder(tmp_path / "own").root
    write_coco(folder, "images/{}", train=1)
    wanted = (
        r"found annotations/\*\.json \(COCO layout\) and data\.yaml \(YOLO layout\)"
    )
    with pytest.raises(ValueError, match=wanted):
        load(folder, tmp_path)
    (folder / "data.yaml").unlink()
    with pytest.raises(
        ValueError, match=r"and labels/ \(YOLO layout\); move all but on"
    ):
        load(folder, tmp_path)


def test_folder_of_neither_layout(tmp_path):
    with pytest.raises(ValueError, match=r"expected Annotations/.*an empty folder"):
        load(tmp_path, tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match="found photos;"):
        load(tmp_path, tmp_path)


def test_folder_with_a_plus_in_its_name(tmp_path):
    own = write_voc(tmp_path / "a+b", train=["c"], test=["d"])
    assert resolve(str(own))[1:] == (str(own), str(own))
    assert ids(load(own, tmp_path)) == ["c"]

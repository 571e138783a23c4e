import pytest
from dataset_folders import load, write_coco, write_voc
from faster_rcnn.datasets.agreement import (
    common_files,
    same_pictures,
    shared_pictures,
    with_known_classes,
)


def sets(folder, tmp_path, *splits):
    return [load(folder, tmp_path, split) for split in splits]


def edit(folder, split, old, new):
    file = folder / "annotations" / f"instances_{split}.json"
    file.write_text(file.read_text().replace(old, new))


@pytest.fixture
def coco(tmp_path):
    folder = write_coco(tmp_path / "own", train=1, val=1)
    fox = '{"id": 1, "name": "person"}, {"id": 2, "name": "fox"}'
    edit(folder, "val", '{"id": 1, "name": "person"}', fox)
    return folder


def test_a_class_that_only_the_other_set_names_is_left_out(coco, tmp_path):
    train, val = sets(coco, tmp_path, "train", "val")
    assert val.classes == ("__background__", "person", "fox")
    assert with_known_classes(val, train).classes == ("__background__", "person")
    assert with_known_classes(train, val) is train


def test_a_class_that_only_the_other_set_has_is_an_error(coco, tmp_path):
    thing = '{"id": 9, "image_id": 100, "category_id": 2, "bbox": [1, 1, 9, 9]}'
    edit(coco, "val", '"annotations": []', f'"annotations": [{thing}]')
    train, val = sets(coco, tmp_path, "train", "val")
    with pytest.raises(
        ValueError, match=r"own_val: .*found 1 object of fox, first in "
    ):
        with_known_classes(val, train)


def test_sets_without_a_common_class(coco, tmp_path):
    edit(coco, "train", "person", "dog")
    edit(coco, "val", "person", "cat")
    with pytest.raises(ValueError, match="found 0 objects of cat, fox, which"):
        with_known_classes(*sets(coco, tmp_path, "val", "train"))


def lines(folder, tmp_path):
    return shared_pictures(*sets(folder, tmp_path, "train", "val", "test"))


def test_sets_that_share_nothing(tmp_path):
    folder = write_voc(tmp_path / "own", train=["a"], val=["b"], test=["c"])
    other = write_coco(tmp_path / "other", train=1, val=1, test=1)
    assert lines(folder, tmp_path) == lines(other, tmp_path) == []


def test_shared_pictures_of_sets(tmp_path):
    folder = write_voc(
        tmp_path / "own", train=["a", "b"], val=["b", "c"], test=["c", "d"]
    )
    shared = [line.partition(":")[0] for line in lines(folder, tmp_path)]
    pictures = folder / "JPEGImages"
    assert shared == [
        f"own_train and own_val share 1 of 2 images, first {pictures / 'b.jpg'}",
        f"own_val and own_test share 1 of 2 images, first {pictures / 'c.jpg'}",
    ]


def test_validation_on_the_test_set(tmp_path):
    folder = write_voc(tmp_path / "own", train=["a"], val=["b"])
    assert lines(folder, tmp_path) == []
    assert same_pictures(*sets(folder, tmp_path, "val", "test"))
    assert not same_pictures(*sets(folder, tmp_path, "train", "test"))


def test_common_files(tmp_path):
    files = {}
    for name, data in (("a/x", b"1"), ("b/x", b"1"), ("a/y", b"1"), ("b/y", b"2")):
        files[name] = tmp_path / name
        files[name].parent.mkdir(exist_ok=True)
        files[name].write_bytes(data)
    ours, theirs = (
        [str(path) for name, path in files.items() if name[0] == side] for side in "ab"
    )
    assert common_files(ours, theirs) == [str(files["b/x"])]
    assert common_files(ours, [*theirs, ours[1]]) == [str(files["b/x"]), ours[1]]
    assert common_files(["gone/x"], theirs) == []

"""The checks of a folder in YOLO layout."""

import pytest
from checked_folders import check, encoded, found, picture
from faster_rcnn.datasets.checks.fix import write_cleaned
from yolo_folders import YoloFolder

BOX = "0.3125 0.4 0.375 0.5"  # (10, 9, 40, 39) in 80 x 60


@pytest.fixture
def folder(tmp_path):
    """A clean folder: train a to c, val d."""
    folder = YoloFolder(tmp_path / "own")
    folder.settings("names: [cell, stone]\ntrain: images/train\nval: images/val\n")
    (folder.root / "images" / "val" / "b.jpg").unlink()
    (folder.root / "labels" / "val" / "b.txt").unlink()
    for seed, name in enumerate(("train/a", "train/b", "train/c", "val/d")):
        path = folder.root / "images" / f"{name}.jpg"
        path.write_bytes(encoded(picture(seed)))
        folder.labels(name, f"0 {BOX}\n")
    return folder


def test_clean_folder(folder):
    report = check(folder.root)
    assert not report.defects and report.verdict == "fine"
    assert report.splits == {"train": 3, "val": 1}
    assert report.classes == ["cell", "stone"]
    assert [entry.image_id for entry in report.entries] == ["a", "b", "c", "d"]
    assert report.entries[0].objects[0].box == pytest.approx((10, 9, 40, 39))


@pytest.mark.parametrize(
    ("rows", "kind", "detail"),
    [
        ("0 0.5 0.5 0.1", "malformed annotation", "line 2: expected a class id and x"),
        ("0 40 30 10 10", "malformed annotation", "line 2: expected shares"),
        ("99 0.5 0.5 0.1 0.1", "unknown class", "object 2: '99'"),
        ("0 0.5 0.5 0 0.1", "zero-area box", "cell 2: (40, 27, 40, 33) in 80 x 60"),
        ("0 1.5 0.5 0.5 0.5", "box outside the image", "(100, 15, 140, 45)"),
        ("0 1 0.5 0.5 0.5", "clipped box", "(60, 15, 100, 45) in 80 x 60"),
        (f"0 {BOX}", "duplicate box", "cell 2: (10, 9, 40, 39)"),
        (f"1 {BOX}", "box of two classes", "stone 2: "),
    ],
)
def test_each_defect_of_a_row(folder, rows, kind, detail):
    path = folder.labels("train/a", f"0 {BOX}\n{rows}\n")
    ((found_kind, file, found_detail),) = found(folder.root)
    assert (found_kind, file) == (kind, path) and detail in found_detail


def test_defects_of_files(folder):
    images, labels = folder.root / "images", folder.root / "labels"
    (images / "train" / "a.jpg").write_bytes(encoded(picture(0))[:200])
    (labels / "train" / "b.txt").unlink()  # without objects
    folder.labels("train/z", f"0 {BOX}\n")
    (images / "val" / "e.jpg").write_bytes((images / "train" / "c.jpg").read_bytes())
    (images / "val" / "f.jpg").write_bytes(encoded(picture(9), orientation=6))
    folder.labels("val/e", f"0 {BOX}\n")
    folder.labels("val/f", f"0 {BOX}\n")
    named = {(kind, file) for kind, file, _ in found(folder.root)}
    assert named == {
        ("unreadable image", images / "train" / "a.jpg"),
        ("image without objects", images / "train" / "a.jpg"),
        ("image without objects", images / "train" / "b.jpg"),
        ("annotation without image", labels / "train" / "z.txt"),
        ("leakage between splits", images / "train" / "c.jpg"),
        ("EXIF rotation", images / "val" / "f.jpg"),
    }


def test_a_split_without_labels(folder):
    (folder.root / "labels" / "val").rename(folder.root / "labels" / "validation")
    kinds = [kind for kind, *_ in found(folder.root)]
    assert kinds == ["missing annotation", "image without objects"]
    assert check(folder.root).verdict != "fine"


def test_lists(folder):
    (folder.root / "train.txt").write_text(
        "images/train/a.jpg\nimages/train/x.jpg\n" * 2
    )
    folder.settings("names: [cell]\ntrain: train.txt\nval: [images/val]\n")
    root = folder.root
    assert [(kind, file) for kind, file, _ in found(root)] == [
        ("missing image", root / "images" / "train" / "x.jpg"),
        ("repeated entry", root / "data.yaml"),
        ("image without objects", root / "images" / "train" / "x.jpg"),
    ]


def test_copy_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="expected VOC or COCO layout for a cleaned"):
        write_cleaned(check(folder.root), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_folder_without_splits(folder):
    folder.settings("names: [cell]")
    (folder.root / "images").rename(folder.root / "pictures")
    with pytest.raises(ValueError, match=r"data\.yaml: expected splits train and val"):
        check(folder.root)

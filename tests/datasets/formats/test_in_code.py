import pytest
from dataset_folders import write_image
from faster_rcnn.datasets.formats.in_code import make_dataset
from faster_rcnn.datasets.records import Dataset


@pytest.mark.parametrize(
    ("boxes", "names", "problem"),
    [
        ([[1, 2, 3, 4]], ["cat"] * 2, r"a\.png: expected boxes \(G, 4\) for 2 class"),
        ([1, 2, 3, 4], ["cat"], r"found \(4,\); give x1, y1, x2, y2 for each"),
        ([["1", "2", "x", "4"]], ["cat"], r"a\.png: expected boxes of four numbers"),
        ([[1, 2, 3, 4], [5]], ["cat", "cat"], r"expected boxes of four numbers each"),
        ([[1, 2, 3, 4]], ["cta"], r"unknown class 'cta' \(did you mean 'cat'"),
    ],
)
def test_make_dataset_of_bad_input(tmp_path, boxes, names, problem):
    write_image(tmp_path / "a.png")
    with pytest.raises(ValueError, match=problem):
        make_dataset("x", [(tmp_path / "a.png", boxes, names)], classes=["cat"])


def test_make_dataset_of_few(tmp_path):
    write_image(tmp_path / "a.png")
    sample = (tmp_path / "a.png", [], [])
    found = make_dataset("x", [sample], classes=["cat"])
    assert isinstance(found, Dataset) and found.records[0].boxes.shape == (0, 4)
    with pytest.raises(ValueError, match="different names, found one twice"):
        make_dataset("x", [sample, sample], classes=["cat"])
    with pytest.raises(ValueError, match="different names, found none"):
        make_dataset("x", [], classes=["cat"])

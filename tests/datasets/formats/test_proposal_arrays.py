"""Our own file of proposals, and files that only look like one."""

import tracemalloc
import zipfile

import numpy as np
import pytest
from faster_rcnn.datasets.formats.proposal_arrays import read_saved_proposals
from faster_rcnn.datasets.formats.proposals import read_proposals
from faster_rcnn.evaluation.proposal_recall import load_proposals
from tiny_runs import make_dataset, make_record

BOXES = np.arange(12, dtype=np.float32).reshape(3, 4)
SOUND = {
    "image_ids": np.array(["a", "b", "c"]),
    "counts": np.array([1, 0, 2]),
    "boxes": BOXES,
    "scores": np.array([0.5, 0.7, 0.6], np.float32),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "p.npz"


def test_rows_of_the_images(path):
    np.savez(path, **SOUND)
    saved = read_saved_proposals(path)
    assert saved.image_ids == ["a", "b", "c"]
    for row, own in enumerate((slice(1), slice(1, 1), slice(1, 3))):
        boxes, scores = saved.of(row)
        np.testing.assert_array_equal(boxes, BOXES[own])
        np.testing.assert_array_equal(scores, SOUND["scores"][own])


def test_no_images(path):
    none = {name: array[:0] for name, array in SOUND.items()}
    np.savez(path, **none)
    assert read_saved_proposals(path).image_ids == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"image_ids": np.arange(3)}, r"image_ids is an array \(3,\) of int64"),
        ({"image_ids": np.array("abc")}, r"image_ids is an array \(\) of <U3"),
        ({"counts": np.ones(3)}, r"counts is an array \(3,\) of float64"),
        ({"boxes": BOXES.ravel()}, r"boxes is an array \(12,\) of float32"),
        ({"boxes": BOXES.astype(str)}, "boxes is an array"),
        ({"scores": np.array(["1"] * 3)}, "scores is an array"),
        ({"counts": np.array([1, 0])}, "do not match"),
        ({"counts": np.array([1, 0, 1])}, "do not match"),
        ({"counts": np.array([4, -1, 0])}, "do not match"),
        # Their sum is 3, modulo 2^64.
        ({"counts": np.array([1 << 63, 1 << 63, 3], np.uint64)}, "do not match"),
        ({"scores": np.ones(2)}, "do not match"),
        ({"image_ids": np.array(["a"])}, "do not match"),
    ],
)
def test_faulty_arrays(path, change, problem):
    np.savez(path, **(SOUND | change))
    with pytest.raises(ValueError, match=rf"p\.npz: .*{problem}.*--eval proposal aga"):
        read_saved_proposals(path)


def bomb(path):
    """64 KB that claim 64 MiB of boxes."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4194304, 4)}"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    np.savez(path, **(SOUND | {"boxes": BOXES}))
    with zipfile.ZipFile(path) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    parts["boxes.npy"] = start + bytes(64 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def many_images(path):
    """Views of half a million images' proposals would take a hundred times this."""
    np.savez(
        path,
        image_ids=np.full(500_000, "a"),
        counts=np.zeros(500_000, np.int8),
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
    )


@pytest.mark.parametrize("craft", [bomb, many_images])
def test_little_memory_is_taken(path, tmp_path, craft):
    craft(path)
    dataset = make_dataset([make_record(tmp_path / "a.jpg", 40, 20)])
    for read in (
        lambda: load_proposals(path, dataset),
        lambda: read_proposals(path, dataset.records, most=10),
    ):
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"claim 6710|entry of detec|two entries"):
            read()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20 << 20

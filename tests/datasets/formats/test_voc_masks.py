import numpy as np
import pytest
from dataset_folders import Refusing
from faster_rcnn.datasets.catalog import load_dataset
from faster_rcnn.datasets.records import Wanted
from PIL import Image
from pycocotools import mask as coco_mask

BOXES = [(1, 1, 12, 12), (11, 3, 25, 20)]  # pixel edges, the second in front


def values():
    """Two objects, a border around the second, as VOC draws them."""
    found = np.zeros((30, 40), np.uint8)
    found[1:12, 1:12] = 1
    found[3:20, 11:25] = 255
    found[4:19, 12:24] = 2
    return found


class Folder(Refusing):
    def __init__(self, root):
        self.root = root
        for name in ("Annotations", "JPEGImages", "SegmentationObject"):
            (root / name).mkdir()
        (root / "ImageSets" / "Main").mkdir(parents=True)
        (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
        (root / "ImageSets" / "Main" / "val.txt").write_text("c\n")
        for stem in "abc":
            self.annotate(stem, BOXES)
            Image.new("RGB", (40, 30)).save(root / "JPEGImages" / f"{stem}.jpg")

    def annotate(self, stem, boxes):
        things = "".join(
            f"<object><name>cat</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}"
            f"</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for x1, y1, x2, y2 in boxes
        )
        path = self.root / "Annotations" / f"{stem}.xml"
        path.write_text(f"<annotation>{things}</annotation>")

    @property
    def file(self):
        return self.root / "SegmentationObject" / "a.png"

    def draw(self, found):
        image = Image.fromarray(found)
        if found.ndim == 2:
            image = image.convert("P")
            image.putdata(found.ravel().tolist())
        image.save(self.file)
        return self

    def read(self, **options):
        return load_dataset(
            str(self.root), root=self.root, split="train", wanted=Wanted(**options)
        )

    def areas(self):
        mask = self.read(masks=True).records[0].masks
        return [
            int(coco_mask.area({"counts": m.counts, "size": m.size})) if m else 0
            for m in mask
        ]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path).draw(values())


def test_masks(folder):
    found = folder.read(masks=True)
    assert found.has_masks and found.drops == {"object without a mask": 2}
    first, second = (
        coco_mask.decode({"counts": m.counts, "size": m.size})
        for m in found.records[0].masks
    )
    np.testing.assert_array_equal(first, values() == 1)
    np.testing.assert_array_equal(second, values() == 2)
    assert found.records[1].masks == ((), ())
    assert folder.read().records[0].masks is None


def test_other_order(folder):
    folder.annotate("a", BOXES[::-1])
    assert folder.areas() == [15 * 12, 11 * 11 - 9 * 1]
    folder.annotate("a", [BOXES[1]])
    found = folder.read(masks=True)
    assert folder.areas() == [15 * 12]
    assert found.drops["mask that no box belongs to"] == 1


def test_equal_boxes_follow_the_order(folder):
    drawn = np.zeros((30, 40), np.uint8)
    drawn[2:20, 2:20] = 2
    drawn[2:20, 2:20][::2, ::3] = 1
    drawn[2, 2] = drawn[19, 19] = 1
    drawn[3, 3] = 2
    folder.annotate("a", [(2, 2, 20, 20), (2, 2, 20, 20)])
    folder.draw(drawn)
    assert folder.areas() == [int((drawn == 1).sum()), int((drawn == 2).sum())]


def test_colours(folder):
    palette = np.zeros((256, 3), np.uint8)
    palette[1], palette[2], palette[255] = (128, 0, 0), (0, 128, 0), (224, 224, 192)
    folder.draw(palette[values()])
    assert folder.areas() == [11 * 11 - 9 * 1, 15 * 12]


def test_bad_files(folder):
    folder.draw(values()[:20])
    found = folder.read(masks=True)
    assert found.drops == {"masks of another size than their image": 1}
    assert not found.has_masks
    folder.file.write_bytes(b"no image")
    folder.refuses(r"a\.png: expected masks as a PNG, cannot", masks=True)
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    folder.draw(noise)
    folder.refuses(r"a\.png: expected a number for each object", masks=True)

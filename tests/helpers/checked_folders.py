"""Made-up folders for the checks: clean ones, to which tests add their defects."""

import io
import json

import cv2
import numpy as np
from faster_rcnn.datasets.checks.coverage import Recipe
from faster_rcnn.datasets.checks.dataset_files import find_sources
from faster_rcnn.datasets.checks.run_checks import check_dataset
from PIL import Image

RECIPE = Recipe(
    name="test",
    short_side=60,
    long_side=100,
    strides=(16,),
    ratios=(0.5, 1.0, 2.0),
    scales=((1.0, 2.0),),
    offset=0,
    border=0,
    centre="cell",
    rounding="auto",
    use_ignored=False,
)


def check(root, name="own", **options):
    """Check a folder, or several joined by +."""
    sources = find_sources([str(root)], root=root)
    return check_dataset(name, sources, RECIPE, jobs=2, **options)


def found(root):
    """Kind, file and detail of each defect."""
    return [(d.kind, d.file, d.detail) for d in check(root).defects]


def picture(seed, size=(80, 60)):
    """A picture with structure of its own: smooth random colours."""
    rows = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(rows, size, interpolation=cv2.INTER_CUBIC)


def encoded(pixels, suffix="jpg", *, quality=90, orientation=None):
    """The bytes of an image file, with an EXIF orientation if asked."""
    image, data = Image.fromarray(pixels), io.BytesIO()
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    kind = {"jpg": "JPEG", "png": "PNG"}[suffix]
    image.save(data, kind, quality=quality, exif=exif)
    return data.getvalue()


def thing(name="cell", box=(11, 11, 40, 40), extra=""):
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    return f"<object><name>{name}</name>{extra}<bndbox>{inner}</bndbox></object>"


class VocFolder:
    """A clean folder in VOC layout: train a to d, test e and f."""

    def __init__(self, root):
        self.root = root
        for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / name).mkdir(parents=True)
        for seed, stem in enumerate("abcdef"):
            self.image(stem, encoded(picture(seed)))
            self.annotate(stem, thing())
        self.list("train", "abcd")
        self.list("test", "ef")

    def image(self, stem, data, suffix="jpg"):
        self.image_path(stem, suffix).write_bytes(data)

    def image_path(self, stem, suffix="jpg"):
        return self.root / "JPEGImages" / f"{stem}.{suffix}"

    def annotation_path(self, stem):
        return self.root / "Annotations" / f"{stem}.xml"

    def annotate(self, stem, *things, size=(80, 60), depth=3):
        width, height = size
        self.annotation_path(stem).write_text(
            f"<annotation><size><width>{width}</width><height>{height}</height>"
            f"<depth>{depth}</depth></size>{''.join(things)}</annotation>"
        )

    def list(self, split, stems):
        path = self.root / "ImageSets" / "Main" / f"{split}.txt"
        path.write_text("".join(f"{stem}\n" for stem in stems))
        return path


class CocoFolder:
    """A clean folder in COCO layout: train images 1 to 3, val image 4."""

    def __init__(self, root):
        self.root = root
        self.tables = {"train": self._tables((1, 2, 3)), "val": self._tables((4,))}
        (root / "annotations").mkdir(parents=True)
        (root / "images").mkdir()
        for number in range(1, 5):
            data = encoded(picture(number))
            (root / "images" / f"{number}.jpg").write_bytes(data)
        self.write()

    def path(self, split):
        return self.root / "annotations" / f"instances_{split}.json"

    def write(self):
        for split, tables in self.tables.items():
            self.path(split).write_text(json.dumps(tables))

    def add(self, split, image, box, category=1):
        rows = self.tables[split]["annotations"]
        rows.append(self._row(100 + len(rows), image, box, category))
        self.write()

    def _tables(self, numbers):
        return {
            "images": [
                {"id": n, "file_name": f"{n}.jpg", "width": 80, "height": 60}
                for n in numbers
            ],
            "annotations": [self._row(n, n, [10, 10, 30, 30], 1) for n in numbers],
            "categories": [{"id": 1, "name": "cell"}, {"id": 7, "name": "other"}],
        }

    @staticmethod
    def _row(number, image, box, category):
        return {
            "id": number,
            "image_id": image,
            "bbox": box,
            "category_id": category,
            "area": 1.0,
            "iscrowd": 0,
        }

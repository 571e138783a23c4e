import os
import time

import cv2
import numpy as np
import pytest
from faster_rcnn.datasets.formats import coco, voc
from faster_rcnn.datasets.formats.coco import read_coco
from faster_rcnn.datasets.formats.split_files import AnnotationFiles
from faster_rcnn.datasets.formats.voc import read_voc
from faster_rcnn.datasets.index import index_files
from faster_rcnn.datasets.index.index_files import VARIABLE
from faster_rcnn.datasets.loading.images import ImageError

THING = (
    "<object><name>cat</name><bndbox><xmin>{}</xmin><ymin>6</ymin><xmax>20</xmax>"
    "<ymax>15</ymax></bndbox></object>"
)


def write_image(path, width=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((30, width, 3), np.uint8))


class VocFolder:
    """One image with one object."""

    parser = (voc, "parse_annotation")
    hashed = AnnotationFiles

    def __init__(self, root):
        self.root = self.annotations = root
        self.image = root / "JPEGImages" / "a.jpg"
        self.list = root / "ImageSets" / "Main" / "train.txt"
        self.file = root / "Annotations" / "a.xml"
        write_image(self.image)
        write_image(root / "JPEGImages" / "b.jpg")
        self.list.parent.mkdir(parents=True)
        self.list.write_text("a\n")
        self.file.parent.mkdir()
        self.write()

    def write(self, x1=11, size=True):
        sizes = "<size><width>40</width><height>30</height></size>" if size else ""
        objects = THING.format(x1) + THING.format(30)
        self.file.write_text(f"<annotation>{sizes}{objects}</annotation>")

    def read(self, name="own_train"):
        return read_voc(self.root, "train", name=name)


class CocoFolder:
    """One image with one object."""

    parser = (coco, "read_tables")
    hashed = coco._Source

    def __init__(self, root):
        self.root = root
        self.annotations = root / "annotations"
        self.image = root / "train" / "a.jpg"
        self.file = root / "annotations" / "instances_train.json"
        self.file.parent.mkdir(parents=True)
        write_image(self.image)
        self.write()

    def write(self, x1=11, size=True):
        sizes = ', "width": 40, "height": 30' if size else ""
        boxes = (f"[{x1 - 1}, 5, 10, 10]", "[30, 5, -10, 10]")
        rows = ", ".join(
            f'{{"id": {i}, "image_id": 3, "category_id": 1, "bbox": {box}}}'
            for i, box in enumerate(boxes)
        )
        self.file.write_text(
            f'{{"images": [{{"id": 3, "file_name": "a.jpg"{sizes}}}], "annotations": '
            f'[{rows}], "categories": [{{"id": 1, "name": "cat"}}]}}'
        )

    def read(self, name="own_train"):
        return read_coco(self.file, self.root / "train", name=name)


@pytest.fixture(params=[VocFolder, CocoFolder])
def folder(request, tmp_path, monkeypatch):
    """Make a small data set whose indices lie beside it."""
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return request.param(tmp_path / "own")


@pytest.fixture
def parsed(folder, monkeypatch):
    """Count how often an annotation file is parsed."""
    calls = []
    parse = getattr(*folder.parser)

    def counted(*arguments, **options):
        calls.append(arguments)
        return parse(*arguments, **options)

    monkeypatch.setattr(*folder.parser, counted)
    return calls


def indices(folder):
    return sorted(folder.rglob("*.index"))


def x1(dataset):
    return dataset.records[0].boxes[0, 0]


def age(*paths):
    """Have files and folders left alone for long enough, as far as notes can tell."""
    for path in paths:
        os.utime(path, (0, 0))


def test_a_damaged_index_is_made_anew(folder, parsed, caplog):
    folder.read()
    (path,) = indices(folder.annotations)
    data = bytearray(path.read_bytes())
    at = data.index(np.float32(10).tobytes() + np.float32(5).tobytes())  # of the box
    data[at + 2] ^= 1
    path.write_bytes(data)
    caplog.clear()
    assert x1(folder.read()) == 10 and len(parsed) == 2
    (line,) = [r.getMessage() for r in caplog.records if str(path) in r.getMessage()]
    assert "its checksum differs" in line and "parsed again" in line
    folder.read()
    assert len(parsed) == 2


def test_parsed_once(folder, parsed, caplog):
    first = folder.read()
    again = folder.read("other_name")
    assert len(parsed) == 1
    (path,) = indices(folder.annotations)
    assert path.parent == folder.annotations / ".cache"
    assert again.records.parts[0].index.path == path
    assert x1(first) == x1(again) == 10 and len(again.records.boxes) == 1
    assert again.classes == first.classes == ("__background__", "cat")
    assert again.category_ids == first.category_ids
    assert again.records[0].path == folder.image
    # What was left out is counted and told again, under the name asked for.
    assert first.drops == again.drops == {"inverted box": 1}
    texts = [r.getMessage() for r in caplog.records]
    assert texts[0].startswith("own_train: 1 x inverted box, first: corners (30, ")
    assert texts[1] == texts[0].replace("own_train", "other_name")


def test_a_change_is_found_despite_equal_times(folder, parsed):
    folder.read()
    before = folder.file.stat()
    folder.write(x1=13)
    os.utime(folder.file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert folder.file.stat().st_size == before.st_size
    assert x1(folder.read()) == 12
    folder.write()
    assert x1(folder.read()) == 10
    assert len(parsed) == 2  # the first index is still right for what it was made of


def test_a_change_is_seen_through_a_note(folder, parsed, monkeypatch):
    monkeypatch.setattr(index_files, "_QUIET_NANOSECONDS", -1)
    folder.read()
    folder.read()
    time.sleep(0.01)  # a tick of the file system's clock
    test_a_change_is_found_despite_equal_times(folder, parsed)


def test_a_half_written_or_foreign_index_is_made_anew(folder, parsed):
    folder.read()
    (path,) = indices(folder.annotations)
    for content in (path.read_bytes()[:-1], b"", b"something else"):
        path.write_bytes(content)
        assert x1(folder.read()) == 10
    assert len(parsed) == 4 and indices(folder.annotations) == [path]


def test_an_image_of_known_size_is_read_again(folder, parsed):
    folder.write(size=False)
    assert folder.read().records[0].width == 40
    assert folder.read().records[0].width == 40 and len(parsed) == 1
    write_image(folder.image, width=50)
    assert folder.read().records[0].width == 50 and len(parsed) == 2
    folder.image.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"a\.jpg"):
        folder.read()


def test_images_are_missed_every_time(folder):
    folder.read()
    folder.image.unlink()
    for _ in range(2):
        with pytest.raises(ValueError, match="1 of 1 images are not in"):
            folder.read()
    write_image(folder.image)
    assert x1(folder.read()) == 10


def test_images_are_missed_despite_a_note(folder, monkeypatch):
    monkeypatch.setattr(index_files, "_QUIET_NANOSECONDS", -1)
    folder.read()
    folder.read()
    time.sleep(0.01)
    test_images_are_missed_every_time(folder)


def test_a_note_is_about_the_images_of_one_content(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "indices"))
    monkeypatch.setattr(index_files, "_QUIET_NANOSECONDS", -1)
    folder = CocoFolder(tmp_path / "own")
    one = folder.file.read_text()
    two = one.replace('"images": [', '"images": [{"id": 4, "file_name": "b.jpg"}, ')
    write_image(folder.image.with_name("b.jpg"))
    folder.file.write_text(two)
    assert len(folder.read().records) == 2
    folder.image.with_name("b.jpg").unlink()
    folder.file.write_text(one)
    for _ in range(2):  # the second leaves a note that the images are there
        assert len(folder.read().records) == 1
    folder.file.write_text(two)
    with pytest.raises(ValueError, match=r"1 of 2 images .*: b\.jpg;"):
        folder.read()


def test_switched_off(folder, parsed, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, "0")
    found = [folder.read() for _ in range(2)]
    assert [x1(dataset) for dataset in found] == [10, 10] and len(parsed) == 2
    assert found[0].drops == {"inverted box": 1}
    assert not indices(tmp_path) and not (folder.annotations / ".cache").exists()


def test_another_folder(folder, parsed, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "x" / "y"))
    folder.read()
    folder.read()
    assert len(indices(tmp_path / "x" / "y")) == len(indices(tmp_path)) == 1
    assert len(parsed) == 1


def test_a_folder_that_cannot_be_written(folder, parsed, tmp_path):
    # A file in the way: permissions do not stop an administrator.
    (folder.annotations / ".cache").write_text("in the way")
    folder.read()
    folder.read()
    (path,) = indices(tmp_path)
    assert path.parent == tmp_path / "home" / "faster_rcnn" and len(parsed) == 1
    path.unlink()
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    path.parent.write_text("in the way too")
    found = folder.read()
    assert x1(found) == 10 and found.records.parts[0].index.path is None


def test_a_file_that_changes_while_it_is_read(folder, monkeypatch):
    # The hash of a first look, and what a second look then parses.
    monkeypatch.setattr(folder.hashed, "content", lambda _: "before")
    with pytest.raises(ValueError, match=r"changed while .* read; start again"):
        folder.read()
    assert not indices(folder.annotations)
    monkeypatch.undo()
    assert x1(folder.read()) == 10


def test_old_indices_go(folder):
    folder.read()
    (old,) = indices(folder.annotations)
    other = old.with_name("val-0.index")
    other.write_bytes(b"")
    age(old, other)
    folder.write(x1=13)
    folder.read()
    found = indices(folder.annotations)
    assert old not in found and other in found and len(found) == 2


def test_an_index_in_use_stays(folder):
    folder.read()
    (old,) = indices(folder.annotations)
    age(old)
    folder.read()
    folder.write(x1=13)
    folder.read()
    assert old in indices(folder.annotations)

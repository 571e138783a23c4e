import re
from collections import Counter

import cv2
import numpy as np
import pytest
from dataset_folders import Refusing
from faster_rcnn.datasets.formats.voc import VOC_CLASSES, image_lists, read_voc
from faster_rcnn.datasets.loading.images import ImageError


def thing(name="cat", box=(11, 6, 20, 15), extra=""):
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    return f"<object><name>{name}</name>{extra}<bndbox>{inner}</bndbox></object>"


class Folder(Refusing):
    """Writes a small folder in VOC layout."""

    def __init__(self, root):
        self.root = root
        for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / name).mkdir(parents=True)

    def image(self, stem, *objects, size=(40, 30), suffix="jpg", xml=None):
        width, height = size
        pixels = np.zeros((30, 40, 3), np.uint8)
        cv2.imwrite(str(self.root / "JPEGImages" / f"{stem}.{suffix}"), pixels)
        if xml is None:
            xml = (
                f"<annotation><size><width>{width}</width><height>{height}</height>"
                f"<depth>3</depth></size>{''.join(objects)}</annotation>"
            )
        (self.root / "Annotations" / f"{stem}.xml").write_text(xml)
        return self

    def list(self, text, split="train"):
        (self.root / "ImageSets" / "Main" / f"{split}.txt").write_text(text)
        return self

    def read(self, split="train", **options):
        return read_voc(self.root, split, name="own_train", **options)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "own")


def test_corners_become_pixel_edges(folder):
    folder.image("a", thing(), thing("dog", (1, 1, 40, 30))).list("a\n")
    found = folder.read()
    assert found.name == "own_train" and found.layout == "voc"
    assert found.classes == ("__background__", "cat", "dog")
    assert found.category_ids == (0, 1, 2) and found.annotation_file is None
    (record,) = found.records
    assert record.image_id == "a" and (record.width, record.height) == (40, 30)
    assert record.path == folder.root / "JPEGImages" / "a.jpg"
    assert record.boxes.tolist() == [[10, 5, 20, 15], [0, 0, 40, 30]]
    assert record.classes.tolist() == [1, 2]
    assert record.areas.tolist() == [100, 1200]
    assert record.object_ids.tolist() == [0, 1]
    assert not record.difficult.any() and not record.crowd.any()
    assert found.drops == {}


def test_x1_of_zero_does_not_underflow(folder):
    folder.image("a", thing(box=(0, 0, 10, 10))).list("a")
    found = folder.read()
    assert found.records[0].boxes.tolist() == [[0, 0, 10, 10]]
    assert found.drops == {}


def test_faulty_boxes_are_counted(folder):
    folder.image(
        "a",
        thing(box=(5, 5, 5, 5)),
        thing(box=(20, 5, 10, 15)),
        thing(box=("nan", 1, 2, 3)),
        thing(box=(50, 1, 60, 9)),
        thing(box=(30, 20, 60, 60)),
        thing(box=(2.5, 3.25, 12.5, 9)),
    ).list("a")
    found = folder.read()
    assert found.records[0].boxes.tolist() == [[29, 19, 40, 30], [1.5, 2.25, 12.5, 9]]
    assert found.drops == {
        "zero-area box": 1,
        "inverted box": 1,
        "box with a NaN or infinite coordinate": 1,
        "box outside the image": 1,
        "clipped box": 1,
    }


def test_parts_are_not_objects(folder):
    inner = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox>"
    part = f"<part><name>head</name>{inner}</part>"
    nested = f"<extra>{thing('hand')}</extra>"
    folder.image("a", thing("person", extra=part), nested).list("a")
    found = folder.read()
    assert found.classes[1:] == ("person",)
    assert found.records[0].boxes.tolist() == [[10, 5, 20, 15]]


def test_difficult_objects_carry_their_flag(folder):
    words = ("1", "0", " 1 ", "", "True", "false", "Unspecified")
    flags = [f"<difficult>{word}</difficult>" for word in words]
    folder.image("a", *(thing(extra=flag) for flag in flags), thing()).list("a")
    difficult = folder.read().records[0].difficult
    assert difficult.tolist() == [True, False, True, False, True, *[False] * 3]


@pytest.mark.parametrize("encoding", ["GBK", "gb2312", "Shift_JIS", "utf-16", "cp1251"])
def test_declared_encodings_are_read(folder, encoding):
    name = "кот" if encoding == "cp1251" else "猫"
    xml = f"<?xml version='1.0' encoding='{encoding}'?>\n<annotation>{thing(name)}"
    folder.image("a").list("a")
    path = folder.root / "Annotations" / "a.xml"
    path.write_bytes(f"{xml}</annotation>".encode(encoding))
    assert folder.read().classes[1:] == (name,)


def test_bytes_that_are_not_of_the_declared_encoding(folder):
    xml = f"<?xml version='1.0' encoding='GBK'?><annotation>{thing('猫')}</annotation>"
    folder.image("a").list("a")
    path = folder.root / "Annotations" / "a.xml"
    path.write_bytes(xml.encode("gbk").replace(b"</object>", b"\xff\xff</object>"))
    folder.refuses(r"a\.xml: expected an XML file, cannot read")


def test_byte_order_marks_and_sidecars(folder):
    folder.image("a", thing()).list("\ufeffa\n")
    sidecar = b"\0\5\x16\7"
    (folder.root / "Annotations" / "._a.xml").write_bytes(sidecar)
    (folder.root / "JPEGImages" / "._a.jpg").write_bytes(sidecar)
    (folder.root / "ImageSets" / "Main" / "._train.txt").write_bytes(sidecar)
    found = folder.read()
    assert [record.image_id for record in found.records] == ["a"]
    assert found.records[0].path.name == "a.jpg" and found.drops == {}
    assert image_lists(folder.root) == ["train"]


def test_listed_images_of_a_format_that_is_not_read(folder):
    folder.image("a", thing()).list("a")
    path = folder.root / "JPEGImages" / "a.jpg"
    path.rename(path.with_suffix(".gif"))
    folder.refuses(r"1 of 1 .* found a\.gif; convert")


def test_images_without_objects_are_kept(folder):
    folder.image("a").image("b", thing()).list("a\nb\n")
    first, second = folder.read().records
    assert first.boxes.shape == (0, 4) and len(second.boxes) == 1


def test_classes_come_from_the_whole_folder(folder):
    folder.image("a", thing("dog")).image("b", thing("cat")).list("a").list("b", "test")
    assert folder.read("train").classes == folder.read("test").classes
    assert folder.read("train").records[0].classes.tolist() == [2]
    assert folder.read("test").records[0].classes.tolist() == [1]


def test_given_classes_keep_their_order_and_read_only_the_list(folder):
    folder.image("a", thing("cat")).image("broken", xml="<annotation>").list("a")
    found = folder.read(classes=("dog", "cat"))
    assert found.classes == ("__background__", "dog", "cat")
    assert found.records[0].classes.tolist() == [2]


def test_unknown_class(folder):
    folder.image("a", thing("persn")).list("a")
    folder.refuses(r"a\.xml.*'persn' \(did you mean 'person'\?\)", classes=VOC_CLASSES)


def test_list_with_flags_blank_and_repeated_lines(folder):
    folder.image("a").image("b", thing()).image("with space")
    folder.list("b  1\n\na -1\r\nb\nwith space\nwith space 0\n")
    found = folder.read()
    assert [r.image_id for r in found.records] == ["b", "a", "with space"]
    assert found.drops == {"repeated line in a list": 2}


def test_other_suffixes_and_dots_in_names(folder):
    folder.image("a.v1", thing(), suffix="png").image("b", suffix="JPG").list("a.v1\nb")
    assert [r.path.name for r in folder.read().records] == ["a.v1.png", "b.JPG"]
    folder.image("a.v1", thing(), suffix="jpg")
    assert folder.read().records[0].path.name == "a.v1.jpg"


@pytest.mark.parametrize("size", [(0, 0), ("", ""), ("-40", "30"), ("x", "y")])
def test_size_falls_back_to_the_image(folder, size):
    folder.image("a", thing(), size=size).list("a")
    record = folder.read().records[0]
    assert (record.width, record.height) == (40, 30)


def test_no_size_and_no_image_header(folder):
    folder.image("a", xml=f"<annotation>{thing()}</annotation>").list("a")
    assert folder.read().records[0].width == 40
    (folder.root / "JPEGImages" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"a\.jpg"):
        folder.read()


def test_missing_list_names_the_existing_ones(folder):
    folder.image("a", thing()).list("a", "test").list("a", "val")
    folder.refuses(r"train\.txt.*not found \(there: test, val\)")
    assert image_lists(folder.root) == ["test", "val"]


def test_bare_folder(tmp_path):
    with pytest.raises(ValueError, match=r"train\.txt.*there: no list at all"):
        read_voc(tmp_path, "train", name="x")


def test_empty_list(folder):
    folder.image("a", thing()).list("\n \n")
    folder.refuses(r"train\.txt.*expected image names")


def test_binary_list(folder):
    path = folder.root / "ImageSets" / "Main" / "train.txt"
    path.write_bytes(b"\xff\xfe\x00")
    folder.refuses(r"train\.txt.*UTF-8")


def test_missing_listed_images(folder):
    folder.image("a", thing()).list("a\n" + "\n".join(f"m{i}" for i in range(7)))
    folder.refuses("7 of 8 images are not in .*JPEGImages: m0, m1, m2, m3, m4 and 2 m")


def test_missing_annotation(folder):
    folder.image("a", thing()).image("b").list("a\nb\n")
    (folder.root / "Annotations" / "b.xml").unlink()
    folder.refuses(r"1 of 2 images have no \.xml.*: b;")


def test_no_objects_anywhere(folder):
    folder.image("a").list("a")
    folder.refuses(r"Annotations: expected at least one <object>")


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation>\n<object>\n</annotation>", r"b\.xml.*line 3"),
        ("", r"b\.xml.*line 1"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', r"b\.xml"),
        ("<html/>", r"b\.xml.*<annotation>.*<html>"),
        ("<annotation><object/></annotation>", r"b\.xml.*object 1.*<name>"),
        (
            "<annotation><object><name>cat</name></object></annotation>",
            r"b\.xml.*object 1.*<bndbox/xmin>",
        ),
        (
            f"<annotation>{thing()}{thing(box=(1, 'two', 3, 4))}</annotation>",
            r"b\.xml.*object 2.*number in <bndbox/ymin>, found 'two'",
        ),
        (
            f"<annotation>{thing(box=(1, 2, '', 4))}</annotation>",
            r"b\.xml.*object 1.*<bndbox/xmax>",
        ),
    ],
)
def test_malformed_annotation(folder, xml, message):
    folder.image("a", thing()).image("b", xml=xml).list("a\nb\n")
    folder.refuses(message)


@pytest.mark.parametrize(
    ("split", "images", "objects", "zero"),
    [
        ("train", 205, {"Platelets": 209, "RBC": 2382, "WBC": 214}, 1),
        ("val", 87, {"Platelets": 83, "RBC": 968, "WBC": 87}, 1),
        ("trainval", 292, {"Platelets": 292, "RBC": 3350, "WBC": 301}, 2),
        ("test", 72, {"Platelets": 69, "RBC": 805, "WBC": 71}, 0),
    ],
)
def test_bccd(shared, split, images, objects, zero):
    found = read_voc(shared / "data" / "bccd", split, name="bccd")
    assert found.classes == ("__background__", *objects)
    assert len(found.records) == images
    count = Counter(found.classes[c] for r in found.records for c in r.classes)
    assert sum(count.values()) == sum(objects.values()) - zero
    assert all(objects[name] - count[name] in (0, zero) for name in objects)
    assert found.drops == ({"zero-area box": zero} if zero else {})


@pytest.mark.parametrize(
    ("split", "images", "objects", "difficult", "persons"),
    [("trainval", 500, 1523, 277, 546), ("test", 400, 1219, 234, 438)],
)
def test_voc2007_mini(shared, split, images, objects, difficult, persons):
    folder = shared / "data" / "voc2007_mini" / "VOCdevkit" / "VOC2007"
    found = read_voc(folder, split, name="voc", classes=VOC_CLASSES)
    assert len(found.records) == images and found.drops == {}
    assert sum(len(r.boxes) for r in found.records) == objects
    assert sum(int(r.difficult.sum()) for r in found.records) == difficult
    person = found.classes.index("person")
    assert sum(int((r.classes == person).sum()) for r in found.records) == persons
    assert read_voc(folder, split, name="voc").classes == found.classes


def test_voc2007_mini_boxes_against_a_pattern(shared):
    folder = shared / "data" / "voc2007_mini" / "VOCdevkit" / "VOC2007"
    number = r"<{}>(\d+)</{}>\s*"
    pattern = re.compile(
        r"<bndbox>\s*"
        + "".join(number.format(k, k) for k in ("xmin", "ymin", "xmax", "ymax"))
    )
    found = read_voc(folder, "test", name="voc", classes=VOC_CLASSES)
    for record in found.records:
        text = (folder / "Annotations" / f"{record.image_id}.xml").read_text()
        text = re.sub(r"<part>.*?</part>", "", text, flags=re.DOTALL)
        corners = np.array(pattern.findall(text), np.float32)
        np.testing.assert_array_equal(record.boxes, corners - [1, 1, 0, 0])

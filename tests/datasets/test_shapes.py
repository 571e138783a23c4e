"""The drawn data set on disk: determinism, counts, annotations, all or nothing."""

import json
import xml.etree.ElementTree as ET
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np
import pytest
from faster_rcnn.datasets import shapes, shapes_scene
from faster_rcnn.datasets.shapes import generate, is_current
from faster_rcnn.datasets.shapes_scene import DrawnObject, Scene, draw_scene

FEW = {"train_images": 5, "test_images": 3}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shapes"
    generate(folder, **FEW)
    return folder


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pixels_of(path):
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def test_two_generations_are_equal_byte_for_byte(drawn, tmp_path):
    state = repr(np.random.get_state())
    generate(tmp_path / "again", **FEW)
    assert files_of(tmp_path / "again") == files_of(drawn)
    assert repr(np.random.get_state()) == state


def test_several_processes_draw_the_same(drawn, tmp_path, monkeypatch):
    pools = []

    class Pool(ProcessPoolExecutor):
        def __init__(self, processes):
            pools.append(processes)
            super().__init__(processes)

    monkeypatch.setattr(shapes, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(shapes, "usable_cores", lambda: 2)
    monkeypatch.setattr(shapes, "_WORTH_A_PROCESS", 2)
    generate(tmp_path / "shared", **FEW)
    assert pools == [2] and files_of(tmp_path / "shared") == files_of(drawn)


def test_an_image_does_not_depend_on_how_many_there_are(drawn, tmp_path):
    generate(tmp_path / "fewer", train_images=2, test_images=1)
    fewer, all_files = files_of(tmp_path / "fewer"), files_of(drawn)
    for name in ("JPEGImages/000001.jpg", "Annotations/000002.xml"):
        assert fewer[name] == all_files[name]
    assert fewer["JPEGImages/000003.jpg"] == all_files["JPEGImages/000006.jpg"]


def test_another_seed_gives_other_images(drawn, tmp_path):
    generate(tmp_path / "other", **FEW, seed=shapes.SEED + 1)
    one, other = files_of(drawn), files_of(tmp_path / "other")
    images = [name for name in one if name.endswith(".jpg")]
    assert len({data[name] for data in (one, other) for name in images}) == 16


def test_the_tree_is_a_voc_tree_of_the_given_counts(drawn):
    stems = [f"{i:06d}" for i in range(1, 9)]
    expected = {
        *(f"JPEGImages/{stem}.jpg" for stem in stems),
        *(f"Annotations/{stem}.xml" for stem in stems),
        *("instances_train.json", "instances_test.json"),
        "ImageSets/Main/train.txt",
        "ImageSets/Main/test.txt",
        "generator.json",
    }
    assert set(files_of(drawn)) == expected
    lists = drawn / "ImageSets" / "Main"
    assert (lists / "train.txt").read_text().split() == stems[:5]
    assert (lists / "test.txt").read_text().split() == stems[5:]


def test_annotations_agree_with_images(drawn):
    for split, name, count in ((0, "train", 5), (1, "test", 3)):
        stems = (drawn / f"ImageSets/Main/{name}.txt").read_text().split()
        assert len(stems) == count
        for index, stem in enumerate(stems):
            scene = draw_scene(np.random.default_rng([shapes.SEED, split, index]))
            image = pixels_of(drawn / f"JPEGImages/{stem}.jpg")
            assert image.shape == scene.pixels.shape
            assert np.abs(image.astype(int) - scene.pixels).mean() < 8
            root = ET.parse(drawn / f"Annotations/{stem}.xml").getroot()
            assert root.findtext("filename") == f"{stem}.jpg"
            assert root.findtext("segmented") == "0"
            depth = 3 if image.ndim == 3 else 1
            size = [root.findtext(f"size/{k}") for k in ("height", "width", "depth")]
            assert size == [*map(str, image.shape[:2]), str(depth)]
            found = [
                (
                    node.findtext("name"),
                    tuple(int(child.text or "") for child in node.find("bndbox") or ()),
                    node.findtext("truncated"),
                    node.findtext("difficult"),
                    node.findtext("pose"),
                )
                for node in root.findall("object")
            ]
            assert found == [
                (o.name, o.box, f"{o.truncated:d}", f"{o.difficult:d}", "Unspecified")
                for o in scene.objects
            ]


def test_an_annotation_written_by_hand():
    pixels = np.zeros((160, 192, 3), np.uint8)
    seen = np.ones((160, 192), bool)
    drawn = DrawnObject("star", (), (1, 20, 192, 160), 0.4, True, True, seen)
    assert shapes._voc_xml("000012.jpg", Scene(pixels, (drawn,))).decode() == (
        "<annotation>\n\t<folder>shapes</folder>\n\t<filename>000012.jpg</filename>\n"
        "\t<size>\n\t\t<width>192</width>\n\t\t<height>160</height>\n"
        "\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n"
        "\t<object>\n\t\t<name>star</name>\n\t\t<pose>Unspecified</pose>\n"
        "\t\t<truncated>1</truncated>\n\t\t<difficult>1</difficult>\n"
        "\t\t<bndbox>\n\t\t\t<xmin>1</xmin>\n\t\t\t<ymin>20</ymin>\n"
        "\t\t\t<xmax>192</xmax>\n\t\t\t<ymax>160</ymax>\n\t\t</bndbox>\n"
        "\t</object>\n</annotation>\n"
    )


def test_a_grayscale_scene_is_written_with_depth_one(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes_scene, "_GREY_SHARE", 1.0)
    generate(tmp_path / "grey", train_images=1, test_images=0)
    assert pixels_of(tmp_path / "grey/JPEGImages/000001.jpg").ndim == 2
    root = ET.parse(tmp_path / "grey/Annotations/000001.xml")
    assert root.findtext("size/depth") == "1"
    assert (tmp_path / "grey/ImageSets/Main/test.txt").read_text() == ""


def test_an_exception_midway_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def fail_late(rng):
        calls.append(rng)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return draw_scene(rng)

    monkeypatch.setattr(shapes, "draw_scene", fail_late)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "shapes", **FEW)
    assert list(tmp_path.iterdir()) == []


def test_an_exception_midway_keeps_the_old_folder(tmp_path, monkeypatch):
    folder = tmp_path / "shapes"
    generate(folder, train_images=1, test_images=1)
    before = files_of(folder)

    def fail(rng):
        raise RuntimeError("no")

    monkeypatch.setattr(shapes, "draw_scene", fail)
    with pytest.raises(RuntimeError, match="no"):
        generate(folder, **FEW)
    assert files_of(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_faster_process_wins(tmp_path, monkeypatch):
    """Another generator finishes while this one draws: its folder stays."""
    folder = tmp_path / "shapes"
    original = shapes._write
    raced = []

    def race(fresh, counts, seed):
        original(fresh, counts, seed)
        if not raced:
            raced.append(0)
            generate(folder, **FEW)
            raced.append(folder.stat().st_ino)

    monkeypatch.setattr(shapes, "_write", race)
    generate(folder, **FEW)
    assert raced[1] == folder.stat().st_ino
    assert list(tmp_path.iterdir()) == [folder]


def test_files_that_appear_meanwhile_are_not_replaced(tmp_path, monkeypatch):
    folder = tmp_path / "shapes"
    original = shapes._write

    def disturb(fresh, counts, seed):
        original(fresh, counts, seed)
        folder.mkdir()
        (folder / "notes.txt").write_text("precious")

    monkeypatch.setattr(shapes, "_write", disturb)
    with pytest.raises(ValueError, match="found something else"):
        generate(folder, **FEW)
    assert (folder / "notes.txt").read_text() == "precious"
    assert list(tmp_path.iterdir()) == [folder]


def test_is_current(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "shapes"
    assert not is_current(folder, **FEW)
    generate(folder, **FEW)
    assert is_current(folder, **FEW)
    assert not is_current(folder)
    assert not is_current(folder, **FEW, seed=1)
    facts = json.loads((folder / "generator.json").read_text())
    assert facts == {"version": shapes.VERSION, "seed": shapes.SEED, **FEW}
    with monkeypatch.context() as patch:
        patch.setattr(shapes, "VERSION", shapes.VERSION + 1)
        assert not is_current(folder, **FEW)
    image = folder / "JPEGImages" / "000002.jpg"
    data = image.read_bytes()
    image.unlink()
    assert not is_current(folder, **FEW)
    generate(folder, **FEW)  # draws the lost image again
    assert is_current(folder, **FEW)
    assert image.read_bytes() == data
    (folder / "generator.json").write_text("{")
    assert not is_current(folder, **FEW)


def test_a_stale_folder_is_replaced_and_an_empty_one_filled(tmp_path):
    folder = tmp_path / "shapes"
    folder.mkdir()
    generate(folder, train_images=2, test_images=0)
    (folder / "left-over").touch()
    generate(folder, **FEW)
    assert is_current(folder, **FEW)
    assert not (folder / "left-over").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_files_of_others_are_refused(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("precious")
    with pytest.raises(ValueError, match=r"mine to be absent.*move it"):
        generate(folder, **FEW)
    assert (folder / "notes.txt").read_text() == "precious"
    with pytest.raises(ValueError, match="found something else"):
        generate(folder / "notes.txt", **FEW)


@pytest.mark.parametrize("key", ["train_images", "test_images", "seed"])
def test_negative_numbers_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match=f"{key} of 0 or more, found -1"):
        generate(tmp_path / "shapes", **{key: -1})
    assert list(tmp_path.iterdir()) == []

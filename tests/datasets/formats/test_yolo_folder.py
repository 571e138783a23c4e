"""Where a folder in YOLO layout has its names, splits, images and labels."""

import re

import pytest
from faster_rcnn.datasets.formats.yolo import read_yolo
from faster_rcnn.datasets.formats.yolo_folder import is_yolo, open_yolo
from yolo_folders import YoloFolder, ids, write_image


@pytest.fixture
def folder(tmp_path):
    return YoloFolder(tmp_path / "own")


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("[cat, dog]", ("cat", "dog")),
        ("{0: cat, 1: dog}", ("cat", "dog")),
        ("{3: dog, 1: cat, 0: 7}", ("7", "cat", "dog")),  # by rising id
        ("[01, 02]", ("01", "02")),  # as written, not as YAML's numbers
        ("[no, 1_000, 0x1F, 1:30, 1e3]", ("no", "1_000", "0x1F", "1:30", "1e3")),
    ],
)
def test_names(folder, names, classes):
    folder.settings(f"names: {names}\ntrain: images/train\n")
    assert folder.read().classes[1:] == classes


def test_ids_with_gaps(folder):
    folder.settings("names: {3: dog, 1: cat}\ntrain: images/train\n")
    folder.labels("train/a", "3 0.5 0.5 0.25 0.5\n1 0.5 0.5 0.25 0.5")
    assert folder.read().records[0].classes.tolist() == [2, 1]
    folder.labels("train/a", "2 0.5 0.5 0.25 0.5")
    folder.refuses("unknown class id 2, expected one of 1, 3;")


@pytest.mark.parametrize("name", ["classes.txt", "obj.names", "labels/classes.txt"])
def test_names_in_a_file(folder, name):
    (folder.root / "data.yaml").unlink()
    folder.settings("cat\n big dog \n\n", name)
    assert folder.read().classes[1:] == ("cat", "big dog")
    assert is_yolo(folder.root)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("names: [cat\ntrain: x", "cannot read them (while parsing a flow seq"),
        ("just text", "expected keys such as names, train and val, found str"),
        ("", "expected keys such as names, train and val, found NoneType"),
        ("names: cat", "a list of class names, or a mapping from class ids, found 'ca"),
        ("names: []", "found []"),
        ("names: {a: cat}", "class ids of 0 or more under names, each once, found 'a'"),
        ("names: [cat, ~]", "expected a name for class 1, found None; write one"),
        ("names: {1: cat, 01: dog}", "each once, found '01'"),
        ("names: [cat, '']", "expected a name for class 1, found ''"),
        ("names: [cat, dog, cat]", "found 'cat' for the class ids 0 and 2; rename one"),
        ("nc: 3\nnames: [cat, dog]", "found 3 for 2 names; correct one of the two"),
        ("names: [cat]\ntrain: {a: b}", "expected under train a folder, a file, or a"),
        ("names: [cat]\ntrain: [[a]]", "expected under train a folder, a file, or a"),
        ("names: [cat]\nkpt_shape: 17", "expected under kpt_shape the number of"),
        ("names: [cat]\nkpt_shape: [3, 4]", "as in [17, 3], found ['3', '4']"),
        ("names: [cat]\nkpt_shape: [-1, 3]", "as in [17, 3], found ['-1', '3']"),
        ("names: [cat]\nkpt_shape: [3, 3]\nflip_idx: [0, 1]", "each of the 3, counted"),
        ("names: [cat]\nkpt_shape: [2, 3]\nflip_idx: [1, 2]", "each of the 2, counted"),
        ("names: [cat]\nkpt_shape: [2, 3]\nflip_idx: [1, 1]", "found ['1', '1']"),
        ("names: [cat]\nkpt_shape: [2, 3]\nkpt_names: [a]", "expected 2 names under"),
    ],
)
def test_malformed_settings(folder, text, problem):
    folder.settings(text)
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        folder.read()
    assert str(caught.value).startswith(str(folder.root / "data.yaml"))


def test_no_names(folder):
    folder.settings("train: images/train")
    folder.refuses(r"under names in data\.yaml, or in classes\.tx")
    folder.settings("cat\n\ndog\n", "classes.txt")
    folder.refuses(r"classes\.txt: expected a class name in each")
    folder.settings("names: [cat]", "dataset.yml")
    folder.refuses(r"found data\.yaml and dataset\.yml; take one")


@pytest.mark.parametrize(
    "train",
    [
        "images/train",
        "./images/train/",
        "../images/train",  # of exporters: beside data.yaml all the same
        "[images/train]",
        "[images/train/a.jpg]",
        "lists/train.txt",
        "{root}/images/train",
        "/content/cells/images/train",  # of another machine
        "'C:\\cells\\images\\train'",
    ],
)
@pytest.mark.parametrize(
    "path", ["", "path: .\n", "path: {root}\n", "path: /no/such\n"]
)
def test_places_of_a_split(folder, train, path):
    (folder.root / "lists").mkdir()
    (folder.root / "lists" / "train.txt").write_text("./images/train/a.jpg\n\n")
    text = f"{path}names: [cat, dog]\ntrain: {train}\n".replace(
        "{root}", str(folder.root)
    )
    (record,) = folder.settings(text).read().records
    assert record.path == folder.root / "images" / "train" / "a.jpg"
    assert record.boxes.tolist() == [[15, 5, 25, 15]]


@pytest.mark.parametrize(
    "line", ["/content/own/images/train/a.jpg", r"images\train\a.jpg"]
)
def test_list_of_another_machine(folder, line):
    (folder.root / "train.txt").write_text(line)
    folder.settings("names: [cat, dog]\ntrain: train.txt\n")
    (record,) = folder.read().records
    assert record.path == folder.root / "images" / "train" / "a.jpg"


def test_root_elsewhere(folder, tmp_path):
    settings = tmp_path / "settings"
    settings.mkdir()
    text = f"path: {folder.root}\nnames: [cat, dog]\ntrain: images/train\n"
    (settings / "data.yaml").write_text(text)
    (record,) = read_yolo(settings, "train", name="x").records
    assert record.path == folder.root / "images" / "train" / "a.jpg"
    (settings / "data.yaml").write_text(
        "path: ../own\nnames: [cat, dog]\ntrain: images"
    )
    found = read_yolo(settings, "train", name="x")
    assert ids(found) == ["a", "b"] and len(found.records[0].boxes) == 1


def test_several_places(folder, tmp_path):
    write_image(tmp_path / "images" / "more" / "c.png")
    (tmp_path / "labels" / "more").mkdir(parents=True)
    (tmp_path / "labels" / "more" / "c.txt").write_text("1 0.5 0.5 1 1\n")
    places = f"[images/val, images/train, {tmp_path}/images/more]"
    folder.settings(f"names: [cat, dog]\ntrain: {places}")
    found = folder.read()
    assert ids(found) == ["b", "a", "c"]
    assert found.records[2].path == tmp_path / "images" / "more" / "c.png"
    assert found.records[2].boxes.tolist() == [[0, 0, 40, 20]]


@pytest.mark.parametrize("place", ["images/{}", "{}/images"])
@pytest.mark.parametrize("val", ["val", "valid"])
def test_usual_places(tmp_path, place, val):
    for split, stem in (("train", "a"), (val, "b"), ("test", "c")):
        images = tmp_path / place.format(split)
        write_image(images / f"{stem}.jpg")
        labels = tmp_path / place.format(split).replace("images", "labels")
        labels.mkdir(parents=True)
        (labels / f"{stem}.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "classes.txt").write_text("cat")
    assert list(open_yolo(tmp_path).splits) == ["train", "val", "test"]
    for split, stem in (("train", "a"), ("val", "b"), ("test", "c")):
        assert ids(read_yolo(tmp_path, split, name="x")) == [stem]


def test_darknet_has_labels_beside_the_images(tmp_path):
    for stem in "ab":
        write_image(tmp_path / "data" / "obj" / f"{stem}.jpg")
        (tmp_path / "data" / "obj" / f"{stem}.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "data" / "obj.names").write_text("cat\n")
    (tmp_path / "data" / "train.txt").write_text("data/obj/b.jpg\ndata/obj/a.jpg\n")
    found = read_yolo(tmp_path / "data", "train", name="x")
    assert ids(found) == ["b", "a"] and found.drops == {}
    assert found.records[0].boxes.tolist() == [[10, 5, 30, 15]]


def test_labels_are_where_the_last_images_is_called_so(folder):
    write_image(folder.root / "images" / "deep" / "images" / "c.jpg")
    labels = folder.root / "images" / "deep" / "labels"
    labels.mkdir()
    (labels / "c.txt").write_text("0 0.5 0.5 0.5 0.5")
    folder.settings("names: [cat]\ntrain: images/deep/images\n")
    assert len(folder.read().records[0].boxes) == 1


def test_folder_inside_one_called_images(tmp_path):
    (tmp_path / "images").mkdir()
    inside = YoloFolder(tmp_path / "images" / "own")
    assert len(inside.read().records[0].boxes) == 1


def test_ids_are_paths_where_stems_repeat(folder):
    folder.image("train/one/a", "").image("train/two/c", "")
    paths = ["images/train/a", "images/train/one/a", "images/train/two/c"]
    assert ids(folder.read()) == paths


def test_lists_with_faults(folder):
    path = folder.root / "train.txt"
    folder.settings("names: [cat, dog]\ntrain: train.txt")
    path.write_text("images/train/a.jpg\nimages/train/a.jpg\n")
    found = folder.read()
    assert ids(found) == ["a"] and found.drops == {"image listed twice": 1}
    path.write_text("images/train/a.jpg\nimages/train/z.jpg\n")
    folder.refuses(r"train\.txt: 1 of 2 images .*images/train/z")
    path.write_text("\n")
    folder.refuses(r"train\.txt: expected images .* found none")
    path.write_bytes(b"\xff")
    folder.refuses(r"train\.txt: expected a list of images in U")
    path.unlink()
    folder.refuses(r"train\.txt: expected a folder of images, or")


def test_two_images_of_one_stem(folder):
    folder.image("train/a", suffix="png")
    folder.refuses(r"but images/train/a\.jpg and images/train/a\.")


def test_hidden_files_are_no_images(folder):
    (folder.root / "images" / "train" / "._a.jpg").write_bytes(b"of a Mac")
    (folder.root / "labels" / "train" / "._a.txt").write_bytes(b"of a Mac")
    found = folder.read()
    assert ids(found) == ["a"] and found.drops == {}

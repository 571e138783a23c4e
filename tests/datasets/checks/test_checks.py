"""Each defect is found and named with its file; clean folders have none."""

import pytest
from checked_folders import (
    CocoFolder,
    VocFolder,
    check,
    encoded,
    found,
    picture,
    thing,
)
from faster_rcnn.datasets.catalog import load_dataset
from faster_rcnn.datasets.checks.dataset_files import find_sources
from faster_rcnn.datasets.checks.entries import KINDS
from faster_rcnn.datasets.checks.fix import write_cleaned
from faster_rcnn.datasets.checks.run_checks import Training
from faster_rcnn.datasets.loading.images import read_image


@pytest.fixture
def voc(tmp_path):
    return VocFolder(tmp_path / "own")


@pytest.fixture
def coco(tmp_path):
    return CocoFolder(tmp_path / "own")


def test_clean_folders(voc, tmp_path):
    coco = CocoFolder(tmp_path / "coco")
    for folder, splits in (
        (voc, {"train": 4, "test": 2}),
        (coco, {"train": 3, "val": 1}),
    ):
        report = check(folder.root)
        assert report.defects == [] and report.verdict == "fine"
        assert report.splits == splits
    assert check(voc.root).classes == ["cell"]
    assert check(coco.root).classes == ["cell", "other"]


def missing_image(voc):
    voc.image_path("a").unlink()
    return voc.image_path("a"), "No such file"


def missing_annotation(voc):
    voc.annotation_path("a").unlink()
    return voc.annotation_path("a"), "listed in train"


def truncated_image(voc):
    data = voc.image_path("a").read_bytes()
    voc.image("a", data[: len(data) // 2])
    return voc.image_path("a"), "cut short"


def no_image(voc):
    voc.image("a", b"hello")
    return voc.image_path("a"), "5 bytes that no decoder recognises"


def empty_image(voc):
    voc.image("a", b"")
    return voc.image_path("a"), "an empty file"


def broken_xml(voc):
    voc.annotation_path("a").write_text("<annotation>")
    return voc.annotation_path("a"), "no element found"


def other_xml(voc):
    voc.annotation_path("a").write_text("<kml/>")
    return voc.annotation_path("a"), "<kml>"


def no_number(voc):
    voc.annotate("a", thing(), thing(box=("x", 1, 2, 3)))
    return voc.annotation_path(
        "a"
    ), "object 2: expected a number in <bndbox/xmin>, found 'x'"


def no_name(voc):
    voc.annotate("a", thing(), thing(name=" ", box=(1, 1, 9, 9)))
    return voc.annotation_path(
        "a"
    ), "object 2: expected <name>, found none or an empty one"


def listed_twice(voc):
    return voc.list("train", "abcda"), "line 5: a once more"


def wrong_size(voc):
    voc.annotate("a", thing(), size=(60, 80))
    detail = "60 x 80 in the annotation, 80 x 60 in the file (swapped)"
    return voc.image_path("a"), detail


def grey_image(voc):
    voc.image("a", encoded(picture(0)[..., 0]))
    return voc.image_path("a"), "3 in the annotation, 1 in the file"


def transparent_image(voc):
    voc.image_path("a").unlink()
    pixels = picture(0)
    voc.image("a", encoded(pixels[..., [0, 1, 2, 0]], "png"), "png")
    return voc.image_path("a", "png"), "3 in the annotation, 4 in the file"


def turned_image(voc):
    voc.image("a", encoded(picture(0), orientation=6))
    detail = "orientation 6, stored 80 x 60, annotated on the picture as"
    return voc.image_path("a"), detail


def half_turn(voc):
    voc.image("a", encoded(picture(0), orientation=3))
    return voc.image_path("a"), "orientation 3, stored 80 x 60, annotated on the pict"


def turned_annotation(voc):
    voc.image("a", encoded(picture(0), orientation=6))
    voc.annotate("a", thing(box=(5, 65, 50, 75)), size=(60, 80))
    return voc.image_path("a"), "annotated on the turned picture"


def box_kind(box, detail, extra=()):
    def make(voc):
        voc.annotate("a", thing(), *extra, thing(box=box))
        return voc.annotation_path("a"), detail

    return make


def class_of_the_test_split(voc):
    voc.annotate("e", thing(), thing("stone", (1, 1, 9, 9)))
    return voc.annotation_path("e"), "'stone': 1 in test"


def misspelt_class(voc):
    voc.annotate("a", thing(), thing("Cells", (1, 1, 9, 9)))
    return voc.annotation_path("a"), "object 2: 'Cells' (1 x), is it 'cell' (6 x)?"


def leaked_bytes(voc):
    voc.image("b", voc.image_path("f").read_bytes())
    return voc.image_path("b"), f"same bytes as {voc.image_path('f')} (train and test)"


def leaked_picture(voc):
    voc.image("b", encoded(picture(5), quality=60))
    detail = f"same picture as {voc.image_path('f')} (train and test)"
    return voc.image_path("b"), detail


def leaked_list(voc):
    voc.list("test", "efa")
    return voc.image_path("a"), "listed in train and test"


def twice_in_train(voc):
    voc.image("c", voc.image_path("a").read_bytes())
    return voc.image_path("c"), f"same bytes as {voc.image_path('a')} (train)"


def no_objects(voc):
    voc.annotate("a")
    return voc.image_path("a"), "no object"


def unlisted(voc):
    voc.annotate("x", thing())
    return voc.annotation_path("x"), "in no list"


DEFECTS = [
    ("missing image", missing_image),
    ("missing annotation", missing_annotation),
    ("unreadable image", truncated_image),
    ("unreadable image", no_image),
    ("unreadable image", empty_image),
    ("malformed annotation", broken_xml),
    ("malformed annotation", other_xml),
    ("malformed annotation", no_number),
    ("malformed annotation", no_name),
    ("repeated entry", listed_twice),
    ("wrong size", wrong_size),
    ("wrong channel count", grey_image),
    ("wrong channel count", transparent_image),
    ("stated EXIF rotation", turned_image),
    ("stated EXIF rotation", turned_annotation),
    ("EXIF rotation", half_turn),
    (
        "box with a NaN or infinite coordinate",
        box_kind(("nan", 1, 9, 9), "cell 2: (nan, 1, 9, 9)"),
    ),
    ("inverted box", box_kind((20, 1, 9, 9), "cell 2: (20, 1, 9, 9)")),
    ("zero-area box", box_kind((9, 1, 9, 9), "cell 2: (9, 1, 9, 9) in 80 x 60")),
    ("box outside the image", box_kind((81, 1, 90, 9), "(81, 1, 90, 9) in 80 x 60")),
    ("clipped box", box_kind((70, 1, 82, 9), "(70, 1, 82, 9) in 80 x 60")),
    ("duplicate box", box_kind((11, 11, 40, 40), "cell 2: (11, 11, 40, 40)")),
    ("class without training example", class_of_the_test_split),
    ("misspelt class", misspelt_class),
    ("leakage between splits", leaked_bytes),
    ("leakage between splits", leaked_picture),
    ("leakage between splits", leaked_list),
    ("duplicate image", twice_in_train),
    ("image without objects", no_objects),
    ("unlisted image", unlisted),
]


@pytest.mark.parametrize(("kind", "make"), DEFECTS)
def test_each_defect_alone(voc, kind, make):
    file, detail = make(voc)
    named = [one for one in found(voc.root) if one[0] != "image without objects"]
    if kind == "image without objects":
        named = found(voc.root)
    ((found_kind, found_file, found_detail),) = named
    assert (found_kind, found_file) == (kind, file)
    assert detail in found_detail
    expected = "will train, but look" if KINDS[kind].look else "fine"
    assert check(voc.root).verdict == expected


def needs_a_person(kind):
    return kind == "class without training example"


@pytest.mark.parametrize(
    ("kind", "make"),
    [(kind, make) for kind, make in DEFECTS if not needs_a_person(kind)],
)
def test_cleaned_copy_passes_and_source_stays(voc, tmp_path, kind, make):
    make(voc)
    before = {p: p.read_bytes() for p in voc.root.rglob("*") if p.is_file()}
    counts = write_cleaned(check(voc.root), tmp_path / "copy", alike="picture")
    after = {p: p.read_bytes() for p in voc.root.rglob("*") if p.is_file()}
    assert after == before
    copy = check(tmp_path / "copy")
    assert copy.verdict == "fine", [d.detail for d in copy.defects]
    assert copy.splits == counts and sum(counts.values()) >= 5
    if KINDS[kind].action != "image":
        # Only what is at fault is gone.
        lost = KINDS[kind].action == "object" and make not in (broken_xml, other_xml)
        objects = sum(len(e.objects) for e in copy.entries if e.splits)
        before_it = sum(len(e.objects) for e in check(voc.root).entries if e.splits)
        unread = kind == "malformed annotation"
        assert objects == before_it - (1 if lost and not unread else 0)
    for split in ("train", "test"):
        assert load_dataset(str(tmp_path / "copy"), root=tmp_path, split=split).records


def test_channels_as_written_are_right(voc):
    voc.image("a", encoded(picture(0)[..., 0]))
    voc.annotate("a", thing(), depth=1)
    assert found(voc.root) == []
    voc.annotate("a", thing(), depth="")  # not written
    assert found(voc.root) == []


def test_channels_of_coco(coco):
    image = coco.root / "images" / "1.jpg"
    image.write_bytes(encoded(picture(1)[..., 0]))
    assert found(coco.root) == []  # as in COCO itself, which has gray images
    coco.tables["train"]["images"][0]["depth"] = 3
    coco.write()
    ((kind, file, detail),) = found(coco.root)
    assert (kind, file) == ("wrong channel count", image)
    assert detail == "3 in the annotation, 1 in the file"


def test_boxes_in_shares_of_the_image(voc):
    voc.annotate("a", thing(box=(0.1, 0.2, 0.5, 0.6)))
    assert [kind for kind, *_ in found(voc.root)] == ["box of a pixel or less"]
    assert len(check(voc.root).coverage.overlaps) == 5


def test_what_training_says_decides(voc):
    def verdict(**training):
        report = check(voc.root, training=Training(**training))
        return report.verdict, [(d.kind, d.detail) for d in report.defects]

    assert verdict() == ("fine", [])
    assert verdict(concerns=["hm"]) == (
        "will train, but look",
        [("training warns", "hm")],
    )
    assert verdict(refusals=["no"]) == ("cannot train", [("training refuses", "no")])


def test_two_classes_on_one_box(voc):
    voc.annotate("a", thing(), thing("stone"))
    ((kind, _, detail),) = found(voc.root)
    assert kind == "box of two classes" and detail.endswith("also cell")
    assert check(voc.root).verdict == "fine"
    voc.annotate("a", thing(), thing("stone"), thing("stone"))
    assert [kind for kind, *_ in found(voc.root)] == [
        *("duplicate box", "box of two classes")
    ]


def test_turned_picture_is_upright_in_the_copy(voc, tmp_path):
    pixels = picture(0)
    voc.image_path("a").unlink()
    voc.image("a", encoded(pixels, "png", orientation=6), "png")
    voc.annotate("a", thing(box=(5, 65, 50, 75)), size=(60, 80))
    write_cleaned(check(voc.root), tmp_path / "copy")
    (entry, *_) = check(tmp_path / "copy").entries
    assert entry.image_id == "a" and entry.size == (60, 80)
    assert entry.objects[0].box == (4, 64, 50, 75)
    # Orientation 6 is corrected by a quarter turn clockwise.
    copied = read_image(entry.path)
    assert (copied == pixels[::-1].transpose(1, 0, 2)).all()


def test_drops_of_the_records_agree(voc):
    boxes = [("nan", 1, 9, 9), (20, 1, 9, 9), (9, 1, 9, 9), (81, 1, 90, 9)]
    boxes += [(70, 1, 82, 9), (-5, 1, 9, 9), (0, 0, 80, 60), (60, 61, 90, 90)]
    voc.annotate("a", *(thing(box=box) for box in boxes))
    drops = load_dataset(str(voc.root), root=voc.root, split="train").drops
    assert check(voc.root).kinds == dict(drops)


def test_trainval_may_hold_train_and_val(voc):
    voc.list("trainval", "abcd")
    voc.list("train", "ab")
    voc.list("val", "cd")
    assert found(voc.root) == []
    voc.list("val", "bcd")
    ((kind, file, detail),) = found(voc.root)
    assert (kind, file) == ("leakage between splits", voc.image_path("b"))
    assert detail == "listed in train and val"


def test_coco_defects(coco, tmp_path):
    coco.add("train", 1, [5, 5, 0, 9])
    coco.add("train", 1, [70, 5, 30, 9])
    coco.add("train", 2, [10, 10, 30, 30])
    coco.add("train", 2, [1, 1, 5, 5], category=3)
    coco.add("train", 99, [1, 1, 5, 5])
    coco.tables["val"]["images"].append({"id": 5, "file_name": "5.jpg"})
    coco.tables["val"]["images"].append({"id": 6, "file_name": "1.jpg"})
    coco.write()
    train, val = coco.path("train"), coco.path("val")
    named = {(kind, file) for kind, file, _ in found(coco.root)}
    assert named == {
        ("missing image", coco.root / "images" / "5.jpg"),
        ("leakage between splits", coco.root / "images" / "1.jpg"),
        ("unknown class", train),
        ("zero-area box", train),
        ("clipped box", train),
        ("duplicate box", train),
        ("annotation without image", train),
        ("image without objects", coco.root / "images" / "5.jpg"),
        ("image without objects", coco.root / "images" / "1.jpg"),
    }
    text = val.read_text()
    assert write_cleaned(check(coco.root), tmp_path / "copy") == {"train": 2, "val": 2}
    assert val.read_text() == text
    copy = check(tmp_path / "copy")
    assert copy.verdict == "fine"
    assert [len(e.objects) for e in copy.entries] == [1, 1, 1, 0]
    records = load_dataset(str(tmp_path / "copy"), root=tmp_path, split="train").records
    assert [record.image_id for record in records] == ["2", "3"]


def test_coco_clipped_and_renamed_in_the_copy(coco, tmp_path):
    coco.tables["train"]["categories"].append({"id": 9, "name": "Cell"})
    coco.add("train", 1, [70, 5, 30, 9], category=9)
    write_cleaned(check(coco.root), tmp_path / "copy")
    (first, *_) = check(tmp_path / "copy").entries
    assert [w.name for w in first.objects] == ["cell", "cell"]
    assert first.objects[1].box == (70, 5, 80, 14)


def test_coco_ids_as_text_stay_in_the_copy(coco, tmp_path):
    tables = coco.tables["train"]
    for table, key in (("images", "id"), ("annotations", "image_id")):
        for row in tables[table]:
            row[key] = str(row[key])
    coco.write()
    write_cleaned(check(coco.root), tmp_path / "copy")
    copy = check(tmp_path / "copy")
    assert copy.verdict == "fine"
    assert [len(entry.objects) for entry in copy.entries] == [1, 1, 1, 1]


@pytest.mark.parametrize("text", ["{", "[]", '{"images": 3}'])
def test_file_that_is_not_cocos(coco, text):
    coco.path("val").write_text(text)
    named = {(kind, file) for kind, file, _ in found(coco.root)}
    assert named == {("malformed annotation", coco.path("val"))}


def test_an_empty_split_fails(voc):
    path = voc.list("test", "")
    voc.list("train", "abcdef")
    assert found(voc.root) == [("empty split", path, "no image in test")]
    assert check(voc.root).verdict != "fine"


def test_an_empty_split_of_coco_fails(coco):
    coco.tables["val"] = {"images": [], "annotations": [], "categories": []}
    coco.write()
    assert found(coco.root) == [("empty split", coco.path("val"), "no image in val")]
    # A file that cannot be read has one defect, not two.
    coco.path("val").write_text("{")
    ((kind, file, detail),) = found(coco.root)
    assert (kind, file) == ("malformed annotation", coco.path("val"))
    assert detail.startswith("expected COCO annotations, cannot read it")


def test_devkit_has_the_published_classes(tmp_path):
    folder = VocFolder(tmp_path / "VOCdevkit" / "VOC2007")
    for stem in "abcdef":
        folder.annotate(stem, thing("dog"))
    folder.annotate("a", thing("dogs"), thing("stone", (1, 1, 9, 9)))
    folder.annotate("x", thing("rock"))  # in no list, as most of a published set
    ((one, *_), (other, *_)) = found(tmp_path / "VOCdevkit")
    assert (one, other) == ("unknown class", "misspelt class")
    # Of both years, the first is what a run trains on.
    later = VocFolder(tmp_path / "VOCdevkit" / "VOC2012")
    assert len(check(tmp_path / "VOCdevkit").entries) == 6 and later.root.is_dir()
    write_cleaned(check(tmp_path / "VOCdevkit"), tmp_path / "copy")
    copy = load_dataset(str(tmp_path / "copy"), root=tmp_path, split="train")
    assert len(copy.records) == 4 and len(copy.classes) == 21


def test_copy_is_refused_in_the_source_and_over_files(voc, tmp_path):
    report = check(voc.root)
    for place in (voc.root / "copy", voc.root):
        with pytest.raises(ValueError, match=r"expected (a place|an empty or)"):
            write_cleaned(report, place)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(ValueError, match="found files in it"):
        write_cleaned(report, tmp_path / "full")
    assert sorted(p.name for p in voc.root.iterdir()) == [
        *("Annotations", "ImageSets", "JPEGImages")
    ]


def test_pictures_from_elsewhere_are_kept_by_their_names(coco, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    for seed, name in enumerate(("x.png", "1.jpg"), start=20):
        (outside / name).write_bytes(encoded(picture(seed), name[-3:]))
    first, second, _ = coco.tables["train"]["images"]
    first["file_name"] = "../../outside/x.png"
    second["file_name"] = str(outside / "1.jpg")
    coco.tables["val"]["images"].append({"id": 9, "file_name": "1.jpg"})
    coco.write()
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    copy = tmp_path / "a" / "b" / "copy"
    write_cleaned(check(coco.root), copy)
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert before.items() <= after.items()
    assert all(p in before or copy in p.parents for p in after)
    cleaned = {entry.image_id: entry.path for entry in check(copy).entries}
    assert check(copy).verdict == "fine"
    for entry in check(coco.root).entries:
        path = cleaned[entry.image_id]
        assert path.resolve().is_relative_to(copy)
        assert path.read_bytes() == entry.path.read_bytes()


def test_a_name_that_leads_out_is_refused(voc, tmp_path):
    voc.image("../../x", encoded(picture(30)))
    voc.annotate("../../x", thing())
    voc.list("train", ["a", "../../x"])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="leads out of it"):
        write_cleaned(check(voc.root), tmp_path / "copy")
    assert sorted(tmp_path.rglob("*")) == before


def test_joined_sets_do_not_replace_each_other_s_files(tmp_path):
    ours, theirs = (CocoFolder(tmp_path / name) for name in "ab")
    report = check(f"{ours.root}+{theirs.root}")
    with pytest.raises(ValueError, match="in two of the joined data sets"):
        write_cleaned(report, tmp_path / "copy")


@pytest.mark.parametrize(
    ("alike", "kept"), [("bytes", 9), ("picture", 8), ("similar", 1)]
)
def test_a_fixed_camera_loses_equal_files_only(voc, tmp_path, alike, kept):
    scene = picture(7, (320, 240))
    for number, stem in enumerate("abcdefgh"):
        frame, x = scene.copy(), 20 + 30 * number
        frame[100:112, x : x + 12] = 255 - frame[100:112, x : x + 12]
        voc.image(stem, encoded(frame))
        box = (x + 1, 101, x + 12, 112)
        voc.annotate(stem, thing(box=box), size=(320, 240))
    voc.image("i", encoded(frame, quality=60))  # h stored again
    voc.image("j", voc.image_path("h").read_bytes())
    for stem in "ij":
        voc.annotate(stem, thing(box=box), size=(320, 240))
    voc.list("train", "abcdeghij")
    voc.list("test", "f")
    kinds = check(voc.root).kinds
    assert kinds == {
        "duplicate image": 2,
        "near-duplicate across splits": 7,
    }
    counts = write_cleaned(check(voc.root), tmp_path / "copy", alike=alike)
    assert sum(counts.values()) == kept


def test_no_data_set(tmp_path):
    with pytest.raises(ValueError, match="VOC layout"):
        check(tmp_path)
    with pytest.raises(ValueError, match="unknown data set 'vco'"):
        find_sources(["vco"], root=tmp_path)
    for name in ("voc_2007_test", "coco_2017_val"):
        with pytest.raises(ValueError, match="not found"):
            find_sources([name], root=tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "mine.json").touch()
    with pytest.raises(ValueError, match="instances_train"):
        check(tmp_path)

"""Exports of other tools are recognised, split and read as their owners have them."""

import json
import shutil

import cv2
import numpy as np
import pytest
from faster_rcnn.cli.command_line import apply_split
from faster_rcnn.config.settings import Config, DataConfig
from faster_rcnn.datasets.catalog import load_dataset, validation_set
from faster_rcnn.datasets.checks.dataset_files import find_sources
from faster_rcnn.datasets.exports.object_tables import find_tables
from faster_rcnn.datasets.folders import choose_split, recognise
from faster_rcnn.datasets.origins import own_file, own_files

BOX = [4, 6, 24, 18]  # pixel edges, in pictures of 40 x 30
COUNT = 5


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    size = (40, 30)
    cv2.imwrite(str(path), cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST))


def pictures(folder, count=COUNT, start=0):
    names = [f"p{start + i}.png" for i in range(count)]
    for i, name in enumerate(names):
        picture(folder / name, start + i)
    return names


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def xml(path):
    corners = "<xmin>5</xmin><ymin>7</ymin><xmax>24</xmax><ymax>18</ymax>"
    thing = f"<object><name>cat</name><bndbox>{corners}</bndbox></object>"
    write(path, f"<annotation>{thing}</annotation>")


def coco(path, names):
    x1, y1, x2, y2 = BOX
    rows = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for i in range(len(names))
    ]
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    content = {"images": images, "annotations": rows}
    write(path, json.dumps({**content, "categories": [{"id": 1, "name": "cat"}]}))


def label(path):
    write(path, "0 0.35 0.4 0.5 0.4\n")


def labelimg(folder):
    for name in pictures(folder):
        xml(folder / name.replace("png", "xml"))


def kaggle_voc(folder):
    for name in pictures(folder / "images"):
        xml(folder / "annotations" / name.replace("png", "xml"))


def voc_without_lists(folder):
    for name in pictures(folder / "JPEGImages"):
        xml(folder / "Annotations" / name.replace("png", "xml"))


def voc_with_one_list(folder):
    voc_without_lists(folder)
    lines = "".join(f"p{i}\n" for i in range(COUNT))
    write(folder / "ImageSets" / "Main" / "train.txt", lines)


def roboflow_voc(folder):
    for split, count in (("train", 4), ("valid", 1)):
        for name in pictures(folder / split, count):  # p0 in both
            xml(folder / split / name.replace("png", "xml"))


def roboflow_coco(folder):
    for start, (split, count) in enumerate((("train", 4), ("valid", 1))):
        names = pictures(folder / split, count, 9 * start)
        coco(folder / split / "_annotations.coco.json", names)


def roboflow_darknet(folder):
    for start, (split, count) in enumerate((("train", 4), ("valid", 1))):
        write(folder / split / "_darknet.labels", "cat\n")
        for name in pictures(folder / split, count, 9 * start):
            label(folder / split / name.replace("png", "txt"))


def cvat_coco(folder):
    names = pictures(folder / "images" / "default")
    coco(folder / "annotations" / "instances_default.json", names)


def label_studio(folder):
    names = pictures(folder / "images")
    coco(folder / "result.json", [f"images\\{name}" for name in names])


def one_json(folder):
    coco(folder / "annotations" / "my cells.json", pictures(folder / "photos"))


def cvat_yolo(folder):
    names = pictures(folder / "obj_train_data")
    for name in names:
        label(folder / "obj_train_data" / name.replace("png", "txt"))
    write(folder / "obj.names", "cat\n")
    write(folder / "train.txt", "".join(f"data/obj_train_data/{n}\n" for n in names))
    lists = "train = data/train.txt\nnames = data/obj.names\n"
    write(folder / "obj.data", f"classes = 1\n{lists}backup = backup/\n")


def yolo_without_split(folder):
    write(folder / "classes.txt", "cat\n")
    for name in pictures(folder / "images"):
        label(folder / "labels" / name.replace("png", "txt"))


def labelimg_yolo(folder):
    write(folder / "classes.txt", "cat\n")
    for name in pictures(folder):
        label(folder / name.replace("png", "txt"))


def other_settings(folder):
    write(
        folder / "cells.yaml", "names: [cat]\ntrain: images\\train\nval: images/val\n"
    )
    for start, (split, count) in enumerate((("train", 4), ("val", 1))):
        for name in pictures(folder / "images" / split, count, 9 * start):
            label(folder / "labels" / split / name.replace("png", "txt"))


def csv_of_tensorflow(folder):
    rows = [f"{n},40,30,cat,4,6,24,18\n" for n in pictures(folder / "images")]
    head = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    write(folder / "labels.csv", head + "".join(rows))


def csv_of_shares(folder):
    rows = [f"{n[:-4]},cat,0.1,0.6,0.2,0.6\n" for n in pictures(folder / "train")]
    head = "ImageID,LabelName,XMin,XMax,YMin,YMax\n"
    write(folder / "boxes.csv", head + "".join(rows))


def csv_of_one_column(folder):
    rows = [f'{n[:-4]},40,30,"[4, 6, 20, 12]",cat\n' for n in pictures(folder / "jpg")]
    write(folder / "all.csv", "image_id,width,height,bbox,class\n" + "".join(rows))


def via(folder):
    shape = {"name": "rect", "x": 4, "y": 6, "width": 20, "height": 12}
    region = {"shape_attributes": shape, "region_attributes": {"kind": "cat"}}
    entries = {
        f"{n}123": {"filename": n, "size": 123, "regions": [region]}
        for n in pictures(folder)
    }
    write(folder / "via_region_data.json", json.dumps(entries))


def labelme(folder):
    for name in pictures(folder):
        points = [[4, 6], [24, 18]]
        shape = {"label": "cat", "shape_type": "rectangle", "points": points}
        content = {"shapes": [shape], "imagePath": f"..\\x\\{name}", "imageData": "aa"}
        write(folder / name.replace("png", "json"), json.dumps(content))


def kitti(folder):
    for name in pictures(folder / "image_2"):
        ends = "1.5 1.6 3.7 -16.5 2.4 58.5 -1.57"
        row = f"cat 0.00 0 -10 4.0 6.0 24.0 18.0 {ends}\nDontCare -1 -1 -10 1 1 2 2 "
        write(folder / "label_2" / name.replace("png", "txt"), f"{row}{ends}\n")


def visdrone(folder):
    for name in pictures(folder / "images"):
        text = "4,6,20,12,1,4,0,0\n1,1,5,5,0,0,0,0\n"
        write(folder / "annotations" / name.replace("png", "txt"), text)


def wider(folder):
    rows = [f"0--Parade/{n}\n1\n4 6 20 12 0 0 0 0 0 0 \n" for n in pictures(folder)]
    write(folder / "split" / "wider_face_train_bbx_gt.txt", "".join(rows))


EXPORTS = [
    *(labelimg, kaggle_voc, voc_without_lists, voc_with_one_list, roboflow_voc),
    *(roboflow_coco, roboflow_darknet, cvat_coco, label_studio, one_json, cvat_yolo),
    *(yolo_without_split, labelimg_yolo, other_settings, csv_of_tensorflow),
    *(csv_of_shares, csv_of_one_column, via, labelme, kitti, visdrone, wider),
]


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.__name__)
def test_an_export_is_read(tmp_path, export):
    folder = tmp_path / "images of mine"  # no place is confused with YOLO's images/
    export(folder)
    before = sorted(folder.rglob("*"))
    sets = {
        split: load_dataset(str(folder), root=tmp_path, split=split)
        for split in ("train", "val", "test")
    }
    counts = {split: len(found.records) for split, found in sets.items()}
    assert counts == {"train": 4, "val": 1, "test": 1}
    name = {"visdrone": "car", "wider": "face"}.get(export.__name__, "cat")
    for split, found in sets.items():
        assert found.name == f"images_of_mine_{split}"
        assert found.classes[1:] == (name,)
        for record in found.records:
            np.testing.assert_allclose(record.boxes, [BOX], atol=1e-4)
            assert record.path.resolve().is_relative_to(folder)
    paths = [{r.path.resolve() for r in sets[s].records} for s in ("train", "val")]
    assert not paths[0] & paths[1]
    assert validation_set(str(folder)) == str(folder)
    assert sorted(folder.rglob("*")) == before  # nothing is written beside the data
    sources = find_sources([str(folder)], root=tmp_path)
    assert {split for source in sources for split in source.splits} == {"train", "val"}


def splits_of(folder):
    return {
        record.image_id: split
        for split in ("train", "val", "test")
        for record in load_dataset(str(folder), root=folder, split=split).records
    }


def test_a_split_stays_when_images_are_added(tmp_path, caplog):
    labelimg(tmp_path)
    first = splits_of(tmp_path)
    assert "4 images are for training, 1 for validation and 0 for" in caplog.text
    caplog.clear()
    assert splits_of(tmp_path) == first and not caplog.text
    for name in pictures(tmp_path, 5, start=50):
        xml(tmp_path / name.replace("png", "xml"))
    second = splits_of(tmp_path)
    assert len(second) == 10 and first.items() <= second.items()
    assert list(second.values()).count("train") == 8


def test_images_that_look_the_same_stay_together(tmp_path):
    for i in range(12):
        path = tmp_path / f"frame{i}.png"
        picture(path, i // 4)  # three scenes of four frames
        xml(path.with_suffix(".xml"))
    found = splits_of(tmp_path)
    scenes = [{found[f"frame{i}"] for i in range(s, s + 4)} for s in (0, 4, 8)]
    assert all(len(scene) == 1 for scene in scenes)


def test_shares(tmp_path):
    for name in pictures(tmp_path, 10):
        xml(tmp_path / name.replace("png", "xml"))
    config = Config(data=DataConfig(split="0.6/0.2/0.2"))
    apply_split(str(tmp_path), config)
    found = {
        split: len(load_dataset(str(tmp_path), root=tmp_path, split=split).records)
        for split in ("train", "val", "test")
    }
    assert found == {"train": 6, "val": 2, "test": 2}
    for text in ("0.5/0.4", "1/0/0", "a/b", "0/1"):
        with pytest.raises(ValueError, match=rf"expected .*found '{text}'"):
            choose_split(tmp_path, text)
    own = tmp_path / "own"
    roboflow_voc(own)
    with pytest.raises(
        ValueError, match=r"own .XML.*: expected images without a split"
    ):
        choose_split(own, "0.5/0.5")


def test_labels_of_each_picture_are_all_read(tmp_path):
    write(tmp_path / "annotations" / "p0.txt", "4,6,20,12,1,4,0,0\n")
    picture(tmp_path / "images" / "p0.png", 0)
    for i in range(1, 205):
        for name in (f"annotations/p{i}.txt", f"images/p{i}.png"):
            first = tmp_path / name.replace(f"p{i}", "p0")
            shutil.copy(first, tmp_path / name)
    assert len(find_tables(tmp_path).files) == 2 * 205


def test_two_files_of_a_split(tmp_path):
    names = pictures(tmp_path / "images")
    for kind in ("instances", "person_keypoints"):
        coco(tmp_path / "annotations" / f"{kind}_train.json", names[:4])
    coco(tmp_path / "annotations" / "instances_train.json", names)
    assert len(splits_of(tmp_path)) == COUNT  # the instances
    coco(tmp_path / "annotations" / "my_train.json", names)
    with pytest.raises(ValueError, match=r"one file .*my_train.json and instances_tr"):
        recognise(tmp_path)


def test_images_before_annotations_in_a_long_file(tmp_path):
    one_json(tmp_path)
    file = tmp_path / "annotations" / "my cells.json"
    content = json.loads(file.read_text())
    content = {"images": content.pop("images"), "info": "x" * 70_000, **content}
    write(file, json.dumps(content))
    assert recognise(tmp_path).layout == "coco"


def test_notes_are_no_labels(tmp_path):
    pictures(tmp_path)
    write(tmp_path / "notes.txt", "photos, of cells\n0 -10 x\n")
    with pytest.raises(ValueError, match=r"found notes\.txt, p0\.png.*see docs"):
        recognise(tmp_path)


def test_faults_of_exports_name_the_file(tmp_path):
    csv_of_tensorflow(tmp_path / "a")
    path = tmp_path / "a" / "labels.csv"
    write(path, path.read_text() + "p1.png,40,30,cat,4,six,24,18\n")
    with pytest.raises(ValueError, match=r"labels\.csv: line 7: expected the numbers"):
        recognise(tmp_path / "a")
    via(tmp_path / "b")
    write(tmp_path / "b" / "via_region_data.json", '{"regions": [')
    with pytest.raises(ValueError, match=r"via_region_data\.json: expected VIA's JSON"):
        recognise(tmp_path / "b")
    write(
        tmp_path / "b" / "via_region_data.json",
        '{"a": {"regions": [{}], "filename": 1}}',
    )
    with pytest.raises(
        ValueError, match=r"region_data\.json: expected VIA's JSON, can"
    ):
        recognise(tmp_path / "b")
    labelimg(tmp_path / "c")
    for i in range(1, COUNT):
        shutil.copy(tmp_path / "c" / "p0.png", tmp_path / "c" / f"p{i}.png")
    with pytest.raises(
        ValueError, match=r"c .XML files.*found 5 images of which only 1 look"
    ):
        recognise(tmp_path / "c")


def test_messages_name_the_user_s_own_files(tmp_path):
    folder = tmp_path / "my cells"
    one_json(folder)
    links = recognise(folder).folder
    derived = links / "annotations" / "instances_train.json"
    original = folder / "annotations" / "my cells.json"
    assert own_file(derived) == original and derived.read_text() != ""
    image = links / "images" / "val" / "p 1.png"
    assert own_file(image) == folder / "photos" / "p 1.png"
    assert own_file(links) == folder and own_file(folder) == folder
    message = f"a: {derived}: bad, first: '{derived}' (in {links}); {folder}"
    expected = f"a: {original}: bad, first: '{original}' (in {folder}); {folder}"
    assert own_files(message) == expected

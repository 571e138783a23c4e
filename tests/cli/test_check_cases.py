"""What the check says of small data sets with a fault or a peculiarity each."""

import re

import pytest

CAT_4_1 = ("train: 4 images, val: 1 images", {"cat": "4 1"}, "fine")
CAT_DOG_4_1 = ("train: 4 images, val: 1 images", {"cat": "4 1", "dog": "0 0"}, "fine")
CAT_DOG_3_1 = ("train: 3 images, val: 1 images", {"cat": "3 1", "dog": "0 0"}, "fine")
CAT_3_1 = ("train: 3 images, val: 1 images", {"cat": "3 1"}, "fine")
LOOK, CANNOT = "will train, but look", "cannot train"

CASES = {
    "class_only_in_val": (
        ("train: 3 images, val: 1 images", {"cat": "3 0", "dog": "0 1"}, LOOK),
        "class without training example",
        "has no example of dog",
    ),
    "coco_all_without_objects": (
        ("train: 4 images, val: 1 images", {"cat": "0 0", "dog": "0 0"}, CANNOT),
        "instances_train.json: ",
        "found none in 4 images: none is annotated",
    ),
    "coco_boxes_as_shares": (
        ("train: 4 images, val: 4 images", {"cat": "4 4"}, CANNOT),
        "8 x box of a pixel or less",
        "shares of the image (0 to 1) in place of pixels?",
    ),
    "coco_iscrowd_text": (CAT_DOG_4_1, "of 5 objects"),
    "coco_label_studio_paths": (CAT_DOG_4_1,),
    "coco_no_annotation_id": (CAT_DOG_4_1,),
    "coco_no_categories": (
        ("train: 4 images, val: 1 images", {"1": "4 1"}, CANNOT),
        "instances_train.json: expected a list of objects under the key 'categories'",
    ),
    "coco_path_prefix": (CAT_DOG_4_1,),
    "coco_windows_separators": (
        ("train: 1 images, val: 1 images", {"cat": "1 1"}, LOOK),
        "images/train/sub/a.jpg: same bytes as",
    ),
    "csv_tensorflow": (
        None,
        "csv_tensorflow (a table of boxes (CSV))",
        "found 1 image;",
    ),
    "cvat_coco": (CAT_DOG_3_1, "has no split: 3 images are for training"),
    "cvat_yolo": (CAT_DOG_3_1, "has no split: 3 images are for training"),
    "difficult_unspecified": (  # 1 of 3 objects of each image is difficult
        ("train: 3 images, val: 1 images", {"cat": "9 3"}, "fine"),
        "of 8 objects",
    ),
    "fixed_camera": (
        ("train: 15 images, val: 5 images", {"ball": "15 5"}, "fine"),
        "near-duplicate across splits (warning)",
    ),
    "label_studio_coco": (CAT_DOG_3_1, "has no split: 3 images are for training"),
    "labelimg_flat": (CAT_3_1, "has no split: 3 images are for training"),
    "labelme_json": (
        ("train: 2 images, val: 1 images", {"cat": "2 1"}, "fine"),
        "labelme's JSON",
    ),
    "lfs_pointer": (
        ("train: 3 images, val: 1 images", {"cat": "3 1"}, LOOK),
        "img1.jpg: expected an image, found a Git LFS pointer in place of the picture; "
        "run: git lfs pull",
    ),
    "list_bom": (CAT_3_1,),
    "macos_sidecar_xml": (CAT_3_1,),
    "roboflow_coco": (
        (
            "train: 4 images, val: 1 images, test: 1 images",
            {"cat": "4 1 1", "dog": "0 0 0"},
            LOOK,
        ),
        "roboflow_coco/valid/im0.jpg: same bytes as",  # the user's file, not a link
    ),
    "roboflow_coco_placeholder": (CAT_4_1, "placeholder category without objects"),
    "roboflow_coco_same_name": (CAT_4_1, "placeholder category without objects"),
    "roboflow_darknet": (CAT_DOG_4_1,),
    "roboflow_voc": (CAT_3_1,),
    "size_wrong": (
        ("train: 3 images, val: 1 images", {"cat": "3 1"}, CANNOT),
        "4 x wrong size",
        "img0.jpg: 200 x 150 in the annotation, 96 x 72 in the file",
        "frcnn check --fix",
    ),
    "val_has_more_classes": (
        (
            "train: 4 images, val: 1 images",
            {"cat": "4 1", "dog": "0 0", "fox": "0 1"},
            CANNOT,
        ),
        "found 1 object of fox, first in",
        "1 x unknown class",
    ),
    "via_json": (None, "via_json (VIA's JSON)", "found 1 image;"),
    "voc_images_folder": (CAT_3_1,),
    "voc_no_lists": (CAT_3_1, "has no split: 3 images are for training"),
    "xml_gbk": (("train: 3 images, val: 1 images", {"安全帽": "3 1"}, "fine"),),
    "yolo_other_yaml_name": (CAT_DOG_4_1,),
    "yolo_windows_separators": (CAT_DOG_4_1,),
}
"""By case: splits, objects of each class by split, verdict (None: an error in place of
a report), and words that the check prints."""


def test_every_case_is_here(shared):
    folders = (shared / "cases" / "data").iterdir()
    assert {path.name for path in folders if path.is_dir()} == CASES.keys()


@pytest.mark.parametrize("case", CASES)
def test_case(shared, run_tool, tmp_path, monkeypatch, case):
    monkeypatch.setenv("FRCNN_INDEX", str(tmp_path / "index"))
    place, page = shared / "cases" / "data" / case, tmp_path / "page.html"
    status, out, err = run_tool("check_dataset", "--html", page, place)
    report, *phrases = CASES[case]
    printed = " ".join(f"{out} {err}".split())
    assert [words for words in phrases if words not in printed] == []
    if report is None:
        assert status == 2 and not out
        return
    splits, classes, verdict = report
    lines = out.splitlines()
    table = lines.index("", lines.index(splits)) + 2
    rows = lines[table : lines.index("", table)]
    count = splits.count(":")
    cells = [re.split(r"\s+", row.strip())[: count + 1] for row in rows]
    assert {name: " ".join(numbers) for name, *numbers in cells} == classes
    words = {"fine": "trains", LOOK: "trains; ", CANNOT: "cannot train: "}[verdict]
    assert lines[-1] == words if verdict == "fine" else lines[-1].startswith(words)
    assert status == {"fine": 0, LOOK: 1, CANNOT: 2}[verdict]
    assert str(tmp_path / "index") not in out  # messages name the user's own files

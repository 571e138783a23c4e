import json
import subprocess
import sys
import types
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
import torch
from faster_rcnn import Result
from faster_rcnn.datasets.formats.voc import read_voc
from faster_rcnn.datasets.mask_encoding import encode_masks
from faster_rcnn.datasets.records import KeypointNames
from faster_rcnn.evaluation.results import load_detections
from faster_rcnn.utils.drawing import class_color
from PIL import Image
from tiny_runs import CLASSES, make_dataset, make_record


def make_result(*detections, size=(40, 60), path=None, **fields):
    """A result of (x1, y1, x2, y2, score, label)."""
    rows = torch.tensor(detections, dtype=torch.float32).reshape(-1, 6)
    return Result(
        boxes=rows[:, :4].contiguous(),
        scores=rows[:, 4].contiguous(),
        labels=rows[:, 5].long(),
        size=size,
        path=path,
        class_names=CLASSES,
        **fields,
    )


BOX = (10.0, 5.0, 30.5, 20.0, 0.75, 1)
DISC = (0.0, 0.0, 60.0, 40.0, 0.5, 2)


def test_names_and_length():
    result = make_result(DISC, BOX, BOX)
    assert result.names == ["disc", "box", "box"]
    assert len(result) == 3 and len(make_result()) == 0 and make_result().names == []


def test_a_list_of_plain_values():
    expected = [
        {"box": [10.0, 5.0, 30.5, 20.0], "score": 0.75, "label": 1, "name": "box"},
        {"box": [0.0, 0.0, 60.0, 40.0], "score": 0.5, "label": 2, "name": "disc"},
    ]
    result = make_result(BOX, DISC)
    assert result.to_list() == expected == list(result)
    assert json.loads(json.dumps(result.to_list())) == expected
    assert make_result().to_list() == []


NAMES = KeypointNames(("head", "tail"), (), ((0, 1),))


def with_instances(*detections, size=(40, 60), **fields):
    """A result whose masks fill the left half of each box, with a limb of keypoints."""
    masks = np.zeros((len(detections), *size), np.bool_)
    points = []
    for mask, (x1, y1, x2, y2, *_) in zip(masks, detections, strict=True):
        mask[round(y1) : round(y2), round(x1) : round((x1 + x2) / 2)] = True
        points.append([[x1 + 1.5, y1 + 1.5, 0.9], [x2 - 0.5, y2 - 0.5, 0.01]])
    result = make_result(
        *detections,
        size=size,
        run_lengths=encode_masks(masks),
        keypoints=torch.tensor(points).reshape(-1, 2, 3),
        keypoint_names=NAMES,
        **fields,
    )
    return result, torch.from_numpy(masks)


def test_masks_and_keypoints():
    result, masks = with_instances(BOX, DISC)
    assert torch.equal(result.masks, masks) and result.masks is result.masks
    arrays = result.numpy()
    assert set(arrays) == {"boxes", "scores", "labels", "masks", "keypoints"}
    assert np.array_equal(arrays["masks"], masks)
    few = result.filter(classes=["disc"])
    assert torch.equal(few.masks, masks[1:]) and len(few.keypoints) == 1
    none = result.filter(0.99)
    assert none.masks.shape == (0, 40, 60) and none.keypoints.shape == (0, 2, 3)
    assert make_result(BOX).masks is None


def test_masks_and_keypoints_as_plain_values():
    result, masks = with_instances(BOX)
    (row,) = json.loads(json.dumps(result.to_list()))
    assert row["keypoints"][0] == pytest.approx([11.5, 6.5, 0.9])
    (coco,) = json.loads(json.dumps(result.to_coco(3)))
    assert coco["segmentation"] == row["mask"]
    # Whole numbers are the centres of pixels in COCO's files.
    assert coco["keypoints"] == pytest.approx([11, 6, 0.9, 29.5, 19, 0.01])
    assert np.array_equal(pycocotools.mask.decode(row["mask"]), masks[0])


def test_masks_and_keypoints_are_drawn():
    result, _ = with_instances(BOX)
    black = np.zeros((40, 60, 3), np.uint8)
    drawn = result.draw(black, labels=False, scores=False)
    boxes = make_result(BOX).draw(black, labels=False, scores=False)
    tinted = (drawn != boxes).any(2)
    assert tinted[6:18, 12:19].all() and not tinted[:, 32:].any()
    # The second keypoint scores too little for itself and its limb.
    assert not tinted[8:18, 22:29].any()
    bare = {"labels": False, "scores": False, "masks": False}
    assert not result.draw(black, **bare)[12, 18:24].any()
    assert result.draw(black, **bare, keypoint_threshold=0)[12, 18:24].any()


def test_it_cannot_be_changed():
    with pytest.raises(AttributeError):
        make_result(BOX).scores = torch.zeros(1)


def test_filter():
    result = make_result(BOX, DISC)
    assert result.filter().to_list() == result.to_list()
    assert result.filter(0.5).names == ["box"]  # a score must exceed it
    assert result.filter(0.4).names == ["box", "disc"]
    assert result.filter(classes=["disc"]).boxes.tolist() == [[0, 0, 60, 40]]
    assert result.filter(classes=("disc", "box")).names == ["box", "disc"]
    assert len(result.filter(0.6, ["disc"])) == 0 == len(result.filter(classes=[]))
    assert result.filter(0.6, ["disc"]).boxes.shape == (0, 4)
    assert result.names == ["box", "disc"]  # left as it was


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (["dics"], r"'dics' \(did you mean 'disc'\?\); .* knows box, disc"),
        (["__background__"], "unknown class '__background__'"),
        ("disc", r"a list of classes, found 'disc'; give \['disc'\]"),
        ([1], "unknown class 1"),
    ],
)
def test_unknown_classes(classes, told):
    with pytest.raises(ValueError, match=told):
        make_result(BOX).filter(classes=classes)


def test_arrays():
    arrays = make_result(BOX, DISC).numpy()
    assert {key: (array.shape, array.dtype) for key, array in arrays.items()} == {
        "boxes": ((2, 4), np.float32),
        "scores": ((2,), np.float32),
        "labels": ((2,), np.int64),
    }
    assert arrays["boxes"][0].tolist() == [10, 5, 30.5, 20]


def test_coco_rows():
    rows = make_result(BOX, DISC).to_coco(7)
    assert rows == [
        {"image_id": 7, "category_id": 1, "bbox": [10, 5, 20.5, 15], "score": 0.75},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 60, 40], "score": 0.5},
    ]
    assert make_result().to_coco("a") == []


def test_coco_category_ids():
    result = make_result(BOX, DISC)
    by_place = result.to_coco(7, (0, 18, 90))
    by_name = result.to_coco(7, {"box": 18, "disc": 90})
    assert [row["category_id"] for row in by_place] == [18, 90]
    assert by_name == by_place
    # What is not found needs none.
    only_box = result.filter(classes=["box"]).to_coco(7, {"box": 18})
    assert [row["category_id"] for row in only_box] == [18]
    with pytest.raises(ValueError, match=r"none of disc; add"):
        result.to_coco(7, {"box": 18})
    with pytest.raises(ValueError, match=r"expected 3 category ids.*found 2"):
        result.to_coco(7, [18, 90])


def test_coco_rows_read_back_by_the_evaluation(tmp_path):
    path = tmp_path / "a.png"
    dataset = make_dataset([make_record(path, 60, 40)])
    result = make_result(BOX, DISC)
    file = tmp_path / "detections.json"
    file.write_text(json.dumps(result.to_coco("a")))
    (entry,) = load_detections(file, dataset)
    np.testing.assert_array_equal(entry.boxes, result.boxes.numpy())
    np.testing.assert_array_equal(entry.scores, result.scores.numpy())
    np.testing.assert_array_equal(entry.classes, result.labels.numpy())


def test_voc_annotations_read_back(tmp_path):
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    path = tmp_path / "JPEGImages/a.png"
    Image.new("RGB", (60, 40)).save(path)
    result = make_result((10.2, 4.7, 30.6, 20.0, 0.9, 1), DISC, path=path)
    text = result.to_voc()
    assert "<xmin>11</xmin>" in text and "<xmax>31</xmax>" in text
    assert "<filename>a.png</filename>" in text and "<score>0.9</score>" in text
    (tmp_path / "Annotations/a.xml").write_text(text)
    (tmp_path / "ImageSets/Main/test.txt").write_text("a\n")
    record = read_voc(tmp_path, "test", name="a", classes=CLASSES[1:]).records[0]
    assert (record.width, record.height) == (60, 40)
    assert record.classes.tolist() == [1, 2]
    assert record.boxes.tolist() == [[10, 5, 31, 20], [0, 0, 60, 40]]


def test_a_voc_box_has_a_pixel_of_the_picture():
    result = make_result(
        (20.1, 20.2, 20.3, 20.4, 0.1, 2), (59.8, 39.9, 60.0, 40.0, 0.1, 1)
    )
    corners = ET.fromstring(result.to_voc()).findall("object/bndbox")
    assert [[int(c.text) for c in box] for box in corners] == [
        [21, 21, 21, 21],
        [60, 40, 60, 40],
    ]


def test_voc_annotation_of_nothing():
    text = make_result().to_voc()
    assert "<width>60</width>" in text and "<object>" not in text


def test_drawing():
    picture = make_result(BOX).draw(np.zeros((40, 60, 3), np.uint8), labels=False)
    assert picture.shape == (40, 60, 3)
    bare = make_result(BOX).draw(
        np.zeros((40, 60, 3), np.uint8), labels=False, scores=False
    )
    assert tuple(bare[5, 10]) == class_color(1) == tuple(bare[19, 29])
    assert not bare[6:19, 11:29].any() and not bare[:5].any()
    assert (picture != bare).any()  # the score


def test_drawing_on_the_file_turned_as_it_was_searched(tmp_path):
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[274] = 3
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20] = 200
    Image.fromarray(pixels).save(path, exif=exif)
    upright = make_result(path=path).draw()
    np.testing.assert_array_equal(upright, pixels[::-1])
    stored = make_result(path=path, exif=False).draw()
    np.testing.assert_array_equal(stored, pixels)


def test_drawing_needs_the_picture():
    with pytest.raises(ValueError, match=r"give the image: result\.draw\(image\)"):
        make_result(BOX).draw()
    with pytest.raises(ValueError, match=r"of 60 x 40 pixels.*found one of 40 x 60"):
        make_result(BOX).draw(np.zeros((60, 40, 3), np.uint8))


def test_conversion_to_supervision(monkeypatch):
    """With a stand-in; the package itself is not needed here."""
    module = types.ModuleType("supervision")
    module.Detections = types.SimpleNamespace
    monkeypatch.setitem(sys.modules, "supervision", module)
    found = make_result(BOX, DISC).to_supervision()
    assert found.xyxy.tolist() == [[10, 5, 30.5, 20], [0, 0, 60, 40]]
    assert found.confidence.tolist() == [0.75, 0.5]
    assert found.class_id.tolist() == [1, 2]
    assert found.data["class_name"].tolist() == ["box", "disc"]
    assert make_result().to_supervision().xyxy.shape == (0, 4)


def test_supervision_itself():
    supervision = pytest.importorskip("supervision")
    found = make_result(BOX, DISC).to_supervision()
    assert isinstance(found, supervision.Detections) and len(found) == 2
    assert found[found.class_id == 2].data["class_name"].tolist() == ["disc"]
    assert len(make_result().to_supervision()) == 0


def test_instances_for_supervision():
    supervision = pytest.importorskip("supervision")
    result, masks = with_instances(BOX, DISC)
    assert np.array_equal(result.to_supervision().mask, masks)
    points = result.to_supervision_keypoints()
    assert isinstance(points, supervision.KeyPoints) and len(points) == 2
    assert np.array_equal(points.xy, result.keypoints[..., :2])
    none, _ = with_instances()
    assert len(none.to_supervision()) == len(none.to_supervision_keypoints()) == 0
    with pytest.raises(ValueError, match="expected a detector of keypoints"):
        make_result(BOX).to_supervision_keypoints()


def test_without_supervision(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        make_result(BOX).to_supervision()


def test_the_package_is_light_until_a_detector_is_asked_for():
    code = (
        "import sys, faster_rcnn\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert {'Detector', 'Result'} <= set(dir(faster_rcnn))\n"
        "try: faster_rcnn.Detecter\n"
        "except AttributeError as error: print(error)\n"
    )
    folder = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True
    )
    assert done.stdout == "module 'faster_rcnn' has no attribute 'Detecter'\n", done

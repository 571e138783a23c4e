"""The report's files, and what is in them."""

import base64
import json
import logging
import re

import cv2
import numpy as np
import pytest
from balanced import Balanced
from faster_rcnn.evaluation.analysis.error_analysis import analyse_errors
from faster_rcnn.evaluation.page.gallery import image_gains, image_marks, worst_items
from faster_rcnn.evaluation.page.gallery_images import gallery_data, thumbnail
from faster_rcnn.evaluation.page.report import write_report
from faster_rcnn.evaluation.scoring import evaluate
from faster_rcnn.utils.pages.elements import running_command


def page_data(text):
    found = re.search(r"<script type=application/json id=data>(.*?)</script>", text)
    return json.loads(found[1])


def test_page(report):
    text = report.read_text()
    page = Balanced(text)
    assert all(link.startswith("#") for link in page.links)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "pets &lt;test&gt; &amp; co" in text and "<test>" not in text
    assert "prefers-color-scheme:dark" in text and "width=device-width" in text
    assert page.count["table"] == 7
    assert page.count["section"] == 7
    assert "&lt;best&gt;" in text and "test.nms" in text
    assert re.search("[012] of 2 classes differ by more than chance", text)


def test_files_beside_it(report):
    folder = report.parent
    plots = {path.stem for path in (folder / "plots").iterdir()}
    assert plots == {
        "pr_curves",
        "errors",
        "calibration",
        "by_size",
        "by_ratio",
        "confusion",
    }
    content = json.loads((folder / "errors.json").read_text())
    assert content["per_class"]["cat"]["errors"]["background"] == 1
    assert content["per_class"]["cat"]["errors"]["classification"] == 1


def test_items(tested):
    """The surest false detections of each class in turn, then the misses."""
    analysis = analyse_errors(tested.dataset, tested.detections, resamples=2)
    items = worst_items(analysis, most=20)
    assert [(i.image, i.category, i.kind) for i in items] == [
        (2, "cat", "classification"),
        (3, "dog", "background"),
        (1, "cat", "background"),
        (2, "dog", "missed"),
        (3, "cat", "missed"),
        (3, "dog", "missed"),
    ]
    assert items[0].mark.text == "cat 0.95, classification, IoU 1.00 with dog"
    assert items[2].mark.text == "cat 0.70, background, overlaps no object"
    texts = {i.mark.text for i in items if i.kind == "missed"}
    assert "dog, missed; nearest is cat 0.95, IoU 1.00" in texts
    few = worst_items(analysis, most=2)
    assert [i.kind for i in few] == ["classification", "missed"]


def test_marks(tested):
    analysis = analyse_errors(tested.dataset, tested.detections, resamples=2)
    marks = image_marks(analysis, [2])[0]
    assert [m.role for m in marks] == ["truth", "missed", "false", "true"]
    assert marks[3].text == "cat 0.90, true, IoU 1.00"
    assert marks[0].box == (20, 20, 120, 120)


def test_objects_that_do_not_count_are_not_missed(tested):
    for record in tested.dataset.records:
        record.difficult[:] = True
    analysis = analyse_errors(tested.dataset, tested.detections, resamples=2)
    assert "missed" not in {i.kind for i in worst_items(analysis, most=20)}
    roles = {m.role for marks in image_marks(analysis, range(4)) for m in marks}
    assert "ignored" in roles and "missed" not in roles


def test_gains(tested, found):
    before = analyse_errors(
        tested.dataset, [found(f"im{i}") for i in range(4)], resamples=2
    )
    after = analyse_errors(tested.dataset, tested.detections, resamples=2)
    assert image_gains(before, after).tolist() == [2, 2, 0, 0]
    assert image_gains(after, before).tolist() == [-2, -2, 0, 0]


def test_pictures(report):
    data = page_data(report.read_text())
    assert len(data["items"]) == 6
    assert {image["name"] for image in data["images"]} == {"im1", "im2", "im3"}
    assert len(data["changed"]) == 1 and "better by 2" in data["changed"][0]["text"]
    jpeg = np.frombuffer(base64.b64decode(data["images"][0]["jpeg"]), np.uint8)
    assert cv2.imdecode(jpeg, cv2.IMREAD_COLOR).shape == (320, 400, 3)
    assert data["images"][0]["size"] == [500, 400]


def test_small_pictures_stay_as_they_are():
    pixels = np.zeros((3, 500, 3), np.uint8)
    for side, wanted in ((900, (3, 500, 3)), (100, (1, 100, 3))):
        jpeg = np.frombuffer(base64.b64decode(thumbnail(pixels, side=side)), np.uint8)
        assert cv2.imdecode(jpeg, cv2.IMREAD_COLOR).shape == wanted


def test_a_missing_picture_is_left_out(tested, caplog):
    tested.dataset.records[2].path.unlink()
    analysis = analyse_errors(tested.dataset, tested.detections, resamples=2)
    with caplog.at_level(logging.WARNING):
        data = gallery_data(tested.dataset, worst_items(analysis, most=9), analysis)
    assert [item["kind"] for item in data["items"]].count("missed") == 2
    assert "lacks 1 of 3 images" in caplog.text and "im2.jpg" in caplog.text


def test_an_id_cannot_end_the_script(tested):
    name = "</script><b>"
    records = [*tested.dataset.records]
    object.__setattr__(records[3], "image_id", name)
    object.__setattr__(tested.detections[3], "image_id", name)
    data = tested.dataset.__class__(
        **{**vars(tested.dataset), "records": tuple(records)}
    )
    write_report(tested.folder, data, tested.detections, tested.evaluation, resamples=2)
    text = (tested.folder / "report.html").read_text()
    Balanced(text)
    assert name in {image["name"] for image in page_data(text)["images"]}


@pytest.mark.parametrize("images", [0, 1])
def test_nothing_to_show(tmp_path, record, dataset, found, images):
    data = dataset([record("a")] * images)
    entries = [found("a")] * images
    evaluation = evaluate(data, entries)
    write_report(tmp_path, data, entries, evaluation, resamples=2)
    text = (tmp_path / "report.html").read_text()
    Balanced(text)
    assert "has no value" in text  # the likely cause is told


def test_earlier_folder_without_detections(tested, tmp_path):
    with pytest.raises(
        ValueError, match=r"expected the detections\.json of an earlier test"
    ):
        write_report(
            tested.folder,
            tested.dataset,
            tested.detections,
            tested.evaluation,
            earlier=tmp_path / "nowhere",
        )
    assert not (tested.folder / "report.html").exists()


def test_the_header_tells_what_was_tested(report):
    header, _, rest = report.read_text().partition("</header>")
    assert "<h1>res18 on pets &lt;test&gt; &amp; co</h1>" in header
    assert "<dt>run</dt><dd>res18/&lt;mine&gt;</dd>" in header
    assert re.search(r"<dt>date</dt><dd>20\d\d-\d\d-\d\d \d\d:\d\d", header)
    assert "nothing" not in header  # a fact without a value
    last = rest.rindex("<section")
    assert rest[last:].startswith("<section id=settings>") and "test.nms" in rest[last:]
    assert "test.nms" not in rest[:last]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["/usr/bin/frcnn", "test", "a b"], "frcnn test 'a b'"),
        (["/x/tools/test_net.py", "voc"], "python tools/test_net.py voc"),
        (["/x/pytest", "voc"], ""),
    ],
)
def test_the_running_command(monkeypatch, words, command):
    monkeypatch.setattr("sys.argv", words)
    assert running_command() == command

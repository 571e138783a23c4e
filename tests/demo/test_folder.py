"""Whole runs into a folder: results, failures, stopping, going on."""

import json
import logging
import os
import signal

import cv2
import numpy as np
import pycocotools.mask
import pytest
from fake_detector import LIMB, FakeDetector
from faster_rcnn.demo.folder import checkpoint_settings, detect_into
from faster_rcnn.demo.run import DemoOptions
from faster_rcnn.demo.sources import find_items
from faster_rcnn.engine.stop_signals import Interrupted
from many_processes import start_process
from patience import PATIENCE
from PIL import Image

CAT = {"box": [0.0, 0.0, 10.0, 10.0], "score": 0.75, "label": 1, "name": "cat"}
SETTINGS = {"checkpoint": "a.pth"}


@pytest.fixture
def call(pictures, detector, caplog):
    """Runs over the pictures; gives whether it went well."""
    caplog.set_level(logging.INFO, logger="faster_rcnn")
    output = pictures.parent / "out"

    def run(source=pictures, *, settings=SETTINGS, out=None, exports=(), **options):
        items = find_items([str(source)], output=output)
        return detect_into(
            output,
            items,
            detector,
            settings=settings,
            options=DemoOptions(**options),
            out=out,
            exports=exports,
        )

    run.output = output
    return run


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def files(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    )


def test_pictures_and_the_lines(call, pictures):
    assert call()
    assert files(call.output) == [
        *(".lock", "a.jpg", "b.png", "demo.json", "detections.jsonl", "sub/c.jpg")
    ]
    first, *_ = found = lines(call.output / "detections.jsonl")
    assert [line["output"] for line in found] == ["a.jpg", "b.png", "sub/c.jpg"]
    assert first["source"] == str(pictures / "a.jpg")
    assert (first["width"], first["height"], first["detections"]) == (20, 10, [CAT])
    drawn = cv2.imread(str(call.output / "b.png"))
    assert drawn.shape == (10, 20, 3) and (drawn != 120).any()
    assert (cv2.imread(str(pictures / "b.png")) == 120).all()


def test_coco_results_of_all_tasks(call, pictures, detector, tmp_path):
    (pictures / "sub/c.jpg").rename(pictures / "sub/000000000042.jpg")
    detector.keypoints = LIMB
    out = tmp_path / "results" / "coco.json"
    for _ in range(2):  # from the records of the first run the second time
        assert call(drawn=False, out=out)
        rows = json.loads(out.read_text())
        assert [row["image_id"] for row in rows] == ["a.jpg", "b.png", 42]
        for row in rows:
            assert row["bbox"] == [0, 0, 10, 10] and row["category_id"] == 1
            mask = pycocotools.mask.decode(row["segmentation"])
            assert mask.shape == (10, 20) and mask[:, :5].all() and mask.sum() == 50
            assert row["keypoints"] == [1.5, 1.5, 1, 7.5, 7.5, 1]
    assert len(detector.seen) == 3
    assert call(threshold=0.9, drawn=False, out=out)
    assert json.loads(out.read_text()) == []


def test_table_of_all_boxes(call, pictures, tmp_path):
    (pictures / "b.png").rename(pictures / "b.bmp")
    out = tmp_path / "results.csv"
    assert call(drawn=False, out=out)
    head, *rows = out.read_text().splitlines()
    assert head.startswith("filename,width,height,class,score,xmin,ymin")
    assert rows == [
        f"{name},20,10,cat,0.75000,0.00,0.00,10.00,10.00"
        for name in ("a.jpg", "b.bmp", "sub/c.jpg")
    ]


def test_json(call):
    assert call(as_json=True, drawn=False)
    assert files(call.output) == [
        *(".lock", "a.jpg.json", "b.png.json", "demo.json", "detections.json"),
        *("detections.jsonl", "sub/c.jpg.json"),
    ]
    whole = json.loads((call.output / "detections.json").read_text())
    assert whole == lines(call.output / "detections.jsonl") and len(whole) == 3
    one = json.loads((call.output / "sub/c.jpg.json").read_text())
    assert one["detections"] == [CAT] and one["source"] == whole[2]["source"]


def test_threshold_and_classes(call):
    def names(**options):
        call(**options)
        found = lines(call.output / "detections.jsonl")[0]["detections"]
        return [each["name"] for each in found]

    assert names() == ["cat"]
    assert names(threshold=0.2) == ["cat", "dog <b>"]
    assert names(threshold=0.8) == []
    assert names(threshold=0.2, classes=["dog <b>"]) == ["dog <b>"]


def test_an_unknown_class_costs_nothing(call, detector):
    call()
    with pytest.raises(ValueError, match=r"unknown class 'dgo'"):
        call(classes=["dgo"])
    assert call() and len(detector.seen) == 3


def test_turned_pictures_are_upright(call, pictures):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (30, 20)).save(pictures / "t.jpg", exif=exif)
    call(pictures / "t.jpg")
    (line,) = lines(call.output / "detections.jsonl")
    assert (line["width"], line["height"]) == (20, 30)
    with Image.open(call.output / "t.jpg") as drawn:
        assert drawn.size == (20, 30) and 274 not in drawn.getexif()


def test_bad_files_are_named_at_the_end(call, pictures, detector, caplog):
    whole = (pictures / "a.jpg").read_bytes()
    (pictures / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (pictures / "text.jpg").write_text("no picture")
    (pictures / "none.png").touch()
    cv2.imwrite(str(pictures / "tiny.png"), np.zeros((1, 1, 3), np.uint8))
    (pictures / "none.mp4").touch()
    (pictures / "text.mkv").write_text("no video")
    assert not call(batch=3)
    assert len(lines(call.output / "detections.jsonl")) == 3
    bad = ["cut.jpg", "none.mp4", "none.png", "text.jpg", "text.mkv", "tiny.png"]
    named = (call.output / "failed.txt").read_text().splitlines()
    assert sorted(named) == [str(pictures / name) for name in bad]
    for name in bad[:-1]:
        assert f"{pictures / name}: expected" in caplog.text
    assert "6 failed; listed in" in caplog.text
    # They are tried again, alone; mended, they are forgotten.
    seen = len(detector.seen)
    for name in bad:
        (pictures / name).unlink()
    (pictures / "cut.jpg").write_bytes(whole)
    assert call() and len(detector.seen) == seen + 1
    assert not (call.output / "failed.txt").exists()


def test_names_at_the_limit_and_of_any_bytes(call, pictures, caplog):
    data = (pictures / "a.jpg").read_bytes()
    names = ["a" * 236, "b" * 251, "b" * 250 + "c", os.fsdecode(b"\xff"), "\x1b[31m\n!"]
    for name in names:
        (pictures / f"{name}.jpg").write_bytes(data)
    # A result of one picture cannot be written: where it would lie, there is a folder.
    (call.output / "b.png" / "taken").mkdir(parents=True)
    assert not call(as_json=True)
    found = lines(call.output / "detections.jsonl")
    assert len(found) == len({line["output"] for line in found}) == 7
    assert all((call.output / line["json"]).is_file() for line in found)
    assert f"{'a' * 236}.jpg" in [line["output"] for line in found]
    assert "b.png cannot be written" in caplog.text
    assert (call.output / "failed.txt").read_text() == f"{pictures / 'b.png'}\n"


def test_a_bad_name_of_a_video_is_its_own_fault(call, pictures, make_video):
    name = os.fsdecode(b"\xff.avi")
    make_video(pictures / "v.avi").rename(pictures / name)
    assert not call()
    assert len(lines(call.output / "detections.jsonl")) == 3
    failed = os.fsdecode((call.output / "failed.txt").read_bytes())
    assert failed == f"{pictures / name}\n"


def test_a_long_folder_is_resumed(call, pictures, detector, caplog):
    detector.before = lambda number: number == 1 and os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted, match="1 of 3 to do; the same command resumes"):
        call()
    assert files(call.output)[1:3] == ["a.jpg", "b.png"]
    detector.before = lambda number: None
    caplog.clear()
    assert call() and len(detector.seen) == 3
    assert "2 of 3 are in" in caplog.text and "3/3 100.0%" in caplog.text
    assert call() and len(detector.seen) == 3


def test_what_changed_is_done_again(call, pictures, detector):
    call()
    (call.output / "b.png").unlink()
    cv2.imwrite(str(pictures / "a.jpg"), np.zeros((12, 20, 3), np.uint8))
    call()
    assert len(detector.seen) == 5 and detector.seen[3:] == [(12, 20), (10, 20)]
    found = lines(call.output / "detections.jsonl")
    assert sorted(line["name"] for line in found) == ["a.jpg", "b.png", "sub/c.jpg"]
    assert call(as_json=True) and len(detector.seen) == 8
    assert call() and call(as_json=True) and len(detector.seen) == 8


@pytest.mark.parametrize(
    "other", [{"threshold": 0.6}, {"classes": ["cat"]}, {"settings": {"sha256": "1"}}]
)
def test_other_settings_make_all_anew(call, detector, caplog, other):
    call()
    call(**other)
    assert len(detector.seen) == 6 and "made anew" in caplog.text
    assert len(lines(call.output / "detections.jsonl")) == 3


def test_other_sources_keep_their_names(call, pictures, tmp_path):
    call()
    other = tmp_path / "other"
    other.mkdir()
    cv2.imwrite(str(other / "a.jpg"), np.zeros((12, 20, 3), np.uint8))
    before = (call.output / "a.jpg").read_bytes()
    assert call(other) and call(other)
    found = lines(call.output / "detections.jsonl")
    assert [line["name"] for line in found][3:] == ["a-2.jpg"]
    assert (call.output / "a.jpg").read_bytes() == before


@pytest.mark.parametrize(
    "torn", [b'{"source": "/x', b"\0\0\0\n", b"[1]\n", b'{"a": 1}']
)
def test_a_torn_line_is_taken_away(call, detector, torn):
    call()
    path = call.output / "detections.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert call() and len(detector.seen) == 3 and path.read_bytes() == whole
    path.write_bytes(whole[:-1])  # its newline is missing
    assert call() and len(detector.seen) == 4 and path.read_bytes() == whole


def killed_in_the_third(pictures, output):
    detector = FakeDetector()
    detector.before = lambda number: (
        number == 2 and os.kill(os.getpid(), signal.SIGKILL)
    )
    items = find_items([str(pictures)], output=output)
    detect_into(output, items, detector, settings=SETTINGS, options=DemoOptions())


@pytest.mark.processes
def test_kill_9_loses_nothing(call, pictures, detector):
    process = start_process(killed_in_the_third, pictures, call.output)
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL
    (call.output / ".unfinished").mkdir()
    (call.output / ".unfinished" / "video.mp4").touch()
    (call.output / "sub").mkdir(exist_ok=True)
    (call.output / "sub" / f".c.jpg.gone-1-{'0' * 32}.tmp").touch()
    os.utime(call.output / "sub" / f".c.jpg.gone-1-{'0' * 32}.tmp", (0, 0))
    assert call() and len(detector.seen) == 1
    assert not (call.output / ".unfinished").exists()
    assert files(call.output / "sub") == ["c.jpg"]
    assert len(lines(call.output / "detections.jsonl")) == 3


def test_a_failing_disk_is_reported_with_a_way_to_continue(call, caplog, monkeypatch):
    def fail(path, picture):
        raise OSError(28, "the disk is full")

    monkeypatch.setattr("faster_rcnn.demo.run.save_image", fail)
    with pytest.raises(OSError, match="disk is full"):
        call()
    assert "the same command resumes" in caplog.text


def test_a_folder_that_is_taken(call, pictures):
    call.output.write_text("a file")
    with pytest.raises(ValueError, match=r"out: expected a folder.*another --output"):
        call()


def test_batches(call, pictures, detector):
    call(batch=2)
    assert detector.together == [2, 1]


def test_settings_distinguish_checkpoints(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"abc")
    settings = checkpoint_settings(path, ["a.b", "1"])
    assert (
        settings["sha256"].startswith("ba7816bf")
        and settings["checkpoint"] == path.name
    )
    assert settings["overrides"] == ["a.b", "1"]


def test_show_needs_a_display(call, pictures, monkeypatch):
    items = find_items([str(pictures)], output=call.output)
    info = "  GUI:                           {}\n"
    for gui, display, problem in (
        ("NONE", ":0", "pip uninstall opencv-python-headless"),
        ("QT5", "", "neither DISPLAY nor WAYLAND_DISPLAY"),
    ):
        monkeypatch.setattr("cv2.getBuildInformation", lambda gui=gui: info.format(gui))
        monkeypatch.setenv("DISPLAY", display)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        monkeypatch.setattr("sys.platform", "linux")
        with pytest.raises(ValueError, match=problem):
            detect_into(
                call.output,
                items,
                FakeDetector(),
                settings={},
                options=DemoOptions(),
                show=True,
            )
    assert not call.output.exists()


def test_a_window_ends_the_run(call, pictures, detector, monkeypatch):
    """The window of this machine's OpenCV is replaced; it sees boxes, then q."""
    shown = []
    keys = iter([ord("x"), ord("q")])
    monkeypatch.setattr("faster_rcnn.demo.window.expect_display", lambda: None)
    for name, stand_in in {
        "namedWindow": lambda *_: None,
        "imshow": lambda title, picture: shown.append(picture),
        "waitKey": lambda delay: next(keys),
        "getWindowProperty": lambda *_: 1.0,
        "destroyAllWindows": lambda: shown.append("closed"),
        "WINDOW_NORMAL": 0,
        "WINDOW_KEEPRATIO": 0,
        "WND_PROP_VISIBLE": 4,
    }.items():
        monkeypatch.setattr(f"cv2.{name}", stand_in, raising=False)
    items = find_items([str(pictures)], output=call.output)
    with pytest.raises(Interrupted, match="1 of 3"):
        detect_into(
            call.output, items, detector, settings={}, options=DemoOptions(), show=True
        )
    assert shown.pop() == "closed" and len(shown) == 2
    np.testing.assert_array_equal(shown[1], cv2.imread(str(call.output / "b.png")))


def test_boxes_for_labelling_tools(call, pictures):
    (pictures / "t.tif").write_bytes((pictures / "b.png").read_bytes())
    assert call(exports=["cvat", "coco"])
    content = json.loads((call.output / "coco.json").read_text())
    names = [row["file_name"] for row in content["images"]]
    assert names == ["a.jpg", "b.png", "t.tif", "sub/c.jpg"]
    assert content["annotations"][0]["bbox"] == [0, 0, 10, 10]
    assert 'label="cat" source="auto"' in (call.output / "cvat.xml").read_text()

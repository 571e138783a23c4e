"""The page and the text hold what was found, and nothing from elsewhere."""

import base64
import re

import cv2
import numpy as np
import pytest
from balanced import Balanced
from checked_folders import VocFolder, check, encoded, thing
from faster_rcnn.datasets.checks.check_page import write_page
from faster_rcnn.datasets.checks.data_plots import bars, histogram, scatter
from faster_rcnn.datasets.checks.text import aligned, class_table, report_text
from faster_rcnn.datasets.checks.worst_images import worst_pictures


@pytest.fixture
def folder(tmp_path):
    folder = VocFolder(tmp_path / "a <b> & c")
    folder.annotate("a", thing(), thing("&lt;script&gt;", (1, 1, 1, 1)))
    folder.annotate("b", thing(), thing(box=(70, 1, 82, 9)))
    folder.annotate("c", thing(), thing(box=(9, 1, 9, 9)))
    return folder


def read(folder):
    return check(folder.root, "own <set>")


def test_page(folder, tmp_path):
    path = tmp_path / "pages" / "own.html"
    write_page(path, read(folder))
    text = path.read_text()
    page = Balanced(text)
    links = [link for link in page.links if not link.startswith("#")]
    assert all(link.startswith("data:image/jpeg;base64,") for link in links)
    assert "http" not in text
    assert page.count["svg"] == 6 and page.count["table"] == 3
    assert page.count["img"] == len(links) >= 3
    assert page.count["script"] == 1  # the class called so is written out
    assert "<h1>own &lt;set&gt;</h1>" in text
    verdict = "trains; 2 boxes left out; 1 box clipped"
    assert f"<b class=look>{verdict}</b>" in text
    assert "objects in train" in text and "what was found" in text
    assert str(folder.annotation_path("b")).replace("<b> &", "&lt;b&gt; &amp;") in text
    assert "prefers-color-scheme:dark" in text and "width=device-width" in text


def test_page_without_defects(tmp_path):
    folder = VocFolder(tmp_path / "own")
    write_page(tmp_path / "own.html", read(folder))
    text = (tmp_path / "own.html").read_text()
    assert "<b class=fine>trains</b>" in text and "None found." in text


def test_page_of_nothing(tmp_path):
    folder = VocFolder(tmp_path / "own")
    for stem in "abcdef":
        folder.image_path(stem).unlink()
        folder.annotation_path(stem).unlink()
    write_page(tmp_path / "own.html", read(folder))
    Balanced((tmp_path / "own.html").read_text())


def test_worst_pictures_take_turns(folder):
    report = read(folder)
    shown = list(worst_pictures(report, most=9))
    # Unknown class and zero area in a; zero area first met in a, then c; clipped in b.
    assert [s.title for s in shown[:3]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert any(remark.startswith("clipped box: ") for remark in shown[1].remarks)
    data = np.frombuffer(base64.b64decode(shown[1].jpeg), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert pixels.shape == (60, 80, 3) == (shown[1].height, shown[1].width, 3)
    assert len(list(worst_pictures(report, most=2))) == 2


def test_pictures_are_small(tmp_path):
    folder = VocFolder(tmp_path / "own")
    folder.image("a", encoded(np.zeros((720, 960, 3), np.uint8)))
    # A duplicate, so that it is red; its left edge, 200 of 960, becomes 100 of 480.
    folder.annotate("a", *[thing(box=(201, 201, 601, 601))] * 2, size=(960, 720))
    (shown,) = (s for s in worst_pictures(read(folder), most=9) if s.title == "a.jpg")
    assert (shown.width, shown.height) == (480, 360)
    data = np.frombuffer(base64.b64decode(shown.jpeg), np.uint8)
    red = cv2.imdecode(data, cv2.IMREAD_COLOR)[200, :, 2] > 100
    assert abs(int(np.flatnonzero(red)[0]) - 100) <= 2


def test_text(folder):
    text = report_text(read(folder), shown=1)
    assert text.startswith("own <set>\ntrain: 4 images, test: 2 images\n")
    assert "2 x zero-area box: no width or no height\n" in text
    assert "  and 1 more" in text
    assert f"  {folder.annotation_path('b')}: cell 2: (70, 1, 82, 9) in 80 x 60" in text
    assert text.endswith("\ntrains; 2 boxes left out; 1 box clipped")


def test_class_table(folder):
    head, first, second = class_table(read(folder))
    assert head[:4] == ["class", "train", "test", "images"]
    assert first[:4] == ["<script>", "1", "0", "1"] and first[4:] == [""] * 4
    assert second[:4] == ["cell", "6", "2", "6"]
    lines = aligned([["a", "bb"], ["ccc", "d"]])
    assert lines == ["a    bb", "ccc   d"]


def test_plots():
    svg = histogram([1, 1, 2, 4], label="a & b", marks=(2,), log=True, bins=2).svg()
    assert "a &amp; b" in svg and svg.count('class="f-bar"') == 2
    assert re.findall(r"<title>(\d+)</title></rect>", svg) == ["2", "2"]
    assert svg.count('class="s-mark"') == 1
    assert histogram([], label="x") is scatter([], [], label="x") is None
    assert bars([], [], label="x") is None
    assert "<svg" in histogram([3, 3], label="x").svg()
    assert scatter([1, 1, 2], [3, 3, 4], label="x").svg().count("<polygon") == 2
    assert bars(["a<"], [3], label="x").svg().count("a&lt;") == 1


def test_bars_of_whole_numbers():
    # One bar for each of 1 to 4, with round ticks; of 1 to 100, three numbers each.
    svg = histogram([1, 1, 3, 4], label="x", whole=True, bins=40).svg()
    assert re.findall(r"<title>(\d+)</title></rect>", svg) == ["2", "1", "1"]
    assert re.findall(r'">(\d+)</text>', svg)[:4] == ["1", "2", "3", "4"]
    svg = histogram([*range(1, 101)], label="x", whole=True, bins=40).svg()
    assert re.findall(r"<title>(\d+)</title></rect>", svg) == ["3"] * 33 + ["1"]

"""Drawings hold what they should, as SVG and as PNG."""

import re

import cv2
import numpy as np
from faster_rcnn.evaluation.analysis.breakdown import Group
from faster_rcnn.evaluation.analysis.error_analysis import analyse_errors
from faster_rcnn.evaluation.page.canvas import (
    COLORS,
    Box,
    Drawing,
    Line,
    Text,
    color_rules,
)
from faster_rcnn.evaluation.page.elements import Cell, table
from faster_rcnn.evaluation.page.matrix_plot import confusion_plot
from faster_rcnn.evaluation.page.plots import (
    curve_plot,
    error_plot,
    group_plot,
    reliability_plot,
    small_curve,
)

SHAPES = [
    Box(10, 10, 20, 10, "bad", title="a < b"),
    Line([(0, 40), (50, 40)], "good", 4),
    Line([(60, 10), (80, 10), (80, 30)], "bar", filled=True, opacity=0.5),
    Line([(0, 45), (100, 45)], "ink", 2, dashed=True),
    Text(60, 45, "x & y", bold=True),
]


def pixels(drawing):
    image = cv2.imdecode(np.frombuffer(drawing.png(), np.uint8), cv2.IMREAD_COLOR)
    return image[:, :, ::-1]


def rgb(name):
    return [int(COLORS[name][0][i : i + 2], 16) for i in (1, 3, 5)]


def test_svg():
    svg = Drawing("b & c", 100, 50, SHAPES).svg()
    assert svg.startswith(
        '<svg viewBox="0 0 100 50" role="img" aria-label="b &amp; c">'
    )
    assert '<rect class="f-bad" x="10" y="10" width="20" height="10">' in svg
    assert "<title>a &lt; b</title></rect>" in svg
    assert '<polyline class="s-good" points="0,40 50,40" stroke-width="4"/>' in svg
    assert 'opacity="0.5"' in svg and "x &amp; y" in svg
    for used in set(re.findall(r'class="([fs]-\w+)"', svg)):
        assert f".{used}{{" in color_rules()


def test_png():
    """Twice as large as said, with a margin of 8: (x, y) is at 2 (x + 8)."""
    image = pixels(Drawing("", 100, 50, SHAPES))
    assert image.shape == (132, 232, 3)
    assert image[2 * 23, 2 * 28].tolist() == rgb("bad")
    assert image[2 * 48, 2 * 30].tolist() == rgb("good")
    assert image[0, 0].tolist() == [255, 255, 255]
    half = (np.array(rgb("bar")) + 255) / 2
    assert np.abs(image[2 * 21, 2 * 85] - half).max() <= 2
    along = image[2 * 53, 16:216].astype(int).sum(axis=1) < 400
    share = along.mean()
    assert 0.4 < share < 0.75  # dashes of 5 with gaps of 4
    assert len(np.flatnonzero(np.diff(along.astype(int)))) >= 20


def test_curve_plots():
    flat, steps = np.ones(101), np.repeat([1.0, 0.0], [50, 51])
    svg = curve_plot({"cat": steps}, steps, flat).svg()
    assert svg.count("<title>cat</title>") == 1
    assert "mean, earlier test" in svg
    assert "earlier" not in curve_plot({"cat": steps}, steps, None).svg()
    # Level runs need two points: 4 of the steps, 2 of the flat one.
    points = re.findall(
        r'class="s-bar" points="([^"]+)"', small_curve("cat", steps, flat).svg()
    )
    assert len(points[0].split()) == 4
    assert small_curve("a<b", flat, flat).svg().count("a&lt;b") == 1


def test_error_plot(random_scene):
    errors = analyse_errors(*random_scene, resamples=2).errors
    svg = error_plot(errors, None).svg()
    assert f">{100 * errors.lost['missed']:.1f}<" in svg
    assert (
        svg.count("<rect") == 8
        and error_plot(errors, errors).svg().count("<rect") == 16
    )


def test_reliability_plot(random_scene):
    calibrated = analyse_errors(*random_scene, resamples=2).calibration
    svg = reliability_plot(calibrated).svg()
    used = np.count_nonzero(calibrated.counts)
    assert svg.count("<rect") == 2 * used > 8


def test_group_plot():
    groups = [Group(0, 1, 4, 0.25), Group(1, 2, 0, float("nan"))]
    svg = group_plot(groups, ["low", "high"], label="size").svg()
    assert "0.25" in svg and "no objects" in svg and svg.count("<rect") == 1


def test_confusion_plot():
    svg = confusion_plot(np.array([[0, 1], [2, 3]]), ["__background__", "a<b"]).svg()
    assert "a&lt;b taken for nothing: 2 (40%)" in svg
    assert "nothing taken for a&lt;b: 1 (100%)" in svg
    assert svg.count("<title>") == 3


def test_table():
    text = table(
        ["class", ("AP", "in & out")],
        [["a<b", 0.5], ["c", float("nan")], ["d", Cell("1 to 2", 1.0, "good", "x")]],
        name="all",
        foot=["mean", 3],
        by_class=True,
    )
    assert '<tr data-class="a&lt;b"><td>a&lt;b</td>' in text
    assert '<td class="n" data-v="0.5">0.5000</td>' in text
    assert '<td class="n" data-v="">-</td>' in text
    assert '<td class="n good" data-v="1" title="x">1 to 2</td>' in text
    assert '<th scope=col class=n><button type=button title="in &amp; out">' in text
    assert text.count("<tfoot><tr><td>mean</td>") == 1
    assert "<tbody></tbody>" in table(["a"], [], name="none")

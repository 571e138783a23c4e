"""Drawings hold what they should, as SVG and as PNG."""

import re

import cv2
import numpy as np
from faster_rcnn.utils.pages.canvas import COLORS, Box, Drawing, Line, Text, color_rules

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


def test_ornament():
    assert (
        Drawing("", 9, 5, []).svg() == '<svg viewBox="0 0 9 5" aria-hidden=true></svg>'
    )

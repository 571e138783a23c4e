import pytest
from faster_rcnn.utils.pages.axes import Axes, count_text, dot, round_ticks


def test_places_by_hand():
    axes = Axes((10, 20), (0, 4), 100, 60, left=20, right=10, top=5, bottom=15)
    assert axes.place(10, 0) == (20, 45) and axes.place(20, 4) == (90, 5)
    assert axes.place(15, 1) == (55, 35)
    bar = axes.bar(10, 15, 2, "two")
    assert (bar.x, bar.y, bar.width, bar.height) == (21, 25, 33, 20)
    assert dot(5, 5, "bar").points == [(2.5, 5), (5, 2.5), (7.5, 5), (5, 7.5)]


def test_frame():
    axes = Axes((0, 2), (0, 1))
    shapes = axes.frame("below", [(1, "one")], [(0, "0"), (1, "1")], title="all")
    texts = {s.text: s for s in shapes if hasattr(s, "text")}
    assert set(texts) == {"below", "one", "0", "1", "all"}  # nothing beside
    assert texts["one"].x == axes.place(1, 0)[0]
    svg = axes.drawing("a < b", shapes).svg()
    assert "a &lt; b" in svg and svg.count("<polyline") == 3


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-3, 12, [0, 5, 10]),
        (0, 70, range(0, 71, 10)),
    ],
)
def test_round_ticks(low, high, ticks):
    assert round_ticks(low, high) == pytest.approx([*ticks])


def test_counts():
    assert [count_text(n) for n in (0, 9999, 20000, 12345.0)] == [
        "0",
        "9999",
        "20k",
        "12k",
    ]

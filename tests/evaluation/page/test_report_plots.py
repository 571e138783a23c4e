"""The plots of the report hold what they should."""

import re

import numpy as np
from faster_rcnn.evaluation.analysis.breakdown import Group
from faster_rcnn.evaluation.analysis.error_analysis import analyse_errors
from faster_rcnn.evaluation.page.plots import (
    confusion_plot,
    curve_plot,
    error_plot,
    group_plot,
    reliability_plot,
    small_curve,
)


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
    assert "a&lt;b detected as background: 2 (40%)" in svg
    assert "background detected as a&lt;b: 1 (100%)" in svg
    assert svg.count("<title>") == 3

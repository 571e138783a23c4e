import io
import re

import numpy as np
import pytest
from faster_rcnn.evaluation.page.run_page import (
    line_style,
    quantities,
    quantity_plot,
    together,
    write_run_plots,
)
from faster_rcnn.utils.monitoring.curves import (
    Curve,
    RunCurves,
    differing_settings,
    read_runs,
)
from PIL import Image


def curve(iterations, values):
    return Curve(np.array(iterations), np.array(values, float))


def run(name, **curves):
    return RunCurves(name, {key: curve(*points) for key, points in curves.items()})


LONG = run(
    "long <run>",
    loss=(range(20, 2001, 20), np.linspace(3, 1, 100)),
    lr=(range(20, 2001, 20), np.full(100, 0.01)),
    gradient_norm=(range(20, 2001, 20), np.full(100, 9.0)),
    mAP=([1000, 2000], [0.25, 0.75]),
)
SHORT = run("short", loss=([20, 40, 60], [4, float("nan"), 2]), lr=([20], [0.02]))


def lines(plot, title):
    return [s for s in plot.shapes if getattr(s, "title", None) == title]


def test_losses_measurements_and_rate_are_drawn_by_default():
    assert quantities([LONG, SHORT]) == ["loss", "mAP", "lr"]
    names = ("val/AP_07/cat", "lr", "val/mAP_07", "val/rpn_box", "rpn_box", "rpn_fg")
    other = RunCurves("other", {name: curve([1], [1]) for name in names})
    assert quantities([other]) == ["rpn_box", "val/mAP_07", "val/rpn_box", "lr"]
    assert quantities([LONG], ["gradient_norm"]) == ["gradient_norm"]
    with pytest.raises(
        ValueError, match="no run has a curve 'los'; there are loss, lr"
    ):
        quantities([LONG], ["los"])


def test_points_by_hand():
    plot = quantity_plot("loss", [run("a", loss=([0, 50, 100], [0, 1, 2]))], window=0)
    line, *points = lines(plot, "a")
    assert len(points) == 3 and all(point.filled for point in points)
    (x0, y0), (x1, y1), (x2, y2) = line.points
    assert (y0 + y2) / 2 == pytest.approx(y1) and (x0 + x2) / 2 == pytest.approx(x1)
    assert y0 > y1  # upwards
    texts = {s.text: s for s in plot.shapes if hasattr(s, "text")}
    assert texts["0"] and texts["100"].x == pytest.approx(x2)
    assert texts["2"].y == pytest.approx(y2 + 4)
    assert texts["loss"].bold


def test_gap_where_a_value_is_not_finite():
    plot = quantity_plot("loss", [SHORT], window=0)
    assert len([s for s in lines(plot, "short") if not s.filled]) == 2


def test_settings_that_differ_are_named(tmp_path):
    for name, rate in (("slow", 0.01), ("fast", 0.1)):
        (tmp_path / name).mkdir()
        config = f"train:\n  lr: {rate}\n  epochs: null\nnet:\n  name: res18\n"
        (tmp_path / name / "config.yml").write_text(config)
        (tmp_path / name / "metrics.jsonl").write_text('{"iteration": 1, "loss": 1}\n')
    runs = read_runs([tmp_path / "slow", tmp_path / "fast"])
    assert differing_settings(runs) == {"train.lr": [0.01, 0.1]}
    _, page = write_run_plots(tmp_path / "curves", runs, window=0)
    text = page.read_text()
    assert "<td>train.lr</td>" in text and "net.name" not in text
    unknown = run("unknown", loss=([1], [1]))
    assert differing_settings([*runs, unknown]) == {"train.lr": [0.01, 0.1, ""]}


def test_runs_of_different_length_share_the_axes():
    plot = quantity_plot("loss", [LONG, SHORT], window=100)
    ends = {
        name: max(x for s in lines(plot, name) for x, _ in s.points)
        for name in ("long <run>", "short")
    }
    assert ends["short"] < 80 < 350 < ends["long <run>"]
    strong = [s for s in lines(plot, "long <run>") if s.opacity == 1]
    faint = [s for s in lines(plot, "long <run>") if s.opacity < 1]
    assert len(strong) == len(faint) == 1


@pytest.mark.parametrize(
    "values", [[0], [0, 0], [-5, -5], [float("nan")], [1e-9, 1e-9], [1e20, -1e20]]
)
def test_hard_values_are_drawn(values):
    plot = quantity_plot(
        "loss", [run("a", loss=(range(len(values)), values))], window=9
    )
    for shape in plot.shapes:
        for x, y in getattr(shape, "points", []):
            assert -1 <= x <= plot.width + 1 and -1 <= y <= plot.height + 1
    assert plot.png()


def test_outlier_does_not_flatten_a_curve():
    values = np.linspace(1, 2, 500)
    values[3] = 1e6
    plot = quantity_plot("loss", [run("a", loss=(range(500), values))], window=0)
    heights = [y for s in lines(plot, "a") for _, y in s.points]
    assert min(heights) >= 26  # cut at the frame
    assert max(heights) - heights[-1] > 80


def test_sixteen_runs_have_styles_of_their_own():
    assert len({line_style(place) for place in range(16)}) == 16


@pytest.mark.slow
def test_picture_and_page(tmp_path):
    picture, page = write_run_plots(tmp_path / "some.runs", [LONG, SHORT], window=100)
    assert [picture.name, page.name] == ["some.runs.png", "some.runs.html"]
    with Image.open(io.BytesIO(picture.read_bytes())) as image:
        plots = {n: quantity_plot(n, [LONG], window=0) for n in ("loss", "mAP", "lr")}
        whole = together(plots, ["a"])
        assert image.size == (round(2 * (whole.width + 16)), 2 * (whole.height + 16))
        assert len(np.unique(np.array(image).reshape(-1, 3), axis=0)) > 20
    text = page.read_text()
    assert "long &lt;run&gt;" in text and "<run>" not in text
    assert not re.search(r"(?:src|href)=|https?:", text)  # needs nothing else
    assert text.count("<svg") == 3 + 2  # plots and keys


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no losses to draw; name curves, such as x"):
        write_run_plots(tmp_path / "a", [run("a", x=([1], [1]))], window=0)


@pytest.mark.browser
def test_page_in_a_browser(tmp_path, browser):
    _, page = write_run_plots(tmp_path / "runs", [LONG, SHORT], window=100)
    found = browser.findings(
        page,
        """
        const shown = () => all("figure polyline").filter(
          line => line.textContent === "long <run>" && line.style.display !== "none");
        out.before = shown().length;
        const box = all("#runs input")[0];
        box.click();
        out.hidden = shown().length;
        out.others = all("figure polyline").filter(
          line => line.textContent === "short" && line.style.display === "none").length;
        box.click();
        out.again = shown().length;
        all("th button")[2].click();
        out.first = all("tbody td")[0].textContent;
        out.wide = document.documentElement.scrollWidth <= innerWidth;
        """,
    )
    assert browser.problems == []
    assert found["before"] == found["again"] > 3
    assert found["hidden"] == found["others"] == 0
    assert found["first"] == "short"  # its loss is the highest
    assert found["wide"]

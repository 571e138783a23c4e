"""How steps grow: what is computed, and what is made of the times."""

import json
import statistics
from dataclasses import replace

import pytest
import step_growth as growth
from test_step import tiny
from whole_step.processes import Links, model_processes


@pytest.mark.parametrize("law", growth.LAWS)
def test_a_law_changes_one_thing_alone(law):
    base = tiny("train", size=(96, 128))
    works = growth.works_of(law, base)
    amounts = [amount for amount, _ in works]
    assert amounts == sorted(set(amounts)) and len(amounts) > 2
    fields = {
        "pixels": "size",
        "images": "batch",
        "RoIs per image": "rois",
        "classes": "classes",
        "objects per image": "objects",
    }
    changed = fields[law]
    for _, work in works:
        assert replace(work, **{changed: getattr(base, changed)}) == base
    assert len({getattr(work, changed) for _, work in works}) == len(works)


def test_pixels_count():
    for pixels, work in growth.works_of("pixels", tiny(size=(600, 800))):
        assert work.size[0] * work.size[1] == pixels
        assert work.size[0] % 32 == work.size[1] % 32 == 0


def test_unknown_law():
    with pytest.raises(ValueError, match="expected one of pixels"):
        growth.works_of("moons", tiny())


@pytest.mark.slow
def test_measured_points_are_json():
    works = growth.works_of("objects per image", tiny())[:2]
    points = growth.measure_law(
        works, device="cpu", threads=0, repeats=1, limit=1, processes=False
    )
    assert [point["work"] for point in json.loads(json.dumps(points))] == [1, 8]
    assert all(point["seconds"][0] > 0 for point in points)


def points(*pairs):
    return [
        {"work": work, "seconds": [seconds], "peak_memory": 2 << 20}
        for work, seconds in pairs
    ]


def test_exponent_is_of_the_largest():
    assert growth.exponent(points((1, 5), (10, 1), (100, 100))) == pytest.approx(2)


def test_classes_are_compared():
    found = points((20, 1), (80, 2), (1203, 3))
    assert growth.class_ratio(found) == 1.5
    document = {
        "model": "res50",
        "machine": "some",
        "laws": {"classes": {"infer": found}},
        "modelled": model_processes(1.0, 0.5, 10**9),
    }
    text = growth.report(document)
    assert "1203 classes take 1.50 times as long as 80 (inference)." in text
    assert "| classes, inference | 1,203 | 3000 | 3.00 | 2 |" in text


def test_plot(tmp_path):
    laws = {
        "classes": {phase: points((20, 1), (80, 2)) for phase in ("train", "infer")},
        "processes": {"train": points((1, 1), (2, 2))},
    }
    growth.draw({"laws": laws}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


class TestModelledProcesses:
    LINKS = Links(machine=2, inside=10.0, between=1.0, latency=0.5)

    def test_by_hand(self):
        alone, two, four = model_processes(100.0, 6.0, 20, (1, 2, 4), self.LINKS)
        assert (alone["best"], alone["worst"]) == (100, 100)
        # Two on a machine: 2 * 1/2 * 20 bytes at 10 per second, hidden by 6 s.
        assert (two["best"], two["worst"]) == (100, 102)
        # Two machines: 2 * 1/2 * 20 / 2 bytes at 1 per second, 2 messages of 0.5 s.
        assert (four["best"], four["worst"]) == (107, 113)
        assert four["worst_efficiency"] == pytest.approx(100 / 113)

    def test_more_processes_are_never_faster(self):
        found = model_processes(0.2, 0.1, 160 * 10**6)
        assert [point["work"] for point in found][-1] == 512
        worst = [point["worst"] for point in found]
        assert worst == sorted(worst)
        assert all(point["best"] <= point["worst"] for point in found)
        assert statistics.median(p["best_efficiency"] for p in found) <= 1

"""Whole steps beside the peers: made-up times, and one repeat on tiny networks."""

import json
import statistics
from dataclasses import replace

import numpy as np
import pytest
import step
import torch
from reporting import write_between
from whole_step import peak, report
from whole_step.intervals import LEAST_ROUNDS, ratio_interval, time_until
from whole_step.measure import measure
from whole_step.models import Work, build_ours, build_torchvision, draw_batch
from whole_step.peak import measure_peaks
from whole_step.ways import build_step
from whole_step.workers import Setup, WayError, start

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")

TINY = (
    *("net.head_stride", "2", "pooling.size", "4", "anchors.scales", "[1,2]"),
    *("rpn.channels", "16", "rpn.batch_size", "32", "head.fc_channels", "32"),
    *("rpn.train_pre_nms", "150", "rpn.train_post_nms", "40"),
    *("rpn.test_pre_nms", "100"),
)
PEAKS = {"float32": 1e9, "bfloat16": 2e9}


def tiny(phase="train", model="mobile_v2", **fields):
    options = {"size": (64, 96), "rois": (8, 12), "classes": 3, "settings": TINY}
    return Work(model, phase, **{**options, **fields})


def measured(phase="train", ways=("ours-float32", "torchvision"), **options):
    given = {"processes": False, "repeats": 1, "until": 0.05, "limit": 1, **options}
    return measure(
        tiny(phase),
        ways,
        device="cpu",
        threads=0,
        keep_memory="none",
        peaks=PEAKS,
        **given,
    )


class TestRatioInterval:
    def test_of_times_that_never_vary(self):
        found = ratio_interval([3.0] * 8, [2.0] * 8)
        assert found == (1.5, 1.5, 1.5)
        assert found.width == 0

    def test_rounds_are_pairs(self):
        # Both are twice as slow in every other round: the ratio does not vary.
        ours = [1.0, 2.0] * 10
        found = ratio_interval([1.5 * seconds for seconds in ours], ours)
        assert found == (1.5, 1.5, 1.5)

    def test_holds_the_truth_in_95_percent(self):
        generator = np.random.default_rng(1)
        inside = 0
        for _ in range(200):
            ours, theirs = generator.lognormal(0, 0.1, (2, 25))
            found = ratio_interval(2 * theirs, ours, resamples=400)
            inside += found.low <= 2 <= found.high
        assert 0.88 < inside / 200 < 0.99

    @pytest.mark.parametrize("theirs, ours", [([], []), ([1.0], [1.0, 2.0])])
    def test_other_rounds_are_refused(self, theirs, ours):
        with pytest.raises(ValueError, match="same rounds"):
            ratio_interval(theirs, ours)


class TestTimeUntil:
    def test_turns_reverse(self):
        order = []

        def call(name):
            return lambda: order.append(name) or 1.0

        time_until({"a": call("a"), "b": call("b")}, until=0, limit=9, repeats=3)
        assert "".join(order) == "abbaab"

    def test_ends_when_the_ratio_is_known(self):
        times = {"ours": lambda: 1.0, "theirs": lambda: 2.0}
        found = time_until(times, until=0.05, limit=1e9)
        assert found == {"ours": [1.0] * LEAST_ROUNDS, "theirs": [2.0] * LEAST_ROUNDS}

    def test_goes_on_while_it_is_not(self):
        noise = iter(np.random.default_rng(0).lognormal(0, 0.06, 10_000))
        calls = {"ours": lambda: next(noise), "theirs": lambda: 2 * next(noise)}
        found = time_until(calls, until=0.05, limit=1e9)
        assert len(found["ours"]) > 2 * LEAST_ROUNDS
        assert ratio_interval(found["theirs"], found["ours"]).width <= 0.05

    def test_ends_at_the_limit(self):
        seconds = iter(range(1000))
        noise = iter([1.0, 5.0] * 100)
        found = time_until(
            {"ours": lambda: next(noise), "theirs": lambda: 1.0},
            until=0,
            limit=10,
            clock=lambda: next(seconds),
        )
        assert len(found["ours"]) == 11


class TestWork:
    def test_all_have_the_published_counts(self):
        config = Work("res50").config()
        assert (config.head.rois_per_image, config.rpn.test_post_nms) == (128, 300)
        config = Work("res50_fpn", rois=(64, 32)).config()
        assert (config.head.rois_per_image, config.rpn.test_post_nms) == (64, 32)
        assert config.rpn.train_post_nms == 2000

    def test_batch_is_padded_as_the_loader_does(self):
        work = Work("res50", size=(100, 200), batch=2, objects=9)
        batch = draw_batch(work, work.config())
        assert batch.images.pixels.shape == (2, 3, 128, 224)
        assert batch.images.padded and not batch.images.pixels[:, :, 100:].any()
        truth = batch.ground_truth
        assert truth.boxes.shape == (2, 16, 4)  # slots are powers of two
        assert (truth.valid.sum(1) == 9).all()
        boxes = truth.boxes[truth.valid]
        assert boxes.min() >= 0 and (boxes[:, 2:] > boxes[:, :2]).all()
        assert boxes[:, 2].max() <= 200 and boxes[:, 3].max() <= 100


@pytest.mark.parametrize(
    "model", ["mobile_v2", "mobile_v2_fpn", "retina_mobile_v2_fpn", "res101"]
)
def test_torchvision_has_our_weights(model):
    work = tiny("infer", model)
    config = work.config()
    ours = build_ours(work, config).eval()
    peer = build_torchvision(work, config, torch.contiguous_format).eval()
    sizes = torch.tensor([work.size])
    pixels = draw_batch(work, config).images.pixels
    pixels = pixels[:, :, : work.size[0], : work.size[1]]
    with torch.inference_mode():
        normal = (pixels - ours.pixel_mean) / ours.pixel_std
        theirs = peer.backbone(normal)
        ours_maps = ours.features(draw_batch(work, config).images).maps
    assert sizes.tolist() == [[64, 96]]
    first = next(iter(theirs.values())) if isinstance(theirs, dict) else theirs
    torch.testing.assert_close(ours_maps[0], first, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("model", ["mobile_v2", "retina_mobile_v2_fpn"])
def test_both_do_the_same_work(model):
    work = tiny(model=model, size=(128, 128))  # a multiple of the coarsest stride
    losses = [
        sum(float(loss.detach()) for loss in build_step(way, work, CPU)().values())
        for way in ("ours-float32", "torchvision", "torchvision-bf16")
    ]
    assert max(losses) < 1.3 * min(losses)
    work = replace(work, phase="infer")
    ours = build_step("ours-float32", work, CPU)()
    theirs = build_step("torchvision", work, CPU)()
    assert len(ours[0].scores) == pytest.approx(len(theirs[0]["scores"]), abs=2)
    assert len(ours[0].scores) > 3


def test_cascade_alone():
    for phase in ("train", "infer"):
        assert build_step("ours", tiny(phase, "cascade_mobile_v2"), CPU)()


@pytest.mark.parametrize("phase", ["train", "infer"])
def test_result_is_json_with_all_there_is(phase):
    result = json.loads(json.dumps(measured(phase)))
    assert list(result["ways"]) == ["ours-float32", "torchvision"]
    for way in result["ways"].values():
        assert len(way["seconds"]) == 1 and way["seconds"][0] > 0
        assert way["dtype"] == "float32"
        assert way["peak_memory"] > 1 << 20
        assert way["flops"] > 1e6
        share = way["flops"] / way["seconds"][0] / PEAKS["float32"]
        assert way["share"] == pytest.approx(share)
        most = max(other["flops"] for other in result["ways"].values())
        plain = most / way["flops"]
        assert way["plain_share"] == pytest.approx(share * plain)
        assert way["waits"] is None  # a CPU has nothing to wait for
        assert {"backbone", "RPN", "pooling", "head", "the rest"} <= set(way["stages"])
        stages = {"backward", "optimizer", "losses"} if phase == "train" else set()
        assert stages <= set(way["stages"])
        assert all(seconds > 0 for name, seconds in way["stages"].items())
    flops = [way["flops"] for way in result["ways"].values()]
    assert flops[0] == pytest.approx(flops[1], rel=0.05)


def test_step_is_left_as_it_was():
    one = build_step("torchvision", tiny(), CPU)
    before = [vars(owner).get(method) for owner, method, _ in one.watched]
    with one.timed_by(lambda _: pytest.MonkeyPatch.context()):
        one()
    assert [vars(owner).get(method) for owner, method, _ in one.watched] == before


def test_a_missing_way_does_not_stop_the_others():
    result = measured(ways=("ours-float32", "mmdet"))
    if "error" not in result["ways"]["mmdet"]:
        pytest.skip("mmdet is installed")
    assert "mmdet" in result["ways"]["mmdet"]["error"]
    assert "seconds" in result["ways"]["ours-float32"]
    assert "mmdet" in report.times_table([result])


def test_a_way_in_a_process_of_its_own():
    worker = start(Setup("ours-float32", tiny("infer"), threads=1), processes=True)
    worker.warm_up(1)
    assert 0 < worker.seconds() < 60
    assert worker.details()["peak_memory"] > 1 << 20
    with pytest.raises(WayError, match="TypeError"):
        worker.warm_up(None)  # errors come through the pipe, and end nothing
    assert worker.seconds() > 0
    worker.close()


def test_a_network_that_torchvision_lacks():
    with pytest.raises(WayError, match="expected mobile_v2"):
        start(Setup("torchvision", tiny(model="res34")), processes=False)


def made_up():
    way = {
        "seconds": [0.5, 0.4, 0.6],
        "share": 0.25,
        "plain_share": 0.28,
        "dtype": "bfloat16",
        "peak_memory": 3 << 20,
        "stages": {"the rest": 0.1, "detections": 0.2, "backbone": 0.3},
        "flops": 2 * 10**9,
        "waits": 4,
    }
    rival = {**way, "seconds": [1.0, 0.8, 1.2], "share": None, "waits": None}
    result = {
        "model": "res50",
        "phase": "infer",
        "size": [600, 800],
        "batch": 2,
        "rois": [128, 300],
        "ways": {"ours": way, "torchvision": rival, "mmdet": {"error": "not here"}},
    }
    return {"machine": "some machine", "peaks": {"float32": 5e11}, "results": [result]}


def test_tables():
    text = report.report(made_up())
    what = "res50, inference, 2 x 600x800, 300 RoIs"
    assert f"| {what} | ours | 500 | 4 |  | 3 | 2 | 25 % (28 %) | 4 |" in text
    assert f"| {what} | torchvision | 1000 | 2 | 2.00 (2.00 to 2.00) |" in text
    assert f"| {what} | mmdet | not here |" in text
    assert "some machine; measured peak: float32 500 GFLOP/s" in text
    stages = [line.split()[1] for line in text.splitlines()[-3:]]
    assert stages == ["backbone", "detections", "the"]


def test_plot(tmp_path):
    report.draw(made_up(), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_tables_fit_into_the_document(tmp_path):
    document = tmp_path / "performance.md"
    document.write_text((step.DOCS / "performance.md").read_text())
    for mark in ("step", "growth"):
        write_between(document, mark, f"new {mark}")
        assert f"new {mark}" in document.read_text()


def test_peaks_are_the_best_rates(monkeypatch):
    monkeypatch.setattr(peak, "_CONVS", ((1, 8, 8, 3, 16, 16),))
    monkeypatch.setattr(peak, "_PRODUCTS", ((32, 32, 32),))
    # 2 * 256 * 8 * 8 * 9 = 294,912 FLOPs and 2 * 32 ** 3 = 65,536.
    monkeypatch.setattr(peak, "_seconds", lambda *_: 1e-3)
    assert measure_peaks(CPU, seconds=0) == pytest.approx(
        {"float32": 294_912e3, "bfloat16": 294_912e3}
    )
    monkeypatch.undo()
    monkeypatch.setattr(peak, "_CONVS", ((1, 8, 8, 3, 16, 16),))
    monkeypatch.setattr(peak, "_PRODUCTS", ())
    peaks = measure_peaks(CPU, seconds=0)
    assert set(peaks) == {"float32", "bfloat16"}
    assert all(rate > 1e6 for rate in peaks.values())


def test_arguments():
    words = "--models res50 --size 320x480 --rois 64/100 --ways ours,torchvision"
    parsed = step.build_parser().parse_args(words.split())
    assert (parsed.size, parsed.rois) == ([(320, 480)], (64, 100))
    assert parsed.ways == ["ours", "torchvision"]
    for words in ("--ways theirs", "--size 600", "--phases test"):
        with pytest.raises(SystemExit):
            step.build_parser().parse_args(words.split())


def test_statistics_of_one_way_alone():
    found = time_until({"ours": lambda: 0.5}, until=0.05, limit=1e9)
    assert statistics.median(found["ours"]) == 0.5
    assert len(found["ours"]) == LEAST_ROUNDS

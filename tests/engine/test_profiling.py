import gzip
import json
import logging
import re
import time

import pytest
import torch
from faster_rcnn.engine.profiling import WAITING, Profile
from faster_rcnn.utils.monitoring.stage_clock import STAGES
from tiny_runs import draw_dataset, read_metrics, tiny_config, tiny_detector, train_tiny


def run(tmp_path, name, iterations, profile=None):
    dataset = draw_dataset(tmp_path / "images", 4)
    config = tiny_config("train.iterations", iterations)
    return train_tiny(dataset, config, tmp_path / name, profile=profile)


def read_table(path):
    rows = re.findall(r"^(\S[\w ]*?) +([\d.-]+) +([\d.-]+) %$", path.read_text(), re.M)
    return {name: float(ms) for name, ms, _ in rows}


@pytest.mark.slow
def test_every_stage_has_its_time_and_its_place_in_the_trace(tmp_path):
    profile = Profile(tmp_path / "profile", updates=2, warm_up=1)
    model = run(tmp_path, "run", 6, profile)
    table = read_table(tmp_path / "profile" / "stages.txt")
    assert list(table) == [*STAGES, "the rest", "update", WAITING, "together"]
    for stage in {*STAGES, WAITING} - {"data"}:  # on a CPU nothing is to be copied
        assert table[stage] > 0, stage
    parts = sum(table[name] for name in [*STAGES, "the rest"])
    assert parts == pytest.approx(table["update"], abs=0.1)
    assert table["update"] + table[WAITING] == pytest.approx(table["together"], abs=0.1)
    # What the stages leave out is small: nothing of weight is forgotten.
    assert table["the rest"] < 0.5 * table["update"]
    with gzip.open(tmp_path / "profile" / "trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    marks = [e["name"] for e in events if e.get("cat") == "user_annotation"]
    for stage in (*STAGES, WAITING):
        # Targets are of the RPN and the head; the head has two parts, so have losses.
        per_update = 2 if stage in ("targets", "head", "losses") else 1
        assert marks.count(stage) == 2 * per_update, stage
    assert any("convolution" in event["name"] for event in events)
    # Nothing is left of the marks.
    for part in (model, model.rpn, model.box_head, model.backbone):
        assert not {"features", "forward", "propose", "pool", "head"} & set(vars(part))


@pytest.mark.slow
def test_profile_changes_nothing(tmp_path):
    profile = Profile(tmp_path / "profile", updates=1, warm_up=0)
    one = run(tmp_path, "profiled", 3, profile).state_dict()
    other = run(tmp_path, "bare", 3).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert read_metrics(tmp_path / "profiled") == read_metrics(tmp_path / "bare")


def test_stages_are_timed_by_hand(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    profile = Profile(tmp_path, updates=2, warm_up=1)

    class Part:
        def work(self, seconds):
            now[0] += seconds
            return seconds

    part = Part()
    profile.watch(part, "work", "head")
    with profile:
        for scale in (100, 1, 3):  # the first is warm-up
            with profile.stage(WAITING):
                now[0] += 1 * scale
            assert part.work(2 * scale) == 2 * scale
            assert part.work(1 * scale) == scale
            now[0] += 0.5 * scale
            profile.step()
    table = read_table(tmp_path / "stages.txt")
    assert table["head"] == 6000 and table[WAITING] == 2000
    assert table["the rest"] == 1000 and table["update"] == 7000
    assert "RPN" not in table  # never ran
    assert "work" not in vars(part)


def test_training_too_short_for_a_profile(tmp_path, caplog):
    profile = Profile(tmp_path / "profile", updates=5, warm_up=5)
    with caplog.at_level(logging.WARNING, "faster_rcnn"):
        run(tmp_path, "run", 3, profile)
    assert "no profile: training ended after 3 updates" in caplog.text
    assert not (tmp_path / "profile").exists()


def test_profile_that_cannot_be_written_does_not_stop_the_run(tmp_path, caplog):
    (tmp_path / "profile").write_text("in the way")
    profile = Profile(tmp_path / "profile", updates=1, warm_up=0)
    with caplog.at_level(logging.WARNING, "faster_rcnn"):
        run(tmp_path, "run", 3, profile)
    assert "cannot write the profile" in caplog.text
    assert len(read_metrics(tmp_path / "run")) == 3


def test_without_a_profile_nothing_is_wrapped(tmp_path):
    profile = Profile(None)
    model = tiny_detector(tiny_config())
    profile.watch_detector(model)
    assert "features" not in vars(model) and "forward" not in vars(model.rpn)
    with profile, profile.stage("head"):
        profile.step()


@pytest.mark.parametrize(("updates", "warm_up"), [(0, 5), (-1, 0), (1, -1)])
def test_bad_numbers_are_refused(tmp_path, updates, warm_up):
    with pytest.raises(ValueError, match=f"found {updates} and {warm_up}"):
        Profile(tmp_path, updates=updates, warm_up=warm_up)


def test_a_gpu_counts_when_it_computes(tmp_path, monkeypatch):
    """A GPU lags behind: 10 ms for what its process asks for in no time.

    So it has nothing to do while the first batch is waited for, and work left from the
    first update while the second one is.
    """
    host, gpu = [0.0], [0.0]

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = gpu[0] = max(gpu[0], 1000 * host[0])

        def elapsed_time(self, other):
            return other.at - self.at  # milliseconds

    def synchronize():
        host[0] = max(host[0], gpu[0] / 1000)

    monkeypatch.setattr(time, "perf_counter", lambda: host[0])
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    profile = Profile(tmp_path, device="cuda", updates=2, warm_up=0)
    with profile:
        for _ in range(2):
            with profile.stage(WAITING):
                host[0] += 0.002
            with profile.stage("backward"):
                gpu[0] = max(gpu[0], 1000 * host[0]) + 10
            profile.step()
    table = read_table(tmp_path / "stages.txt")
    assert table["backward"] == 10 and table[WAITING] == 1
    assert table["together"] == 11 and table["the rest"] == 0
    assert "the GPU's time" in (tmp_path / "stages.txt").read_text()

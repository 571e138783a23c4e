import json
import logging
import sys
from types import SimpleNamespace

import pytest
from faster_rcnn.utils.monitoring import trackers as module
from faster_rcnn.utils.monitoring.trackers import Trackers, check_trackers

CONFIG = {"train": {"lr": 0.1, "lr_steps": [5, 8]}, "net": {"name": "res18"}}


class FakeWandB:
    """Stands for the package wandb; remembers what it is told."""

    def __init__(self):
        self.runs = []

    def init(self, **options):
        run = SimpleNamespace(
            id=options["id"] or f"run{len(self.runs)}",
            options=options,
            config={},
            logged=[],
            metrics=[],
            finished=0,
        )
        run.config = SimpleNamespace(values={})
        run.config.update = lambda values, allow_val_change: run.config.values.update(
            values
        )
        run.log = run.logged.append
        run.define_metric = lambda name, step_metric: run.metrics.append(step_metric)
        run.finish = lambda: setattr(run, "finished", run.finished + 1)
        self.runs.append(run)
        return run


class FakeMLflow:
    """Stands for the package mlflow and its client; remembers what it is told."""

    def __init__(self):
        self.experiments = {}
        self.batches = []
        self.states = {}
        self.MlflowClient = lambda: self
        self.entities = SimpleNamespace(
            Param=lambda key, value: (key, value),
            Metric=lambda key, value, time, step: (key, value, step),
        )

    def get_experiment_by_name(self, name):
        if name not in self.experiments:
            return None
        return SimpleNamespace(experiment_id=self.experiments[name])

    def create_experiment(self, name):
        self.experiments[name] = str(len(self.experiments))
        return self.experiments[name]

    def create_run(self, experiment, run_name):
        number = f"{experiment}-{len(self.states)}-{run_name}"
        self.states[number] = "RUNNING"
        return SimpleNamespace(info=SimpleNamespace(run_id=number))

    def update_run(self, number, status):
        self.states[number] = status

    def log_batch(self, number, params=(), metrics=()):
        assert len(params) <= 100 and len(metrics) <= 1000
        assert self.states[number] == "RUNNING"
        self.batches.append((list(params), list(metrics)))

    def set_terminated(self, number):
        self.states[number] = "FINISHED"


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    fake = FakeWandB()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.fixture
def mlflow(monkeypatch):
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    fake = FakeMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setitem(sys.modules, "mlflow.entities", fake.entities)
    return fake


def test_wandb_gets_config_numbers_and_end(tmp_path, wandb):
    run_folder = tmp_path / "res18" / "shapes" / "default"
    with Trackers(["wandb"], run_folder, config=CONFIG) as trackers:
        trackers.scalars({"loss/total": 2.5}, 20)
    (run,) = wandb.runs
    assert run.options["project"] == "faster-rcnn"
    assert run.options["name"] == "res18/shapes/default"
    assert run.options["dir"] == str(run_folder)
    assert run.config.values == CONFIG
    assert run.logged == [{"loss/total": 2.5, "iteration": 20}]
    assert run.metrics == ["iteration"]  # a resumed run goes back in iterations
    assert run.finished == 1
    trackers.close()
    assert run.finished == 1


def test_mlflow_gets_config_numbers_and_end(tmp_path, mlflow):
    with Trackers(["mlflow"], tmp_path, config=CONFIG) as trackers:
        trackers.scalars({"loss/total": 2.5, "AP@50/a cat": 0.5}, 20)
    params, metrics = mlflow.batches
    assert params[0] == [
        ("train.lr", "0.1"),
        ("train.lr_steps", "[5, 8]"),
        ("net.name", "res18"),
    ]
    assert metrics[1] == [("loss/total", 2.5, 20), ("AP_50/a cat", 0.5, 20)]
    assert list(mlflow.states.values()) == ["FINISHED"]


def test_large_batches_are_cut(tmp_path, mlflow):
    many = {"train": {f"key{i}": "x" * 1000 for i in range(250)}}
    with Trackers(["mlflow"], tmp_path, config=many) as trackers:
        trackers.scalars({f"AP/class{i}": 0.0 for i in range(1203)}, 1)
    sizes = [(len(params), len(metrics)) for params, metrics in mlflow.batches]
    assert sizes == [(100, 0), (100, 0), (50, 0), (0, 1000), (0, 203)]
    assert len(mlflow.batches[0][0][0][1]) == 500


def test_resumed_run_continues_in_the_same_folder(tmp_path, wandb, mlflow):
    names = ["wandb", "mlflow"]
    for step in (1, 2):
        with Trackers(names, tmp_path, config=CONFIG) as trackers:
            trackers.scalars({"loss": float(step)}, step)
    with Trackers(names, tmp_path) as trackers:
        trackers.scalars({"test/mAP": 0.5}, 2)
    assert [run.id for run in wandb.runs] == ["run0"] * 3
    assert [run.options["id"] for run in wandb.runs] == [None, "run0", "run0"]
    assert len(mlflow.states) == 1
    # MLflow refuses a parameter that changes, so it is told once.
    assert [bool(params) for params, _ in mlflow.batches] == [True, *[False] * 3]
    assert set(json.loads((tmp_path / "trackers.json").read_text())) == set(names)


@pytest.mark.parametrize("moment", ["init", "log", "finish"])
def test_failing_tracker_does_not_stop_the_run(
    tmp_path, wandb, mlflow, monkeypatch, caplog, moment
):
    def fail(*_, **__):
        raise ConnectionError("no network")

    if moment == "init":
        monkeypatch.setattr(wandb, "init", fail)
    else:
        init = wandb.init
        monkeypatch.setattr(
            wandb, "init", lambda **o: setattr(run := init(**o), moment, fail) or run
        )
    with (
        caplog.at_level(logging.WARNING, "faster_rcnn"),
        Trackers(["wandb", "mlflow"], tmp_path, config=CONFIG) as trackers,
    ):
        for step in range(3):
            trackers.scalars({"loss": 1.0}, step)
    assert caplog.messages == [
        "wandb failed (ConnectionError: no network); the run continues without it"
    ]
    assert sum(len(metrics) for _, metrics in mlflow.batches) == 3  # the other goes on


def test_missing_package_is_reported_before_the_run(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'faster-rcnn\[mlflow\]'"):
        check_trackers(["mlflow"])
    check_trackers([])


def test_package_that_went_missing_does_not_stop_the_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it fails
    with Trackers(["wandb"], tmp_path, config=CONFIG) as trackers:
        trackers.scalars({"loss": 1.0}, 1)
    assert "wandb failed (ModuleNotFoundError" in caplog.text


def test_without_trackers_nothing_is_imported_or_written(tmp_path, monkeypatch):
    monkeypatch.setattr(module.importlib, "import_module", None)
    with Trackers([], tmp_path, config=CONFIG) as trackers:
        trackers.scalars({"loss": 1.0}, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "[]", "no json"])
def test_damaged_ids_begin_a_new_run(tmp_path, wandb, content):
    (tmp_path / "trackers.json").write_text(content)
    Trackers(["wandb"], tmp_path).close()
    assert wandb.runs[0].options["id"] is None

"""The Python API: the commands' own code, with keywords for options."""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import faster_rcnn as f
import pytest
from command_lines import REPOSITORY
from documents import run_document
from faster_rcnn.config.loading import ConfigError
from faster_rcnn.datasets import shapes
from PIL import Image
from tiny_runs import checkpoint_names, read_metrics, tiny_settings

DOCUMENT = REPOSITORY / "docs/python.md"
WORDS = tiny_settings("test.pictures", 0, "train.validate_every", 0)
TINY = dict(zip(WORDS[::2], WORDS[1::2], strict=True))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "photos"
    shapes.generate(folder, train_images=4, test_images=2)
    names = (folder / "ImageSets/Main/test.txt").read_text()
    (folder / "ImageSets/Main/val.txt").write_text(names)
    return folder


@pytest.fixture
def train(photos, tmp_path):
    """Trains a tiny detector; options as for `faster_rcnn.train`."""

    def train(**options):
        settings = TINY | options.pop("settings", {})
        options = {"output": tmp_path / "output", "device": "cpu"} | options
        return f.train(photos, "mobile_v2", settings=settings, **options)

    return train


def test_the_package_imports_without_pytorch():
    code = "import sys, faster_rcnn; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"train", "Run", "FasterRCNN", "load_config"} <= {*dir(f)}


@pytest.mark.slow
def test_train_test_and_evaluate(train, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    events = []
    run = train(name="run", callbacks=[events.append], **{"train.validate_every": 2})
    assert run.folder == tmp_path / "output/mobile_v2/photos_train/run"
    assert [(e.kind, e.iteration) for e in events] == [
        *(("update", 1), ("update", 2), ("validation", 2)),
        *(("update", 3), ("update", 4), ("validation", 4), ("end", 4)),
    ]
    assert {(e.iterations, e.folder) for e in events} == {(4, run.folder)}
    rows = read_metrics(run.folder)
    (validated,) = [row for row in rows if row["iteration"] == 4 and "val/loss" in row]
    assert events[-2].metrics == {k: v for k, v in validated.items() if "val/" in k}
    assert events[-1].metrics == {}

    assert run.best == run.folder / "checkpoints/best.pth"
    assert "mAP" not in capsys.readouterr().out  # training does not test
    evaluation = run.test(eval=["bbox"], show_dir=tmp_path / "shown")
    assert len([*(tmp_path / "shown").iterdir()]) == 2
    name, value = evaluation.headline
    assert run.metrics[f"{name} on photos_test"] == pytest.approx(value)
    again = f.evaluate(run.detector(device="cpu"), photos, output=tmp_path / "output")
    assert again.headline == evaluation.headline
    assert (tmp_path / "output/evaluate/photos_test/results.json").is_file()
    assert repr(f.Run(run.folder)) == repr(run)


@pytest.mark.slow
def test_numbers_of_an_update_are_those_of_the_record(train):
    found = []
    run = train(callbacks=[lambda event: found.append(event.metrics)])
    for row, metrics in zip(read_metrics(run.folder), found[:-1], strict=True):
        assert metrics == pytest.approx({name: row[name] for name in metrics})
        assert {"loss", "gradient_norm", "lr", "head_box"} <= metrics.keys()


@pytest.mark.slow
def test_a_callback_stops_the_run_and_the_same_call_continues(train, caplog):
    def stop(event):
        event.stop = event.iteration == 2

    run = train(callbacks=[stop])
    assert checkpoint_names(run.folder) == ["iter_0000002.pth"]
    assert "a callback stopped the run after iteration 2" in caplog.text
    events = []
    assert train(callbacks=[events.append]).folder == run.folder
    assert [event.iteration for event in events] == [3, 4, 4]


@pytest.mark.slow
def test_an_error_in_a_callback_ends_the_run(train):
    def fail(event):
        raise KeyError(event.kind)

    with pytest.raises(KeyError, match="update"):
        train(callbacks=[fail])
    train()  # the folder is free


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"epoch": 3}, TypeError, "no keyword 'epoch'; did you mean epochs"),
        ({"gpus": 2}, TypeError, "no keyword 'gpus'"),
        ({"epochs": "many"}, ValueError, "--epochs: expected a number, found 'many'"),
        ({"train.lrr": 1}, ConfigError, "did you mean train.lr"),
        ({"lr": 0.5, "settings": {"lr": 1}}, ConfigError, "expected SECTION.KEY"),
        ({"resume": True}, ValueError, "expected a checkpoint"),
    ],
)
def test_wrong_arguments_are_raised(train, options, error, text):
    with pytest.raises(error, match=text):
        train(**options)


def test_a_full_disk_is_told_before_the_first_update(train, monkeypatch, caplog):
    monkeypatch.setattr("faster_rcnn.cli.train.free_space", lambda _: 1000)
    train(**{"train.snapshots_kept": 2})
    (told,) = [r.getMessage() for r in caplog.records if "free space" in r.message]
    assert "of free space for 3 checkpoints, found 1.0 kB; free some" in told


@pytest.mark.slow
def test_training_in_a_thread(train):
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(train).result()
    assert checkpoint_names(run.folder) == ["iter_0000004.pth"]


def test_errors_name_the_user_s_files(photos, tmp_path):
    """Not the links in the cache through which an export is read."""
    export = tmp_path / "cells"
    shutil.copytree(photos / "JPEGImages", export)
    shutil.copytree(photos / "Annotations", export, dirs_exist_ok=True)
    damaged = min(export.glob("*.xml"))
    damaged.write_text("<annotation><object>")
    options = {"device": "cpu", "output": tmp_path / "output", "settings": TINY}
    with pytest.raises(ValueError, match=re.escape(str(damaged))):
        f.train(export, "mobile_v2", **options)


def test_folder_that_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="expected the folder of a run"):
        f.Run(tmp_path).curves  # noqa: B018
    with pytest.raises(ValueError, match="no checkpoint in"):
        f.Run(tmp_path).best  # noqa: B018


def test_check_returns_the_findings(photos, tmp_path, capsys):
    report = f.check(photos, html=tmp_path / "check.html", pictures=1)
    assert report.verdict == "will train, but look"
    assert "\ntrains; look at " in capsys.readouterr().out
    assert len(report.entries) == 6


@pytest.mark.slow
def test_the_document_runs(photos, tmp_path, monkeypatch):
    """Its blocks are one program, with a small detector in place of the named one."""
    (tmp_path / "photos").symlink_to(photos)
    Image.new("RGB", (80, 60)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    train = f.train

    tiny = {k: v for k, v in TINY.items() if k != "train.iterations"}
    tiny["train.validate_every"] = 4
    watching = {"watched": 20}  # by name of the run, epochs

    def train_tiny(data, *, net, settings=None, name=None, **options):
        options = {k: v for k, v in options.items() if k not in ("epochs", "iters")}
        options["epochs"] = watching.get(name, 2)
        settings = tiny | (settings or {})
        return train(
            data, "mobile_v2", settings=settings, name=name, device="cpu", **options
        )

    monkeypatch.setattr(f, "train", train_tiny)
    names = run_document(DOCUMENT)
    assert checkpoint_names(names["run"].folder) == ["iter_0000003.pth"]
    assert (tmp_path / "detections.csv").is_file()

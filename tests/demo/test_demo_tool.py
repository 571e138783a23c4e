"""The tool with a checkpoint of its own, from the command line to the files."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
from command_lines import REPOSITORY, run_command
from faster_rcnn.cli.demo import default_output
from faster_rcnn.detector import Detector
from faster_rcnn.weights.checkpoint import CheckpointError


@pytest.fixture
def call(monkeypatch, capsys, detector, tmp_path):
    """Runs the tool with a stand-in for the detector; gives status and stderr."""
    checkpoint = tmp_path / "run" / "checkpoints" / "a.pth"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    opened = []

    def open_it(path, **options):
        opened.append((path, options))
        return detector

    monkeypatch.setattr(Detector, "from_checkpoint", open_it)

    def run(*words, stdin=b""):
        words = [str(checkpoint), *map(str, words)]
        if "--output" not in words and "--serve" not in words:
            words += ["--output", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = run_command("demo", *words)
        return status, capsys.readouterr().err

    run.opened, run.checkpoint, run.output = opened, checkpoint, tmp_path / "out"
    return run


def test_the_options(call, pictures):
    status, _ = call(
        *(pictures, "--json", "--threshold", "0.2", "--classes", "cat,dog <b>"),
        *("--device", "cpu", "--precision", "float32", "--batch", "3"),
        *("--set", "test.nms_threshold", "0.4"),
    )
    assert status == 0
    assert call.opened == [
        (
            call.checkpoint,
            {
                "device": "cpu",
                "precision": "float32",
                "compile": False,
                "overrides": ["test.nms_threshold", "0.4"],
                "features": False,
                "all_scores": False,
            },
        )
    ]
    whole = json.loads((call.output / "detections.json").read_text())
    assert [len(each["detections"]) for each in whole] == [2, 2, 2]
    settings = json.loads((call.output / "demo.json").read_text())
    assert settings["overrides"] == ["test.nms_threshold", "0.4"]


def test_a_list_on_stdin(call, pictures):
    lines = f"{pictures / 'a.jpg'}\n{pictures / 'gone.jpg'}\n".encode()
    status, err = call("-", stdin=lines)
    assert status == 1 and "gone.jpg: expected" in err and "1 failed" in err
    assert (call.output / "a.jpg").exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "either SOURCE... or --serve"),
        (["a.jpg", "--serve"], "either SOURCE... or --serve"),
        (["no/a.jpg"], "no such file or folder"),
        (["no/*.jpg"], "found 0 files and folders that match"),
        (["0", "--threshold", "2"], "from 0 to 1, found '2'"),
        (["0", "--threshold", "nan"], "from 0 to 1, found 'nan'"),
        (["0", "--batch", "0"], "expected a whole number"),
        (["--serve", "--port", "70000"], "port 70000"),
    ],
)
def test_wrong_input(call, words, problem):
    status, err = call(*words)
    assert status == 2 and problem in err


def test_unknown_classes_and_folders(call, pictures, tmp_path):
    status, err = call(pictures, "--classes", "dgo <b>")
    assert status == 2 and "did you mean 'dog <b>'" in err
    (tmp_path / "empty").mkdir()
    status, err = call(tmp_path / "empty")
    assert status == 2 and "found no files" in err


def test_no_checkpoint(capsys):
    assert run_command("demo", "no/a.pth", "0") == 2
    assert "no/a.pth does not exist" in capsys.readouterr().err
    assert issubclass(CheckpointError, ValueError)


def test_the_place_of_results(call):
    folder = Path.cwd() / "output" / "demo"
    assert default_output(call.checkpoint) == folder / "run-a"
    assert default_output(call.checkpoint.parents[1] / "b.pth") == folder / "b"


def test_the_script_gives_its_words_on():
    script = REPOSITORY / "experiments" / "scripts" / "demo.sh"
    assert os.access(script, os.X_OK)
    assert 'exec "$PYTHON" "$REPO/tools/demo.py" "$@"' in script.read_text()


def test_help(call):
    assert call("--help")[0] == 0

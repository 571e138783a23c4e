import logging
import os
import re

import pytest
from command_lines import run_command
from exported_detectors import PYRAMID, small_config
from faster_rcnn.export import ExportError, load_exported
from faster_rcnn.export import job as exporting
from faster_rcnn.export import parity as checking
from faster_rcnn.export.formats import trace
from faster_rcnn.export.job import Job, export
from faster_rcnn.export.program import Shape
from tiny_checkpoints import save_tiny
from tiny_runs import CLASSES, draw_dataset

pytestmark = pytest.mark.slow


def save_detector(folder, *overrides):
    """A checkpoint whose test set is not at hand."""
    config = small_config("data.test_set", folder / "nothing", *overrides)
    return save_tiny(folder / "run" / "iter_0000004.pth", config)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def checkpoint(saved, tmp_path):
    """In a folder of its own."""
    link = tmp_path / "run" / saved.name
    link.parent.mkdir()
    os.link(saved, link)
    return link


@pytest.fixture(scope="module")
def traces():
    return {}


@pytest.fixture
def traced_once(traces, monkeypatch):
    """Traces the detector for the first test only."""

    def trace_once(program, shape):
        if shape not in traces:
            traces[shape] = trace(program, shape)
        return traces[shape]

    monkeypatch.setattr(exporting, "trace", trace_once)


FIXED = {"to": "program", "batch": 1, "size": (96, 128)}


@pytest.mark.usefixtures("traced_once")
def test_written_beside_the_checkpoint(checkpoint, tmp_path, caplog):
    draw_dataset(tmp_path / "photos", 3)
    with caplog.at_level(logging.INFO, "faster_rcnn"):
        path = export(Job(checkpoint, images=tmp_path / "photos", count=2, **FIXED))
    assert path == checkpoint.parent / "iter_0000004.program.pt2"
    assert "beside the detector: 2 images" in caplog.text
    about = load_exported(path).about
    assert (about.batch, about.size, about.precision) == (1, (96, 128), "float32")
    assert about.classes == CLASSES and about.short_side == 96
    assert {p.name for p in path.parent.iterdir()} == {path.name, checkpoint.name}


@pytest.mark.usefixtures("traced_once")
def test_photos_are_compared_for_a_limited_time(checkpoint, tmp_path, caplog):
    """And steps are named."""
    photos = tmp_path / "photos"
    draw_dataset(photos, 3)
    with (
        caplog.at_level(logging.INFO, "faster_rcnn"),
        pytest.MonkeyPatch.context() as p,
    ):
        p.setattr(exporting, "_COMPARISON_SECONDS", 0)
        export(Job(checkpoint, images=photos, **FIXED))
    assert "comparing with the detector on 3 images: " in caplog.text
    assert "beside the detector: 1 images" in caplog.text
    assert "--count 3 compares all images" in caplog.text


SMALL = ("net.fpn_channels", 16, "head.fc_channels", 16)
KINDS = {
    "c4": (32, ("net.features", "c4", *SMALL)),
    "fpn": (64, (*PYRAMID, *SMALL)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_without_multiples_is_free_in_size(tmp_path, kind, monkeypatch):
    """PyTorch before 2.14 traces no pool of odd rows, and a pyramid needs a fit.

    That a detector is free in size, test_program.py shows.
    """
    multiple, settings = KINDS[kind]
    checkpoint = save_detector(tmp_path, "data.size_multiple", 1, *settings)

    def refuse(_, shape):
        raise ExportError(str(shape))

    monkeypatch.setattr(exporting, "trace", refuse)
    with pytest.raises(ExportError, match=re.escape(str(Shape(multiple=multiple)))):
        export(Job(checkpoint, to="program", count=1))


@pytest.mark.usefixtures("traced_once")
def test_a_file_that_differs_is_not_kept(checkpoint, monkeypatch, caplog):
    unmatched = ("only the file found class 1",)
    other = checking.Differences(1, 3, 0.2, 0.0, unmatched=unmatched)
    monkeypatch.setattr(checking, "compare", lambda *_, **__: other)
    with pytest.raises(ExportError, match="only the file found class 1"):
        export(Job(checkpoint, **FIXED))
    assert "drawn shapes instead of photos" in caplog.text
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"int8": True}, "--int8 is for --to onnx"),
        ({"size": (64, 128)}, "at least 65 pixels, found 64x128"),
        ({"output": "a.onnx"}, "give it the end .pt2"),
        ({"to": "onnx", "device": "cuda"}, "made on the CPU"),
        ({"to": "onnx", "precision": "bfloat16"}, "leave out --precision"),
        ({"images": "nothing"}, "found none"),
    ],
)
def test_options_that_do_not_go_together(checkpoint, tmp_path, options, text):
    for name in ("output", "images"):
        if name in options:
            options = {**options, name: tmp_path / options[name]}
    with pytest.raises(ExportError, match=text):
        export(Job(checkpoint, **{**FIXED, **options}))


def test_command_line(capsys, checkpoint):
    words = [checkpoint, "--to", "program", "--batch", 1, "--size", "64x99"]
    assert run_command("export", *words) == 2
    assert run_command("export", "a.pth", "--size", "64") == 2
    assert "height x width such as 608x1024" in capsys.readouterr().err

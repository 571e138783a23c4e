"""The benchmark of the evaluators: what it draws, measures and compares."""

import json
import sys

import evaluation
import numpy as np
import pytest


def test_scene_has_the_given_size():
    size = evaluation.Size(20, 5, 80, 1000)
    dataset, found = evaluation.draw(size)
    assert len(dataset.records) == len(found) == 20
    assert sum(len(record.boxes) for record in dataset.records) == 80
    assert sum(len(entry.scores) for entry in found) == 1000
    assert {c for entry in found for c in entry.classes} == {1, 2, 3, 4, 5}
    _, proposals = evaluation.draw(size, by_class=False)
    assert all((entry.classes == 1).all() for entry in proposals)
    for entry in found:
        assert (entry.boxes[:, 2:] >= entry.boxes[:, :2]).all()
        assert (np.diff(entry.scores) <= 0).all()


@pytest.mark.parametrize("what", sorted(evaluation.MEASURES))
def test_each_measure_runs(monkeypatch, capsys, what):
    words = ["evaluation.py", "--measure", what, "--halvings", "9"]
    monkeypatch.setattr(sys, "argv", words)
    evaluation.main()
    figure = json.loads(capsys.readouterr().out)
    assert figure["what"] == what and figure["seconds"] >= 0 < figure["peak_mb"]
    assert figure["detections"] >= figure["images"] > 0


def test_numbers_that_differ_are_reported(capsys):
    one = {"what": "a", "images": 5, "same": "coco", "numbers": ["0x1p+0"]}
    evaluation._compare(one | {"what": "b"}, [one])
    evaluation._compare(one | {"what": "c", "numbers": []}, [one])
    evaluation._compare(one, [one])
    assert capsys.readouterr().err.splitlines() == [
        "b, 5 images: equal",
        "c, 5 images: NOT EQUAL",
    ]

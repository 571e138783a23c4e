"""Fine-tuning: a class keeps the output rows of its name, wherever they stand."""

import logging

import pytest
import torch
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.initial import load_first_weights
from faster_rcnn.weights.output_rows import rows_by_name
from tiny_checkpoints import save_model
from tiny_runs import randomise, tiny_config, tiny_detector

BACKGROUND = "__background__"
KNOWN = (BACKGROUND, "Platelets", "RBC", "WBC")
SCORES, DELTAS = "box_head.predictor.scores", "box_head.predictor.deltas"


def layers(classes, value, *, agnostic=False):
    """Output layers whose rows are numbered from a value on."""
    scores = torch.arange(classes) + value
    deltas = torch.arange(4 if agnostic else 4 * classes) + 100 * value
    return {
        f"{SCORES}.bias": scores.float(),
        f"{SCORES}.weight": scores[:, None].expand(-1, 2).float(),
        f"{DELTAS}.bias": deltas.float(),
        f"{DELTAS}.weight": deltas[:, None].expand(-1, 2).float(),
        "other": torch.ones(3),
    }


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (("WBC", "RBC", "Platelets"), [0, 3, 2, 1]),
        (("RBC",), [0, 2]),
        (("yeast", "WBC", "rbc", "Platelets", "RBC"), [0, -1, 3, -1, 1, 2]),
        (("Platelets", "RBC", "WBC"), [0, 1, 2, 3]),
        (("yeast", "wbc", "Rbc"), [-1, -1, -1, -1]),
    ],
    ids=["reordered", "fewer", "more", "the same", "none in common"],
)
@pytest.mark.parametrize("agnostic", [False, True])
def test_rows_go_by_name(wanted, rows, agnostic):
    """-1 for a row as it was: a new class, or all if no class is known."""
    classes = (BACKGROUND, *wanted)
    own = layers(len(classes), 50, agnostic=agnostic)
    state = layers(4, 10, agnostic=agnostic)
    found = rows_by_name(state, own, KNOWN, classes, source="file")
    for part in ("weight", "bias"):
        for place, row in enumerate(rows):
            mine, theirs = own[f"{SCORES}.{part}"], state[f"{SCORES}.{part}"]
            want = mine[place] if row < 0 else theirs[row]
            assert torch.equal(found[f"{SCORES}.{part}"][place], want)
            if not agnostic:
                mine = own[f"{DELTAS}.{part}"].view(len(classes), 4, -1)
                theirs = state[f"{DELTAS}.{part}"].view(4, 4, -1)
                got = found[f"{DELTAS}.{part}"].view(len(classes), 4, -1)
                want = mine[place] if row < 0 else theirs[row]
                assert torch.equal(got[place], want)
        if agnostic:
            assert torch.equal(found[f"{DELTAS}.{part}"], state[f"{DELTAS}.{part}"])
    assert found["other"] is state["other"]


def test_rows_of_a_one_stage_detector_go_by_name():
    """Every anchor has rows of all classes; its boxes are of no class."""

    def layers(classes, value):
        scores, deltas = torch.arange(2.0 * classes) + value, torch.arange(8.0) + value
        return {
            f"dense_head.predictor.{layer}.{part}": rows
            if part == "bias"
            else rows[:, None]
            for layer, rows in (("scores", scores), ("deltas", deltas))
            for part in ("weight", "bias")
        }

    classes = (BACKGROUND, "WBC", "yeast", "RBC")
    found = rows_by_name(layers(4, 0), layers(4, 50), KNOWN, classes, source="file")
    for part in ("weight", "bias"):
        rows = found[f"dense_head.predictor.scores.{part}"].flatten()
        assert rows.tolist() == [0, 3, 52, 2, 4, 7, 56, 6]
        rows = found[f"dense_head.predictor.deltas.{part}"].flatten()
        assert rows.tolist() == list(range(8))


def test_class_agnostic_boxes_on_one_side_only():
    for theirs, ours in ((True, False), (False, True)):
        own, state = layers(3, 5, agnostic=ours), layers(4, 1, agnostic=theirs)
        classes = (BACKGROUND, "WBC", "RBC")
        found = rows_by_name(state, own, KNOWN, classes, source="file")
        assert found[f"{SCORES}.bias"].tolist() == [1, 4, 3]
        assert found[f"{DELTAS}.bias"] is state[f"{DELTAS}.bias"]  # does not fit


def test_names_that_are_not_known(caplog):
    own, state = layers(4, 5), layers(4, 1)
    found = rows_by_name(state, own, None, KNOWN, source="a.pth")
    assert torch.equal(found[f"{SCORES}.bias"], own[f"{SCORES}.bias"])
    assert "a.pth does not contain the names of its classes" in caplog.text


@pytest.mark.parametrize("modules", ["both", "fast_rcnn"])
def test_checkpoint_of_reordered_classes(tmp_path, caplog, modules):
    """A detector that starts on other classes scores those that it knows as before."""
    config = tiny_config()
    trained = tiny_detector(config, classes=4)
    randomise(trained)

    def save(*classes):
        save_model(tmp_path / "a.pth", trained, config, classes=classes)

    save(*KNOWN)
    caplog.set_level(logging.INFO, "faster_rcnn")
    wanted = (BACKGROUND, "WBC", "yeast", "RBC", "Platelets")
    words = ("net.weights", tmp_path / "a.pth", "net.modules", modules)
    config = tiny_config(*words)
    model = tiny_detector(config, classes=5, seed=3)
    random_row = model.box_head.predictor.scores.weight[2].clone()
    load_first_weights(model, config, wanted)
    vectors = torch.rand(6, model.box_head.predictor.scores.in_features)
    scores, boxes = model.box_head.predictor(vectors)
    want_scores, want_boxes = trained.box_head.predictor(vectors)
    for place, row in ((0, 0), (1, 3), (3, 2), (4, 1)):
        torch.testing.assert_close(scores[:, place], want_scores[:, row])
        torch.testing.assert_close(boxes[:, place], want_boxes[:, row])
    assert torch.equal(model.box_head.predictor.scores.weight[2], random_row)
    message = "kept WBC, RBC, Platelets; new yeast; dropped none"
    assert f"output rows by class name: {message}" in caplog.messages
    if modules == "both":
        save(*KNOWN[:3])
        with pytest.raises(CheckpointError, match="expected names of its 4 classes"):
            load_first_weights(model, config, wanted)

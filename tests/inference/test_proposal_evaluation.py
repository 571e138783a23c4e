"""The RPN's proposals in test mode, their frame, and what a test of them leaves."""

import json

import numpy as np
import pytest
import torch
from faster_rcnn.engine.checkpoint_evaluation import (
    evaluate_checkpoint as run_checkpoint,
)
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.evaluation.proposal_recall import load_proposals
from faster_rcnn.inference.detector_evaluation import EvaluationOptions
from faster_rcnn.inference.proposal_evaluation import measure_proposals as run_proposals
from faster_rcnn.inference.proposal_evaluation import (
    propose_images,
    with_many_proposals,
)
from loader_words import evaluation_batches_of as make_batches
from tiny_runs import (
    CLASSES,
    CPU,
    draw_dataset,
    randomise,
    run_test,
    tiny_config,
    tiny_detector,
)

# Images of 80 x 64 are shown to the network at half of their size.
HALF = ("data.test_short_side", 32, "data.test_long_side", 48)


@pytest.fixture
def dataset(tmp_path):
    return draw_dataset(tmp_path / "images", 3)


def run(dataset, config, folder, **options):
    model = tiny_detector(config)
    randomise(model)
    options = {"test": run_proposals, "model": model, **options}
    return run_test(dataset, config, folder, **options)


def test_everything_is_written(dataset, tmp_path):
    config = with_many_proposals(tiny_config(*HALF))
    result = run(dataset, config, tmp_path / "test")
    names = {path.name for path in (tmp_path / "test").iterdir()}
    assert names == {"proposals.npz", "proposal_results.json"}
    content = json.loads((tmp_path / "test" / "proposal_results.json").read_text())
    settings = content.pop("settings")
    assert content == result.to_json()
    assert settings["checkpoint"] == "iter_0000004.pth"
    assert settings["rpn"]["test_post_nms"] == 2000
    saved = load_proposals(tmp_path / "test" / "proposals.npz", dataset)
    assert [entry.image_id for entry in saved] == ["image0", "image1", "image2"]
    assert sum(len(entry.scores) for entry in saved) == result.proposals > 30
    assert result.average_recall["AR@100"] > 0


def test_the_evaluators_agree(dataset, tmp_path):
    config = with_many_proposals(tiny_config(*HALF))
    tables = {
        run(dataset, config, tmp_path / name, evaluator=name).table()
        for name in ("hotcoco", "pycocotools")
    }
    assert len(tables) == 1


@pytest.mark.parametrize("offset", [0, 1])
def test_boxes_leave_the_frame_of_the_network(dataset, offset):
    config = tiny_config(*HALF, "boxes.offset", offset)
    model = tiny_detector(config)
    randomise(model)
    batches = list(
        make_batches(
            dataset.records,
            batch_size=2,
            short_side=32,
            long_side=48,
            offset=offset,
            size_multiple=16,
            workers=0,
        )
    )
    found = propose_images(
        model, batches, offset=offset, device=CPU, dtype=torch.float32
    )
    for batch, entries in zip(batches, found, strict=True):
        with torch.no_grad():
            output = model.rpn(model.features(batch.images))
            expected = model.rpn.propose(output, batch.images.sizes)
        for i, entry in enumerate(entries):
            assert entry.image_id == batch.image_ids[i]
            own = expected.valid[i]
            boxes = (expected.boxes[i][own] * 2).numpy()
            boxes[:, 2:] += offset
            np.testing.assert_allclose(entry.boxes, boxes, atol=1e-3)
            assert entry.boxes[:, 2:].max() <= 80 and len(entry.boxes) > 5
            assert (np.diff(entry.scores) <= 0).all()


def test_limits_are_raised_and_never_lowered():
    few, many = tiny_config(), tiny_config("rpn.test_post_nms", 5000)
    assert with_many_proposals(few).rpn.test_pre_nms == 12000
    assert with_many_proposals(few).rpn.test_post_nms == 2000
    assert with_many_proposals(many).rpn.test_post_nms == 5000
    assert with_many_proposals(few).test == few.test


def _checkpoint(model, config):
    return {
        "model": model.state_dict(),
        "config": config.model_dump(mode="json"),
        "classes": list(CLASSES),
        "iteration": 4,
    }


@pytest.mark.parametrize("measure", ["proposal", "proposal_fast"])
def test_a_checkpoint_is_tested_for_its_proposals(dataset, tmp_path, capsys, measure):
    config = tiny_config(*HALF)
    model = tiny_detector(config)
    state = _checkpoint(model, config)
    file = tmp_path / "run" / "checkpoints" / "iter_0000004.pth"
    run_checkpoint(
        RunFolder(tmp_path / "run"),
        file,
        state,
        dataset,
        config,
        device=CPU,
        measure=measure,
    )
    assert capsys.readouterr().out.startswith("AR@          100     300    1000")
    folder = tmp_path / "run" / "test" / "tiny" / "iter_0000004"
    content = json.loads((folder / "proposal_results.json").read_text())
    assert content["settings"]["rpn"]["test_post_nms"] == 2000
    assert not (folder / "results.json").exists()


def test_voc_files_of_a_tested_checkpoint(dataset, tmp_path):
    config = tiny_config(*HALF)
    model = tiny_detector(config)
    state = _checkpoint(model, config)
    folder = tmp_path / "run"
    run_checkpoint(
        RunFolder(folder),
        folder / "checkpoints" / "iter_0000004.pth",
        state,
        dataset,
        config,
        device=CPU,
        options=EvaluationOptions(comp="comp4"),
    )
    names = {path.name for path in folder.glob("test/tiny/*/voc/*")}
    assert names == {"comp4_det_tiny_box.txt", "comp4_det_tiny_disc.txt"}

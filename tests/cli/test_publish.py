import json

import pytest
import torch
from equality import assert_equal
from faster_rcnn import Detector
from faster_rcnn.config.settings import NetConfig
from faster_rcnn.weights import load_initial_weights
from faster_rcnn.weights.checkpoint import load_checkpoint
from faster_rcnn.weights.zoo import open_checkpoint
from faster_rcnn.weights.zoo.table import ENTRIES
from tiny_checkpoints import save_model, save_tiny
from tiny_runs import CASCADE, CLASSES, RETINANET, tiny_config, tiny_detector


@pytest.fixture
def run(tmp_path):
    """A run with one checkpoint, its averaged weights and a test."""
    path = tmp_path / "run" / "checkpoints" / "iter_0000005.pth"
    words = ["data.root", "/home/me/data", "data.train_set", "/home/me/cats/train"]
    config = tiny_config(*words, "net.weights", "/home/me/r50.pth", "train.ema", "0.9")
    model = tiny_detector(config)
    optimizer = torch.optim.SGD(model.parameters(), lr=1, momentum=0.9)
    sum(p.sum() for p in model.parameters() if p.requires_grad).backward()
    optimizer.step()
    average = {
        key: value + 1
        for key, value in model.state_dict().items()
        if key.startswith("rpn.")
    }
    extra = {"ema": {"weights": average}}
    save_model(path, model, config, optimizer=optimizer, extra=extra)
    test = tmp_path / "run" / "test" / "cats_test" / "iter_0000005" / "results.json"
    test.parent.mkdir(parents=True)
    content = {
        "dataset": "cats_test",
        "headline": {"name": "mAP_07", "value": 0.12345},
        "counts": {"images": 7},
        "voc": {"iou_threshold": 0.5, "mAP_07": 0.12345, "mAP_all": 0.25},
        "coco": None,
    }
    test.write_text(json.dumps(content))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_what_is_published(run_tool, run, tmp_path, kind):
    folder = tmp_path / "out"
    licence = "CC BY 4.0"
    words = ["--output", folder, "--licence", licence, "--format", kind]
    status, out, err = run_tool("publish", run, *words)
    assert status == 0, err
    card, path = sorted(folder.iterdir(), key=lambda path: path.suffix != ".md")
    assert str(path) in out and str(card) in out
    import hashlib

    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f"mobile_v2_train-{sha256[:8]}.{kind}"
    assert path.stat().st_size < 0.6 * run.stat().st_size
    # The same input gives the same bytes.
    again = tmp_path / "again"
    words = ["--output", again, "--name", "x", "--format", kind]
    assert run_tool("publish", run, *words)[0] == 0
    assert (again / f"x-{sha256[:8]}.{kind}").read_bytes() == path.read_bytes()
    # Nothing of the machine, and nothing of the training.
    assert b"/home/me" not in path.read_bytes()
    state, old = load_checkpoint(path), load_checkpoint(run)
    assert "optimizer" not in state and "random_states" not in state
    assert state["metrics"]["cats_test"] == {
        **{"headline": "mAP_07", "images": 7, "mAP_07": 0.1235, "mAP_all": 0.25},
    }
    assert state["normalisation"] == "torchvision"
    expected = dict(old["model"]) | old["ema"]["weights"]
    assert_equal(dict(sorted(state["model"].items())), dict(sorted(expected.items())))
    text = card.read_text()
    for part in (
        *(sha256, path.name, licence, "box, disc", "0.1235", "cats_test"),
        *("5 of 4 updates", "--checkpoint", "(123.675, 116.28, 103.53)", "averaged"),
    ):
        assert part in text, part
    assert "/home/me" not in text


def test_published_file_is_taken_everywhere(run_tool, run, tmp_path):
    assert run_tool("publish", run, "--output", tmp_path / "out")[0] == 0
    (path,) = (tmp_path / "out").glob("*.safetensors")
    state = open_checkpoint(path)
    config = tiny_config()
    model = tiny_detector(config, seed=3)
    load_initial_weights(model, NetConfig(name="mobile_v2", weights=str(path)))
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, state["model"][key])
    detector = Detector.from_checkpoint(path, device="cpu")
    assert tuple(detector.classes) == tuple(CLASSES)


@pytest.mark.parametrize(
    ("settings", "net", "kind"),
    [
        (RETINANET, "retina_res18_fpn", "RetinaNet"),
        (CASCADE, "cascade_mobile_v2", "Cascade R-CNN"),
    ],
)
def test_names_of_the_detector(run_tool, tmp_path, settings, net, kind):
    config = tiny_config(*settings, "data.train_set", "cats")
    path = save_tiny(tmp_path / "iter_0000005.pth", config)
    assert run_tool("publish", path, "--output", tmp_path / "out")[0] == 0
    (card,) = (tmp_path / "out").glob(f"{net}_cats-*.md")
    text = card.read_text()
    assert f"A {kind} detector with the net {net}." in text
    assert f"frcnn train DATASET {net} " in text


def test_faults(run_tool, run, tmp_path):
    results = tmp_path / "results.json"
    for text in ("[]", "{}", "no", '{"dataset": 1, "headline": 3}'):
        results.write_text(text)
        status, _, err = run_tool("publish", run, "--results", results)
        assert status == 2 and "expected the results.json of a test" in err
    assert run_tool("publish", tmp_path / "gone.pth")[0] == 2
    assert run_tool("publish", run, "--name", "../x")[0] == 2


def test_untested(run_tool, run, tmp_path):
    for path in run.parent.parent.rglob("results.json"):
        path.unlink()
    status, out, _ = run_tool("publish", run, "--output", tmp_path / "out")
    assert status == 0 and "not measured" in out
    (card,) = (tmp_path / "out").glob("*.md")
    assert "Not measured." in card.read_text() and "not chosen yet" in card.read_text()
    assert not any(card.stem in name for name in ENTRIES)

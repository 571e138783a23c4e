import os
import shutil

import pytest
import torch
from faster_rcnn import Detector
from faster_rcnn.config.loading import ConfigError
from faster_rcnn.detector import from_checkpoint
from faster_rcnn.detector.from_checkpoint import find_checkpoint
from faster_rcnn.weights import layout_check
from faster_rcnn.weights.checkpoint import (
    CheckpointError,
    DamagedFileError,
    load_checkpoint,
)
from tiny_checkpoints import save_tiny
from tiny_runs import CLASSES, tiny_config


def changed(checkpoint, folder, **content):
    """A copy of a checkpoint with other content; None takes a key out."""
    state = {**load_checkpoint(checkpoint), **content}
    path = folder / "changed.pth"
    torch.save({key: value for key, value in state.items() if value is not None}, path)
    return path


def test_attributes_of_a_detector(detector, checkpoint):
    assert detector.classes == CLASSES
    assert detector.config.net.name == "mobile_v2"
    assert detector.device == torch.device("cpu") and detector.dtype == torch.float32
    assert not any(part.training for part in detector.model.modules())
    assert not any(weight.requires_grad for weight in detector.model.parameters())
    weights = load_checkpoint(checkpoint)["model"]
    for name, tensor in detector.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_opening_draws_no_random_numbers(checkpoint):
    before = torch.get_rng_state()
    Detector.from_checkpoint(checkpoint, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_means_its_best_checkpoint_or_its_newest(tmp_path):
    folder = tmp_path / "run/checkpoints"
    folder.mkdir(parents=True)
    for name in ("iter_0000010.pth", "iter_0000200.pth"):
        (folder / name).touch()
    for given in (tmp_path / "run", str(tmp_path / "run"), folder):
        assert find_checkpoint(given) == folder / "iter_0000200.pth"
    (folder / "best.pth").touch()
    assert find_checkpoint(tmp_path / "run") == folder / "best.pth"
    assert find_checkpoint(folder / "iter_0000010.pth").name == "iter_0000010.pth"


def test_a_folder_without_checkpoints(tmp_path):
    with pytest.raises(ValueError, match=r"no checkpoint in .*; train first"):
        Detector.from_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.pth", "runs/model.pth", "./model"])
def test_missing_path(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointError, match=f"^{name} does not exist; give a .pth file"
    ):
        Detector.from_checkpoint(name)


def test_a_name_is_fetched_from_the_zoo(checkpoint, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "faster_rcnn.weights.zoo.fetch", lambda name: asked.append(name) or checkpoint
    )
    detector = Detector.from_checkpoint("torchvision/some-net-0.1", device="cpu")
    assert asked == ["torchvision/some-net-0.1"] and detector.classes == CLASSES


def test_a_file_goes_before_a_name_of_the_zoo(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(checkpoint, "detector")
    assert find_checkpoint("detector").samefile("detector")


def test_averaged_weights_are_taken_as_in_tests(tmp_path):
    config = tiny_config("train.ema", 0.9)
    name = "box_head.predictor.scores.bias"
    averaged = {name: torch.tensor([1.0, 2.0, 3.0])}
    path = save_tiny(tmp_path / "a.pth", config, ema={"weights": averaged})
    detector = Detector.from_checkpoint(path, device="cpu")
    assert torch.equal(detector.model.state_dict()[name], averaged[name])
    plain = Detector.from_checkpoint(
        path, device="cpu", overrides=["train.ema", "0"]
    ).model.state_dict()
    assert not torch.equal(plain[name], averaged[name])


def test_overrides(checkpoint):
    detector = Detector.from_checkpoint(
        checkpoint, device="cpu", overrides=("test.detections_per_image", "3")
    )
    assert detector.config.test.detections_per_image == 3
    with pytest.raises(ConfigError, match=r"did you mean test\.nms_threshold"):
        Detector.from_checkpoint(checkpoint, overrides=["test.nms_treshold", "0.5"])
    with pytest.raises(
        CheckpointError, match=r"do not fit .*: \d faults \(rpn.*\); leave out"
    ):
        Detector.from_checkpoint(checkpoint, overrides=["rpn.channels", "8"])


def test_shapes_are_compared_before_memory_is_taken(checkpoint, monkeypatch):
    devices, build = [], layout_check.build_detector

    def watched(*arguments):
        devices.append(torch.get_default_device().type)
        return build(*arguments)

    monkeypatch.setattr(layout_check, "build_detector", watched)
    with pytest.raises(CheckpointError, match="do not fit"):
        Detector.from_checkpoint(checkpoint, overrides=["rpn.channels", "60000"])
    assert set(devices) == {"meta"}


def test_precision(checkpoint):
    def dtype_of(**options):
        return Detector.from_checkpoint(checkpoint, device="cpu", **options).dtype

    assert dtype_of(precision="bfloat16") == torch.bfloat16
    assert dtype_of(overrides=["train.precision", "bfloat16"]) == torch.bfloat16
    assert dtype_of(precision="float32") == dtype_of() == torch.float32
    with pytest.raises(
        ValueError, match="auto, float32, bfloat16, float16, found 'half'"
    ):
        dtype_of(precision="half")


def test_devices(checkpoint):
    device = torch.device("cpu")
    assert Detector.from_checkpoint(checkpoint, device=device).device is device
    with pytest.raises(ValueError, match="'tpu' is not available"):
        Detector.from_checkpoint(checkpoint, device="tpu")


def test_files_that_are_no_checkpoint(tmp_path, checkpoint):
    text = tmp_path / "text.pth"
    text.write_text("no checkpoint")
    cut = tmp_path / "cut.pth"
    cut.write_bytes(checkpoint.read_bytes()[:-1000])
    for path in (text, cut):
        with pytest.raises(DamagedFileError, match=f"^{path} is damaged"):
            Detector.from_checkpoint(path)
    weights = tmp_path / "weights.pth"
    torch.save(load_checkpoint(checkpoint)["model"], weights)
    with pytest.raises(CheckpointError, match="expected weights of"):
        Detector.from_checkpoint(weights)


class Payload:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_no_code_of_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": Payload()}, "evil.pth")
    with pytest.raises(CheckpointError, match="only code from the file"):
        Detector.from_checkpoint("evil.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"config": None},
        {"config": 3},
        {"classes": None},
        {"classes": ["__background__"]},
        {"classes": ["__background__", 1, 2]},
        {"classes": ["__background__", "box"]},
        {"model": None},
        {"model": {"a": 1}},
        {"model": {}},
        {"model": {"a": torch.zeros(1)}},
    ],
)
def test_checkpoints_that_lack_something(checkpoint, tmp_path, content):
    path = changed(checkpoint, tmp_path, **content)
    with pytest.raises(CheckpointError, match=str(path)):
        Detector.from_checkpoint(path)


def test_one_module_alone_is_no_detector(tmp_path):
    config = tiny_config("net.modules", "rpn").model_dump(mode="json")
    state = {"config": config, "classes": CLASSES, "model": {}}
    with pytest.raises(
        CheckpointError, match=r"rpn.pth contains one module .*modules rpn"
    ):
        from_checkpoint.open_detector(tmp_path / "rpn.pth", state, [])

import random

import pytest
import safetensors.torch
import torch
from faster_rcnn.weights.checkpoint import (
    FORMAT,
    CheckpointError,
    DamagedFileError,
    load_checkpoint,
    read_tensors,
)
from faster_rcnn.weights.safetensors_files import safetensors_bytes

CONTENT = {
    "format": FORMAT,
    "iteration": 3,
    "config": {"net": {"name": "res18"}},
    "classes": ["__background__", "c\u00e6t"],
    "normalisation": "torchvision",
    "metrics": {"voc": {"AP": 0.25}},
    "averaged": False,
    "model": {
        "w": torch.arange(6.0).view(2, 3).t(),  # of other strides
        "tied": torch.ones(4).to(torch.bfloat16),
        "count": torch.tensor(7),
    },
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.pth"  # told by content, not by name
    path.write_bytes(safetensors_bytes(CONTENT))
    return path


def test_read_again(path):
    state = load_checkpoint(path)
    weights = state.pop("model")
    assert state == {key: CONTENT[key] for key in CONTENT if key != "model"}
    assert weights.keys() == CONTENT["model"].keys()
    for key, tensor in CONTENT["model"].items():
        torch.testing.assert_close(weights[key], tensor, rtol=0, atol=0)
    metadata = safetensors.safe_open(path, "pt").metadata()
    assert metadata["format"] == "pt" and metadata["normalisation"] == '"torchvision"'


def test_same_bytes_each_time(path):
    """The library orders the metadata at random, also within a process."""
    again = {safetensors_bytes(load_checkpoint(path)) for _ in range(20)}
    assert again == {path.read_bytes()}


def test_state_dict_of_another_program(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"w": torch.ones(2)}, path, {"format": "pt"})
    assert list(read_tensors(path)) == ["w"]
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_checkpoint(path)


def test_damage_is_found(path):
    data, rng = path.read_bytes(), random.Random(0)
    assert len(data) > 500
    for _ in range(200):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            state = load_checkpoint(path)
        except CheckpointError as error:
            assert len(str(error)) < 1000
        else:  # a letter of the header's text
            assert torch.equal(state["model"]["count"], torch.tensor(7))
    flipped = bytearray(data)
    flipped[-1] ^= 1
    for wrong in (bytes(flipped), data[:-1], data + b"x", data[:20]):
        path.write_bytes(wrong)
        with pytest.raises(DamagedFileError, match="damaged or no safetensors file"):
            load_checkpoint(path)

import copy
import errno
import os
import pickle
import random

import numpy as np
import pytest
import torch
from faster_rcnn.config.loading import config_from_checkpoint, load_config
from faster_rcnn.config.settings import Config
from faster_rcnn.utils.device import (
    random_states,
    restore_random_states,
    seed_everything,
)
from faster_rcnn.weights.checkpoint import (
    FORMAT,
    CheckpointError,
    Snapshot,
    load_checkpoint,
    read_tensors,
    save_checkpoint,
)
from torch import nn

CLASSES = ("__background__", "cat", "dog")


class Run:
    """A model in training, as far as a checkpoint is concerned."""

    def __init__(self, seed=0):
        seed_everything(seed)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        self.optimizer = torch.optim.SGD(
            [
                {"params": self.model[0].parameters(), "lr_factor": 1.0},
                {"params": self.model[2].parameters(), "lr_factor": 2.0},
            ],
            lr=0.1,
            momentum=0.9,
        )
        self.generator = torch.Generator().manual_seed(seed)

    def step(self):
        noise = torch.rand(5, 3, generator=self.generator)
        scale = torch.rand(1) + random.random() + np.random.rand()
        self.optimizer.zero_grad()
        (self.model(noise) * scale).square().sum().backward()
        self.optimizer.step()

    def save(self, path, config=None):
        snapshot = Snapshot(self.model, self.optimizer, self.generator, iteration=7)
        save_checkpoint(path, snapshot, config or Config(), CLASSES)

    def load(self, path):
        state = load_checkpoint(path)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        restore_random_states(state["random_states"])


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "iter_0000007.pth"
    Run().save(path)
    return path


def refusal(path, load=load_checkpoint):
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_content(tmp_path):
    path = tmp_path / "new" / "folder" / "iter_0000007.pth"
    config = load_config([], ["train.lr", "0.5", "data.root", "/some/where"])
    run = Run()
    run.step()
    run.save(path, config)
    state = load_checkpoint(path)
    assert state["format"] == FORMAT
    assert state["iteration"] == 7
    assert state["classes"] == list(CLASSES)
    assert config_from_checkpoint(state, []) == config
    torch.testing.assert_close(
        state["model"], run.model.state_dict(), rtol=0, atol=0, check_device=True
    )
    assert [g["lr_factor"] for g in state["optimizer"]["param_groups"]] == [1, 2]
    assert os.listdir(path.parent) == [path.name]


def test_plain_pytorch_reads_it_safely(saved):
    state = torch.load(saved, weights_only=True)
    assert state["iteration"] == 7 and "0.weight" in state["model"]


def test_going_on_equals_never_having_stopped(tmp_path):
    run = Run()
    for _ in range(3):
        run.step()
    run.save(tmp_path / "a.pth")
    for _ in range(3):
        run.step()
    want = copy.deepcopy(run.model.state_dict())
    draws = random.random(), np.random.standard_normal(), torch.rand(1).item()

    other = Run(seed=99)
    other.step()
    other.load(tmp_path / "a.pth")
    for _ in range(3):
        other.step()
    torch.testing.assert_close(other.model.state_dict(), want, rtol=0, atol=0)
    assert (random.random(), np.random.standard_normal(), torch.rand(1).item()) == draws


def test_saving_draws_no_random_numbers(tmp_path):
    run = Run()
    before = random_states()
    run.save(tmp_path / "a.pth")
    after = random_states()
    assert torch.equal(before.pop("torch"), after.pop("torch"))
    before.pop("cuda", None), after.pop("cuda", None)
    assert before == after


@pytest.mark.parametrize(
    "error", [RuntimeError("no space left?"), OSError(errno.EIO, "broken disk")]
)
@pytest.mark.parametrize("previous", [True, False])
def test_save_that_fails_midway_leaves_no_trace(tmp_path, monkeypatch, error, previous):
    path = tmp_path / "iter_0000007.pth"
    if previous:
        Run().save(path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(state, file):
        file.write_bytes(b"half a checkp")
        raise error

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(type(error), match=str(error.args[-1])):
        Run(seed=1).save(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_interrupted_save_leaves_no_trace(saved, monkeypatch):
    before = saved.read_bytes()

    def interrupt(state, file):
        file.write_bytes(b"half a checkp")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Run(seed=1).save(saved)
    assert os.listdir(saved.parent) == [saved.name]
    assert saved.read_bytes() == before


def test_missing_file(tmp_path):
    assert "does not exist; give the path" in refusal(tmp_path / "gone.pth")
    assert "is a folder, expected a .pth file" in refusal(tmp_path)


@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.5, 0.9, 0.99])
def test_truncated_file(saved, share):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * share)])
    assert "is damaged" in refusal(saved)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"hello\n", b"\x80\x02", bytes(range(256)) * 9, b"PK\x03\x04" * 50],
)
def test_no_pytorch_file(tmp_path, data):
    path = tmp_path / "a.pth"
    path.write_bytes(data)
    assert "is damaged" in refusal(path)


def test_a_message_does_not_quote_the_file(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"S" + b"x" * 100_000 + b"\n.")  # a text without its quotes
    assert len(refusal(path)) < len(str(path)) + 400


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_bytes_are_wrong_the_error_is_clear(tmp_path, zipped):
    path = tmp_path / "a.pth"
    content = {"w": torch.ones(3, 4), "names": ["a", "b"], "t": (1, 2.5, None)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    data, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(80):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 3, 20))):
            damaged[rng.randrange(min(len(data), 1000))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_tensors(path)  # a byte that does not matter may have been hit
        except CheckpointError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 20


class Trap:
    """Its unpickling makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_code_in_a_file_is_not_executed(tmp_path, kind):
    path, sprung = tmp_path / "a.pth", tmp_path / "sprung"
    content = {"format": FORMAT, "model": {"w": torch.ones(2)}, "x": Trap(sprung)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    message = refusal(path)
    assert "code from the file" in message and "not run" in message
    assert "\n" not in message
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("content", "kind"), [([1, 2], "list"), (torch.ones(2), "Tensor"), (None, "None")]
)
def test_no_dictionary(tmp_path, content, kind):
    path = tmp_path / "a.pth"
    torch.save(content, path)
    message = refusal(path, read_tensors)
    assert f"holds {kind}" in message and "expected a dictionary" in message


def test_weights_of_other_origin_are_no_checkpoint(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.ones(2)}, path)
    assert read_tensors(path)["conv1.weight"].tolist() == [1, 1]
    assert "is not a checkpoint" in (message := refusal(path))
    assert "--weights" in message
    torch.save({"format": "faster_rcnn checkpoint 99"}, path)
    assert "'faster_rcnn checkpoint 99', expected" in refusal(path)


def test_damaged_name_within_the_archive(saved):
    data = bytearray(saved.read_bytes())
    at = data.index(b"PK\x03\x04", 4)  # the second part
    data[at + 30 : at + 34] = b"\xff" * 4
    data[at + 7] |= 8  # the name is said to be UTF-8
    saved.write_bytes(data)
    assert "is damaged" in refusal(saved)


def test_file_that_is_larger_than_it_seems(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"format": FORMAT, "w": torch.zeros(()).expand(10**12)}, path)
    assert "made to fill the memory" in (message := refusal(path))
    assert "shape (1000000000000,)" in message and "not loaded" in message

import ctypes
import os
import random

import numpy as np
import pytest
import torch
from faster_rcnn.utils.device import (
    autocast,
    keep_freed_memory,
    pick_device,
    pick_dtype,
    random_states,
    restore_random_states,
    seed_everything,
)

CPU, CUDA, MPS = (torch.device(kind) for kind in ("cpu", "cuda", "mps"))


@pytest.fixture
def machine(monkeypatch):
    """Pretends which accelerators there are."""

    def pretend(*, cuda=False, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("there", "want"),
    [
        ({}, CPU),
        ({"mps": True}, MPS),
        ({"cuda": True}, CUDA),
        ({"cuda": True, "mps": True}, CUDA),
    ],
)
def test_auto_takes_the_best_device(machine, there, want):
    machine(**there)
    assert pick_device("auto") == want
    assert pick_device(want.type) == want
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda", "mps", "tpu", "cuda:1", ""])
def test_missing_device(machine, name):
    machine()
    with pytest.raises(ValueError, match=r"this machine has cpu. Use --device auto"):
        pick_device(name)


def test_missing_device_lists_the_available_ones(machine):
    machine(cuda=True)
    with pytest.raises(ValueError, match=r"'mps' is not available .* has cuda, cpu"):
        pick_device("mps")


@pytest.mark.parametrize("device", [CPU, CUDA, MPS])
def test_given_precision_is_taken(device):
    assert pick_dtype("float32", device) == torch.float32
    assert pick_dtype("bfloat16", device) == torch.bfloat16


@pytest.mark.parametrize(
    ("avx512", "amx", "want"),
    [
        (False, False, torch.float32),
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
    ],
)
def test_automatic_precision_on_a_cpu(monkeypatch, avx512, amx, want):
    for probe, there in (
        ("_is_avx512_bf16_supported", avx512),
        ("_is_amx_tile_supported", amx),
    ):
        monkeypatch.setattr(torch.cpu, probe, lambda there=there: there, raising=False)
    assert pick_dtype("auto", CPU) == want


def test_automatic_precision_where_pytorch_cannot_tell(monkeypatch):
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, probe, raising=False)
    assert pick_dtype("auto", CPU) == torch.float32
    assert pick_dtype("auto", MPS) == torch.float32


@pytest.mark.parametrize("native", [True, False])
def test_automatic_precision_on_a_gpu(monkeypatch, native):
    def supported(including_emulation=True):
        return including_emulation or native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert pick_dtype("auto", CUDA) == (torch.bfloat16 if native else torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast(dtype):
    layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    with autocast(CPU, dtype):
        assert layer(x).dtype == dtype
    assert layer.weight.dtype == torch.float32
    assert layer(x).dtype == torch.float32


def draw():
    """Numbers from every generator; the odd normal is kept back by NumPy's."""
    return (
        [random.random(), random.gauss(0, 1)],
        np.random.standard_normal(3).tolist() + np.random.rand(2).tolist(),
        torch.rand(3).tolist() + torch.randn(1).tolist(),
    )


def test_seed_everything():
    seed_everything(5)
    first = draw()
    seed_everything(6)
    second = draw()
    seed_everything(5)
    assert draw() == first
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_random_states_are_restored_exactly(tmp_path):
    seed_everything(7)
    draw()
    torch.save(random_states(), tmp_path / "states.pth")
    want = draw(), draw()
    seed_everything(0)
    restore_random_states(torch.load(tmp_path / "states.pth", weights_only=True))
    assert (draw(), draw()) == want


def test_gpu_states_of_a_machine_with_more_gpus(monkeypatch):
    given = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: ["first", "second"])
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", given.append)
    states = random_states()
    restore_random_states(states)
    assert given == [["first"]]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    restore_random_states(states)  # on a machine without any
    assert len(given) == 1


def test_keep_freed_memory_sets_glibcs_limits(monkeypatch):
    keep_freed_memory()
    blocks = [np.full(1 << 22, i, np.uint8) for i in range(2)]
    assert [block.sum() for block in blocks] == [0, 1 << 22]
    calls = []

    class Library:
        def mallopt(self, parameter, value):
            calls.append((parameter, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    keep_freed_memory()
    # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    assert calls == [(-1, 2**31 - 1), (-3, 2**30)]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_freed_memory()  # without glibc
    monkeypatch.setattr(os, "name", "nt")
    keep_freed_memory()

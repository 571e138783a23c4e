"""Fixtures of the model's tests."""

import pytest
import torch
from faster_rcnn.model.device import random_states, restore_random_states
from tiny_runs import draw_dataset


@pytest.fixture(autouse=True)
def _keep_random_states():
    """What a test draws does not change what the next one does."""
    states = random_states()
    yield
    restore_random_states(states)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Five drawn images; modules that need others have a fixture of their own."""
    return draw_dataset(tmp_path_factory.mktemp("images"), 5)


@pytest.fixture
def file(tmp_path):
    """Saves a content and gives the path."""

    def save(content, name="weights.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save

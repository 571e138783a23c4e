"""Fixtures of the model's tests."""

import pytest
import torch


@pytest.fixture
def file(tmp_path):
    """Saves a content and gives the path."""

    def save(content, name="weights.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save

"""A detector without a network, for servers in this process."""

from importlib.util import find_spec

import pytest
from fake_detector import FakeDetector

collect_ignore = [] if find_spec("fastapi") else ["test_listen.py", "test_service.py"]


@pytest.fixture
def detector():
    return FakeDetector()

"""Fixtures of the tests of data sets."""

import pytest
from web_server import serving


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        yield server

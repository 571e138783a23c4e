"""Fixtures shared by all tests."""

import gc
import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch
from chromium import CHROMIUM, Browser
from faster_rcnn.utils.device import random_states, restore_random_states
from tiny_runs import draw_dataset
from web_server import Server, serving

# The processes that tests start share the cores: their waiting threads must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_collection_finish() -> None:
    """Collect garbage less often: tracing a network makes millions of objects."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """Escape what is no UTF-8, at which pytest-xdist would end: odd names of files."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Keep parallel test workers from fighting over the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_fsync() -> Iterator[None]:
    """Wait for no disk: the thousands of files that tests write need not last."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", os.fstat)  # an error still is one
        yield


@pytest.fixture(scope="session", autouse=True)
def _indices_aside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the indices of data sets out of folders that tests only read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRCNN_INDEX", str(tmp_path_factory.mktemp("indices")))
        yield


@pytest.fixture(autouse=True)
def _keep_logging() -> Iterator[None]:
    """Takes away the handlers that hold on to a test's captured console."""
    logger = logging.getLogger("faster_rcnn")
    before, level = list(logger.handlers), logger.level
    yield
    for handler in [h for h in logger.handlers if h not in before]:
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data that lies beside the checkout on some machines."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the shared reference data is not on this machine")
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A web server on this machine that can misbehave."""
    with serving(monkeypatch) as server:
        yield server


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests, since its start takes a second."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    """Writes recipes into a folder that stands for the packaged ones."""
    folder = tmp_path / "cfgs"
    folder.mkdir()
    monkeypatch.setattr("faster_rcnn.config.recipes.recipe_folder", lambda: folder)

    def write(**texts):
        for name, text in texts.items():
            (folder / f"{name}.yml").write_text(text)

    return write


@pytest.fixture(autouse=True)
def _keep_random_states():
    """Restore the random states, so that no test depends on the ones before."""
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

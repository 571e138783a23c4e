import pytest
import torch
from command_lines import run_command
from faster_rcnn.cli import command_line
from faster_rcnn.engine import validation
from tiny_runs import draw_dataset


@pytest.fixture
def run_tool(capsys):
    """Runs a tool in this process; gives its exit status and what it prints."""

    def run(name, *words):
        return run_command(name, *words), *capsys.readouterr()

    return run


@pytest.fixture
def drawn_tool(tmp_path, monkeypatch, run_tool):
    """Runs a tool on a drawn data set of four images, output in tmp_path/output."""
    dataset = draw_dataset(tmp_path / "images", 4)
    for module in (command_line, validation):
        monkeypatch.setattr(module, "load_dataset", lambda *_, **__: dataset)
    monkeypatch.setattr(command_line, "fetch_dataset", lambda *_: None)
    state = torch.get_rng_state()

    def run(name, *words, tag="run"):
        common = ["--tag", tag, "--output", tmp_path / "output", "--device", "cpu"]
        return run_tool(name, "shapes", "mobile_v2", *common, *words)

    yield run
    torch.set_rng_state(state)

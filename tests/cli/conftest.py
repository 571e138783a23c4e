import sys

import pytest
from command_lines import load_tool


@pytest.fixture
def run_tool(monkeypatch, capsys):
    """Runs a tool in this process; gives its exit status and what it prints."""

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
        status = 0
        try:
            load_tool(name).main()
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return run

"""The ``frcnn`` command, and the doors to it in tools/."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_lines import REPOSITORY
from faster_rcnn.cli import main as cli
from faster_rcnn.cli import roots
from faster_rcnn.cli.parser import Parser


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_all_commands_are_shown(capsys, words):
    cli.main(words)
    out = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert any(
            line.split("  ")[1] == name and line.endswith(command.summary)
            for line in out.splitlines()
            if line.startswith("  ")
        ), name
    assert max(map(len, out.splitlines())) <= 80


def test_first_steps(capsys):
    cli.main([])
    shown = capsys.readouterr().out.splitlines()
    commands = [line.split()[1] for line in shown[: shown.index("")]]
    assert commands == ["train", "test", "detect", "check", "export", "demo"]
    assert set(commands) <= cli.COMMANDS.keys()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["trian", "voc"], "unknown command 'trian'; did you mean train?"),
        (["tset"], "unknown command 'tset'; did you mean test?"),
        (["fetch"], "expected fetch data or fetch weights, found fetch"),
        (["fetch", "date"], "found fetch date; did you mean fetch data?"),
        (["--versoin"], "unknown command '--versoin'"),
    ],
)
def test_unknown_commands(capsys, words, problem):
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert problem in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_parser_and_a_module(name):
    module = cli.COMMANDS[name].module
    parser = importlib.import_module(f"faster_rcnn.cli.arguments.{module}")
    assert parser.build_parser("a b").prog == "a b"
    assert callable(importlib.import_module(f"faster_rcnn.cli.{module}").main)


def test_words_reach_the_command(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["fetch", "data", "vco"])
    err = capsys.readouterr().err
    assert err.startswith("usage: frcnn fetch data ") and "'vco'" in err


def test_help_and_errors_need_no_pytorch():
    code = """
import sys
from faster_rcnn.cli.main import COMMANDS, main

main(["--version"])
assert not {"torch", "numpy", "cv2", "pydantic"} & set(sys.modules)
for name in COMMANDS.keys() - {"tensorboard"}:
    for words in (["--help"], ["--no-such-option"]):
        try:
            main([*name.split(), *words])
        except SystemExit as ended:
            print(name, words, ended.code)
        assert "torch" not in sys.modules, (name, words)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(b"frcnn ")
    assert result.stdout.count(b"usage: frcnn ") == len(cli.COMMANDS) - 1
    assert result.stdout.count(b"['--no-such-option'] 2") == len(cli.COMMANDS) - 1


@pytest.mark.processes
@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("words", ["--help", "train --help"])
def test_a_reader_that_has_gone_is_no_error(words):
    reader, writer = os.pipe()
    os.close(reader)
    code = "from faster_rcnn.cli.main import main; main()"
    command = [sys.executable, "-c", code, *words.split()]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    said = [line for line in result.stderr.splitlines() if b": starting" not in line]
    assert (result.returncode, said) == (0, [])


def test_options_are_spelled_out(capsys):
    parser = Parser(prog="x")
    parser.add_argument("--output")
    parser.add_argument("--overrides", nargs="+")
    for words in (["--out", "a"], ["--out=a"], ["--overrides", "b", "--out", "a"]):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args(words)
        assert "did you mean --output?" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--zzz"])
    assert "did you mean" not in capsys.readouterr().err


def test_the_current_folder_by_default(monkeypatch, tmp_path):
    for name in ("FRCNN_OUTPUT", "FRCNN_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert (roots.output_root(), roots.data_root()) == (
        tmp_path / "output",
        tmp_path / "data",
    )
    monkeypatch.setenv("FRCNN_OUTPUT", "/runs")
    monkeypatch.setenv("FRCNN_DATA", "sets")
    assert (roots.output_root(), roots.data_root()) == (
        Path("/runs"),
        tmp_path / "sets",
    )


@pytest.mark.processes
@pytest.mark.parametrize(
    ("given", "root"), [({}, REPOSITORY / "data"), ({"FRCNN_DATA": "/sets"}, "/sets")]
)
def test_a_door_works_on_its_checkout(tmp_path, given, root):
    """From any folder, unless the environment names another."""
    tool = REPOSITORY / "tools" / "fetch_data.py"
    result = subprocess.run(
        [sys.executable, tool, "--help"],
        env={"PATH": os.environ["PATH"], "COLUMNS": "200", **given},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: fetch_data.py ")
    assert f"default: {root}" in " ".join(result.stdout.split())


def test_every_tool_is_a_door():
    for path in (REPOSITORY / "tools").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 8 and os.access(path, os.X_OK)
        assert sum(f'door("{name}", __file__)' in text for name in cli.COMMANDS) == 1


def test_words_are_shown_without_control_characters(capsys):
    for call in (
        lambda: cli.main(["\x1b[2J", "x"]),
        lambda: Parser().parse_args(["\r"]),
    ):
        with pytest.raises(SystemExit):
            call()
        message = capsys.readouterr().err
        assert message.isascii() and "\x1b" not in message and "\r" not in message

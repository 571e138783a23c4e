"""Checks of command lines that documents and recipes show, without running them."""

import importlib
import os
import re
import shlex
from pathlib import Path

from faster_rcnn.cli.main import COMMANDS, run
from faster_rcnn.config.dataset_words import WORDS
from faster_rcnn.config.loading import load_config
from faster_rcnn.config.recipes import find_recipes, net_settings, recipe_file

HELPERS = Path(__file__).resolve().parent
REPOSITORY = HELPERS.parents[1]
SCRIPTS = "./experiments/scripts/"
TOOLS = {
    "train.sh": "train",
    "train_alternating.sh": "alternating",
    "test.sh": "test",
}


def command_of(tool):
    """The name of the command that tools/<tool>.py is a door to."""
    text = (REPOSITORY / "tools" / f"{tool}.py").read_text(encoding="utf-8")
    return re.search(r'door\("([\w ]+)", __file__\)', text)[1]


def load_tool(name):
    """Import the module of the command that tools/<name>.py is a door to."""
    module = COMMANDS[command_of(name)].module
    return importlib.import_module(f"faster_rcnn.cli.{module}")


def run_command(tool, *words):
    """Run the command of tools/<tool>.py in this process; gives its exit status."""
    command = command_of(tool)
    try:
        run(command, list(map(str, words)), prog=f"frcnn {command}")
    except SystemExit as error:
        return error.code
    return 0


def bash_blocks(text):
    """The contents of a Markdown text's ```bash blocks."""
    return re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def script_commands(shell):
    """The words of each call of ``frcnn`` or one of our scripts in shell code."""
    commands = []
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        words = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                while words and re.fullmatch(r"\w+=.*", words[0]):
                    words.pop(0)  # settings of the environment
                if words and (words[0] == "frcnn" or words[0].startswith(SCRIPTS)):
                    commands.append(words)
                words = []
            else:
                words.append(word)
    return commands


def check_command(words):
    """Assert that a call of a script would get past the reading of its arguments.

    Data sets and checkpoints given as paths need not be there; recipes do.
    """
    if words[0] == "frcnn":
        _check_frcnn(words)
        return
    script = REPOSITORY / words[0]
    assert script.is_file(), f"{words[0]} does not exist"
    assert os.access(script, os.X_OK), f"{words[0]} is not executable"
    if script.name in TOOLS:
        _check_tool(script.name, words[1:])
    elif script.name == "tensorboard.sh":
        _check_tensorboard(words[1:])
    elif script.name == "demo.sh":
        _check_demo(words[1:])
    else:
        assert script.name == "check.sh", f"{words[0]}: how to check it is not known"
        for word in words[1:]:
            path = word.partition("::")[0]
            is_path = path.startswith("tests")
            assert not is_path or (REPOSITORY / path).exists(), f"{path} does not exist"


def _check_frcnn(words):
    for count in (3, 2):
        name = " ".join(words[1:count])
        if name in COMMANDS:
            break
    else:
        raise AssertionError(f"{shlex.join(words)}: no such command")
    if f"{name}.sh" in TOOLS:
        _check_tool(f"{name}.sh", words[count:])
    elif name == "tensorboard":
        _check_tensorboard(words[count:])
    else:
        _parse(COMMANDS[name].module, words[count:], line=shlex.join(words))


def _parse(module, words, *, line):
    """The arguments of a command, or None after its help."""
    arguments = importlib.import_module(f"faster_rcnn.cli.arguments.{module}")
    parser = arguments.build_parser()
    try:
        return parser.parse_args(words)
    except SystemExit as error:
        assert error.code == 0, f"{line}: refused, see above"
        return None


def _check_tool(script, words):
    line = shlex.join([script, *words])
    arguments = _parse(TOOLS[script], words, line=line)
    if arguments is None:
        return
    word = arguments.dataset
    assert word in WORDS or "/" in word, f"{line}: unknown data set {word}"
    net = arguments.net or "mobile_v2_fpn"  # what a CPU trains if none is named
    recipes = find_recipes(word, net)
    if getattr(arguments, "cfg", None) is not None:
        in_repository = REPOSITORY / arguments.cfg
        recipes.append(
            in_repository if in_repository.is_file() else recipe_file(arguments.cfg)
        )
    settings = [*net_settings(net), *arguments.overrides]
    assert load_config(recipes, settings).net.full_name == net
    options = {"train.iterations": "iters", "train.seed": "seed"}
    for key, option in options.items():
        value = getattr(arguments, option, None)
        if value is not None:
            load_config([], [key, str(value)])


def _check_demo(words):
    arguments = _parse("demo", words, line=f"demo.sh {shlex.join(words)}")
    if arguments is not None:
        load_config([], arguments.overrides)


def _check_tensorboard(words):
    if words:
        from tensorboard import default, program

        board = program.TensorBoard(default.get_plugins())
        try:
            board.configure(["tensorboard", "--logdir", "output", *words])
        except SystemExit as error:
            assert error.code == 0, f"tensorboard.sh {shlex.join(words)}: refused"

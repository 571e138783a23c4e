"""Docstrings name arguments that exist, one a line, as the API reference reads them."""

import ast
import re

import pytest
from command_lines import REPOSITORY

FILES = sorted((REPOSITORY / "lib").rglob("*.py"))
SECTION = re.compile(r"^Args:\n((?:(?:    .*)?\n)*)", re.MULTILINE)
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def parameters(node):
    """Names of a function's parameters, or of those that make an object of a class."""
    if isinstance(node, ast.ClassDef):
        inits = [n for n in node.body if getattr(n, "name", "") == "__init__"]
        fields = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign)}
        return fields.union(*map(parameters, inits))
    arguments = node.args
    names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return {a.arg for a in (*names, arguments.vararg, arguments.kwarg) if a}


def faults(text):
    """Lines of the sections Args that are no name of a parameter and a description."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, FUNCTIONS | ast.ClassDef):
            continue
        section = SECTION.search((ast.get_docstring(node) or "") + "\n")
        for line in section[1].splitlines() if section else []:
            if line.startswith("     ") or not line.strip():
                continue  # goes on with the one before
            name, colon, _ = line.strip().partition(":")
            if not colon or name.lstrip("*") not in parameters(node):
                found.append(f"{node.name}: {line.strip()}")
    return found


@pytest.mark.parametrize("line", ["x, y: both.", "z: not there.", "As for g."])
def test_faults_are_found(line):
    text = f'def f(x, y):\n    """Add.\n\n    Args:\n        {line}\n    """\n'
    assert faults(text) == [f"f: {line}"]
    assert faults(text.replace(line, "x: the one.\n        y: the other.")) == []


def test_arguments_of_docstrings_exist():
    found = [
        f"{path.relative_to(REPOSITORY)}: {fault}"
        for path in FILES
        for fault in faults(path.read_text(encoding="utf-8"))
    ]
    assert found == []

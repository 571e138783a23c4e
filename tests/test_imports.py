"""The layout: imports point down, and files that texts name exist."""

import ast
import functools
import importlib
import io
import pkgutil
import re
import tokenize
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import faster_rcnn
import pytest
from command_lines import REPOSITORY

LIB = REPOSITORY / "lib"
ORDER = (
    *("__init__", "api", "cli", "serving", "demo", "export", "detector", "engine"),
    *("inference", "weights", "evaluation", "model", "nets", "datasets", "config"),
    *("layer_utils", "nms", "kernels", "utils"),
)
"""Folders of lib/, each above those that it may import; ``__init__`` is lib/'s own."""

ELSEWHERE = {"my_cells.py", "MODEL_ZOO.md"}
"""Files that texts name though they are not here: a reader's own, another project's."""

MODULES = [
    module.name
    for module in pkgutil.walk_packages(faster_rcnn.__path__, "faster_rcnn.")
    if not module.name.endswith(".__main__")
]

FILES = {
    path.relative_to(LIB).with_suffix("").parts: path
    for path in sorted([*LIB.rglob("*.py"), *LIB.rglob("*.pyi")])
}
NAMED = re.compile(r"(?<![\w/.*{<])(?:[\w-]+/)*[\w-]+\.(?:py|pyx|cu|sh|h|md)\b(?!\.)")


def module_of(parts: tuple[str, ...]) -> tuple[str, ...] | None:
    """The file of a module or a package, None if there is none."""
    found = (candidate for candidate in (parts, (*parts, "__init__")))
    return next((candidate for candidate in found if candidate in FILES), None)


def imported_by(file: tuple[str, ...], text: str) -> set[tuple[str, ...]]:
    """Files of lib/ that one of them imports, wherever in its text.

    Also within functions and under TYPE_CHECKING. A package is what its ``__init__``
    says only where a name comes from there.
    """
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = file[: len(file) - node.level]
            base += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                target = module_of((*base, alias.name)) or module_of(base)
                assert target, f"{'/'.join(file)} imports {base}, which is not there"
                found.add(target)
    return found - {file}


@functools.cache
def imports() -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """The files of lib/ that each of them imports."""
    return {
        file: imported_by(file, path.read_text(encoding="utf-8"))
        for file, path in FILES.items()
    }


def shown(file: tuple[str, ...]) -> str:
    return "/".join(file)


def circle_of(imports: dict[tuple[str, ...], set[tuple[str, ...]]]) -> list[str]:
    """Files that import each other in a circle, the first again at the end."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return [shown(file) for file in error.args[1]]
    return []


def upward(imports: dict[tuple[str, ...], set[tuple[str, ...]]]) -> list[str]:
    """Imports between folders that do not point down."""
    rank = {folder: place for place, folder in enumerate(ORDER)}
    return [
        f"{shown(file)} imports {shown(target)}"
        for file, targets in imports.items()
        for target in sorted(targets)
        if rank[file[0]] > rank[target[0]] or {file[0], target[0]} == {"demo", "export"}
    ]


def test_every_folder_has_its_place():
    assert {file[0] for file in FILES} == set(ORDER)


def test_no_two_files_have_one_name():
    """But for mirrors: a command of what it runs, a kernel for GPUs of the CPU's."""
    mirrors = ("cli", "kernels/gpu")
    names = [
        file[-1]
        for file in FILES
        if file[-1] != "__init__" and not shown(file).startswith(mirrors)
    ]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_no_circle_between_files():
    assert circle_of(imports()) == []


def test_imports_between_folders_point_down():
    assert upward(imports()) == []


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    from ..engine.train import train",
        "if TYPE_CHECKING:\n    from ..engine import train",
    ],
)
def test_hidden_imports_are_seen(text):
    file, above = ("utils", "files"), ("engine", "train")
    assert imported_by(file, text) == {above}
    assert upward({file: {above}}) == ["utils/files imports engine/train"]
    assert len(circle_of(imports() | {file: {above}})) > 2


def test_the_model_is_the_detectors_alone():
    lines = sum(
        path.read_text(encoding="utf-8").count("\n")
        for file, path in FILES.items()
        if file[0] == "model"
    )
    assert lines < 1500


def test_modules_are_found():
    assert "faster_rcnn.kernels.gpu.suppression_kernels" in MODULES
    assert "faster_rcnn.layer_utils.anchors" in MODULES


def test_every_module_imports():
    for name in MODULES:
        importlib.import_module(name)


def named_files(path: Path) -> list[tuple[int, str]]:
    """Lines and files that a document, or docstrings and comments, name."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        pieces = list(enumerate(text.splitlines(), 1))
    else:
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        pieces = [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, kinds) and (docstring := ast.get_docstring(node)):
                pieces.append((node.body[0].lineno, docstring))
    return [(line, name) for line, piece in pieces for name in NAMED.findall(piece)]


def test_files_named_in_texts_exist():
    kept = ("lib", "tests", "tools", "benchmarks", "docs", "experiments", "README.md")
    there = [
        f"/{path.relative_to(REPOSITORY)}"
        for top in (*kept, "CONTRIBUTING.md", "setup.py", "CHANGELOG.md")
        for path in [REPOSITORY / top, *(REPOSITORY / top).rglob("*")]
    ]
    ends = {file[start:] for file in there for start in _slashes(file)}
    texts = [*LIB.rglob("*.py"), *REPOSITORY.glob("docs/*.md")]
    texts += [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"]
    gone = [
        f"{path.relative_to(REPOSITORY)}:{line} names {name}"
        for path in texts
        for line, name in named_files(path)
        if f"/{name}" not in ends
        and not (REPOSITORY / name).exists()
        and name not in ELSEWHERE
    ]
    assert gone == []


def _slashes(text: str) -> list[int]:
    return [place for place, letter in enumerate(text) if letter == "/"]

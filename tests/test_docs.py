import importlib
import re

import pytest
from command_lines import REPOSITORY
from faster_rcnn.config import loading
from faster_rcnn.config.loading import load_config

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
DOCUMENTS = [
    path
    for path in [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/**/*.md"))]
    if BLOCK.search(path.read_text(encoding="utf-8"))
]


def load_with_few_regions(recipes=(), overrides=()):
    """Load settings with few regions, since heads take the longest."""
    few = ["rpn.test_post_nms", "32", "head.rois_per_image", "32"]
    return load_config(recipes, [*few, *overrides])


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_of_a_document_runs(path, tmp_path, monkeypatch):
    """A document's blocks are one program; a fault is shown at its own line."""
    text = path.read_text(encoding="utf-8")
    lines = [""] * (text.count("\n") + 1)
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        code = block[1].splitlines()
        lines[first : first + len(code)] = code
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "load_config", load_with_few_regions)
    exec(compile("\n".join(lines), str(path), "exec"), {"__name__": "document"})


def test_there_are_documents():
    assert "layers.md" in [path.name for path in DOCUMENTS]


def test_named_tuples_have_the_fields_that_are_listed():
    text = (REPOSITORY / "docs" / "layers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \| `(.+)` \|$", text, re.MULTILINE)
    assert len(rows) > 8
    for name, module, fields in rows:
        found = getattr(importlib.import_module(f"faster_rcnn.{module}"), name)
        assert list(found._fields) == fields.split("`, `"), name

"""Run the Python of a document."""

import re
from pathlib import Path


def run_document(path: Path) -> dict[str, object]:
    """Run a document's ``py`` blocks as one program, and return its names."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```py\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, object] = {"__name__": "document"}
    for block in blocks:
        exec(compile(block, path.name, "exec"), names)
    return names

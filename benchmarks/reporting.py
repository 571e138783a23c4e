"""Format figures for the docs: machine, tables, and the marks around them."""

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import torch
import torchvision

DOCS = Path(__file__).resolve().parents[1] / "docs"


def machine(device: torch.device) -> str:
    """Return machine, threads and versions in one line."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{_processor()}, {torch.get_num_threads()} threads"
    return f"{name}; torch {torch.__version__}, torchvision {torchvision.__version__}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = match[1] if match else platform.processor() or platform.machine()
    return f"{name} ({os.cpu_count()} cores)"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table; all columns but the first are right-aligned."""
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def three(value: float) -> str:
    """Format with three digits, or with all digits before the decimal point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def milliseconds(seconds: float) -> str:
    """Format seconds as milliseconds with three significant digits."""
    value = 1000 * seconds
    return three(value)


def write_between(document: Path, name: str, text: str) -> None:
    """Replace the text between ``<!-- name -->`` and ``<!-- /name -->``.

    Raises:
        ValueError: the document has no such marks.
    """
    old = document.read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = old.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{document}: expected the marks {start.strip()} and {end}")
    new = f"{before}{start}\n{text.strip()}\n\n{end}{after}"
    document.write_text(new, encoding="utf-8")

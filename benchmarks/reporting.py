"""Format figures for the docs: machine, tables, and the marks around them."""

import argparse
import json
import os
import platform
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from faster_rcnn.cli.parser import Parser
from faster_rcnn.utils.device import keep_freed_memory

DOCS = Path(__file__).resolve().parents[1] / "docs"


def machine(device: torch.device) -> str:
    """Return machine, threads, versions and the load of the last minute in one line."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{_processor()}, {torch.get_num_threads()} threads"
    versions = {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    told = ", ".join(f"{package} {version}" for package, version in versions.items())
    load = f"; load {os.getloadavg()[0]:.2g}" if hasattr(os, "getloadavg") else ""
    return f"{name}; {told}{load}"


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


class Benchmark(NamedTuple):
    """A comparison of operators whose figures stand in a document.

    Attributes:
        document: file with marks for each device.
        picture: file for the plots.
        measure: measures all figures of a device in so many rounds at most.
        text: formats the figures of one device.
        draw: draws the figures of all devices into a file.
    """

    document: Path
    picture: Path
    measure: Callable[[torch.device, int], Any]
    text: Callable[[Any], str]
    draw: Callable[[dict[str, Any], Path], None]

    def write(self, figures: dict[str, Any]) -> None:
        """Write tables into the document, and draw the plots."""
        for device, found in figures.items():
            write_between(self.document, device, self.text(found))
        self.draw(figures, self.picture)

    def main(self, description: str | None, *, repeats: int) -> None:
        """Measure, print, and write the requested files."""
        parser = Parser(
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add = parser.add_argument
        add("--json", type=Path, help="file for all figures")
        add("--from-json", type=Path, help="read figures from there, do not measure")
        add("--docs", action="store_true", help=f"write docs/{self.document.name}")
        add("--threads", type=int, help="PyTorch's threads; default: its own choice")
        add("--repeats", type=int, default=repeats, help="maximum number of rounds")
        arguments = parser.parse_args()
        keep_freed_memory()
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        if arguments.from_json:
            figures = json.loads(arguments.from_json.read_text(encoding="utf-8"))
        else:
            devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
            figures = {
                name: self.measure(torch.device(name), arguments.repeats)
                for name in devices
            }
        for found in figures.values():
            print(f"\n{self.text(found)}")
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
        if arguments.docs:
            self.write(figures)

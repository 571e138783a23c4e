"""Download, verify and unpack public data sets, except those that are there already.

The same command resumes an interrupted download.
"""

from collections.abc import Sequence
from pathlib import Path

from ..datasets.archives import ARCHIVES
from ..datasets.download import ensure_downloaded, ensure_space, plan
from ..utils.download.disk import amount, free_space
from ..utils.printable import show
from .parser import Parser
from .roots import data_root
from .user_errors import clear_errors


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn fetch data."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument(
        "datasets",
        nargs="+",
        metavar="DATASET",
        choices=tuple(ARCHIVES),
        help="voc (2007), voc0712, coco (2017)",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=data_root(),
        metavar="DIR",
        help="destination: data.root of frcnn train; default: %(default)s",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the steps, and do nothing"
    )
    return parser


def main(words: Sequence[str] | None = None, prog: str = "frcnn fetch data") -> None:
    """Download, or print what would be downloaded."""
    arguments = build_parser(prog).parse_args(words)
    with clear_errors():
        for word in dict.fromkeys(arguments.datasets):
            if arguments.dry_run:
                show(describe(word, arguments.root))
                ensure_space(word, plan(word, arguments.root))
            else:
                ensure_downloaded(word, arguments.root)
                show(f"{word} is in {arguments.root}")


def describe(word: str, root: Path) -> str:
    """Describe the steps for a data set, and the free space."""
    steps = {step.archive: step for step in plan(word, root)}
    lines = [f"{word} in {root}"]
    fetched = 0
    for archive in ARCHIVES[word]:
        size = f"{archive.name}  {amount(archive.size)}"
        if archive not in steps:
            lines.append(f"  {size}, there as {archive.home(root) / archive.marker}")
            continue
        step = steps[archive]
        fetched += archive.size - step.received
        if step.by_hand.exists():
            lines += [f"  {size}, unpack", f"    from {step.by_hand}"]
        else:
            share = f", {step.received / archive.size:.0%} of it here"
            lines += [
                f"  {size}, fetch and unpack{share if step.received else ''}",
                "    from " + "\n      or ".join(archive.urls),
            ]
        lines.append(f"    to   {step.home}")
    free = free_space(root)
    lines.append(f"to fetch: {amount(fetched)}; free: {amount(free)}")
    return "\n".join(lines)

"""Download, verify and unpack public data sets, except those that are there already."""

import argparse
from pathlib import Path

from ..datasets.archives import ARCHIVES
from ..datasets.download import ensure_downloaded, ensure_space, plan
from ..utils.download.disk import amount, free_space
from ..utils.printable import show
from .user_errors import clear_errors


def main(arguments: argparse.Namespace) -> None:
    """Download, or print what would be downloaded."""
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

"""Download and verify published weights, for work without a network."""

import argparse
from collections.abc import Sequence

from ..config.settings import NET_NAMES
from ..utils.download.disk import amount, free_space
from ..utils.download.transfer import expect_space
from ..utils.printable import show
from ..weights.zoo.cache import fetch_entry, find, home, place_of, to_come
from ..weights.zoo.entry import Entry
from ..weights.zoo.table import ENTRIES, find_entry, imagenet_entry
from .user_errors import clear_errors


def main(arguments: argparse.Namespace) -> None:
    """Download, or print what would be downloaded."""
    if arguments.list:
        show("\n".join(ENTRIES))
        return
    with clear_errors():
        names = dict.fromkeys(arguments.names)
        wanted = [entry_of(name) for name in names]
        missing = [entry for entry in wanted if find(entry) is None]
        if arguments.dry_run:
            show(describe(wanted, missing))
        expect_space(home(), sum(to_come(entry) for entry in missing))
        if arguments.dry_run:
            return
        for entry in wanted:
            show(f"{fetch_entry(entry)} is there")


def entry_of(word: str) -> Entry:
    """Return torchvision's ImageNet weights of a net (res50_fpn), or a named entry."""
    net = word.removesuffix("_fpn").removesuffix("_dc5")
    return imagenet_entry(net) if net in NET_NAMES else find_entry(word)


def describe(wanted: Sequence[Entry], missing: Sequence[Entry]) -> str:
    """Describe the downloads, and the free space."""
    lines = []
    for entry in wanted:
        size = amount(entry.size) if entry.size else "of unknown size"
        line = f"{entry.file}  {size}"
        if entry not in missing:
            lines += [f"{line}, there", f"  as   {find(entry)}"]
            continue
        what = "damaged, fetch again" if place_of(entry).exists() else "fetch"
        lines += [
            f"{line}, {what}",
            f"  from {entry.url or f'{entry.page}, by hand'}",
            f"  to   {place_of(entry)}",
        ]
    total = sum(to_come(entry) for entry in missing)
    lines.append(f"to fetch: {amount(total)}; free: {amount(free_space(home()))}")
    return "\n".join(lines)

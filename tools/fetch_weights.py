#!/usr/bin/env python3
"""Fetch and check torchvision's ImageNet weights, for training without a network.

They go to where train.sh looks for them, the cache of torch.hub (see TORCH_HOME). What
is there already is checked, and fetched again only if it is damaged.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from faster_rcnn.model.command_line import clear_errors
from faster_rcnn.model.settings import NET_NAMES
from faster_rcnn.model.weights.layouts import long_name
from faster_rcnn.utils.download.disk import alone, amount, free_space
from faster_rcnn.utils.download.part_file import PartFile
from faster_rcnn.utils.download.transfer import expect_space, fetch, mismatch, part_of


class Weights(NamedTuple):
    """A file of weights.

    Attributes:
        url: torchvision's.
        target: where torch.hub looks for it.
        size: bytes, to the nearest thousand or so; 0 if unknown.
        sha256: its first digits, None if unknown.
    """

    url: str
    target: Path
    size: int
    sha256: str | None

    @property
    def is_there(self) -> bool:
        """Whether the file is in its place, undamaged."""
        return self.target.exists() and not mismatch(self.target, sha256=self.sha256)

    @property
    def to_come(self) -> int:
        """Bytes that an earlier call has not fetched already."""
        received = PartFile(part_of(self.target), None).received
        return max(self.size - received, 0)


def build_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog="fetch_weights.py", description=__doc__)
    parser.add_argument(
        "nets",
        nargs="+",
        metavar="NET",
        choices=NET_NAMES,
        help=", ".join(NET_NAMES),
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and do nothing"
    )
    return parser


def main() -> None:
    """Fetch, or tell what would be fetched."""
    arguments = build_parser().parse_args()
    with clear_errors():
        wanted = [find_weights(net) for net in dict.fromkeys(arguments.nets)]
        missing = [weights for weights in wanted if not weights.is_there]
        folder = wanted[0].target.parent
        if arguments.dry_run:
            print(describe(wanted, missing))
        expect_space(folder, sum(weights.to_come for weights in missing))
        if arguments.dry_run:
            return
        with alone(folder):
            for weights in wanted:
                # Asked again: another process may have fetched it in the meantime.
                if weights in missing and not weights.is_there:
                    fetch(weights.url, weights.target, sha256=weights.sha256)
                print(f"{weights.target} is there")


def find_weights(net: str) -> Weights:
    """Where a net's weights come from, and where they go.

    Raises:
        ValueError: there are none.
    """
    if net == "mobile":
        raise ValueError(
            "expected a net that torchvision has ImageNet weights of, found mobile, "
            "which has none; take mobile_v2, or train mobile with --weights FILE (a "
            "file of MobileNet v1, see docs/weights.md) or --weights none"
        )
    entry = torchvision.models.get_model_weights(long_name(net))["IMAGENET1K_V1"]
    name = entry.url.rsplit("/", 1)[-1]
    digits = re.search(r"-([0-9a-f]{8,})\.", name)
    return Weights(
        url=entry.url,
        target=Path(torch.hub.get_dir()) / "checkpoints" / name,
        size=round(entry.meta.get("_file_size", 0) * 2**20),
        sha256=digits[1] if digits else None,
    )


def describe(wanted: Sequence[Weights], missing: Sequence[Weights]) -> str:
    """What is to be done, and how much room there is."""
    lines = []
    for weights in wanted:
        size = f"{weights.target.name}  {amount(weights.size)}"
        if weights not in missing:
            lines += [f"{size}, there", f"  as   {weights.target}"]
            continue
        state = "damaged, fetch again" if weights.target.exists() else "fetch"
        lines += [
            f"{size}, {state}",
            f"  from {weights.url}",
            f"  to   {weights.target}",
        ]
    total = sum(weights.to_come for weights in missing)
    free = free_space(wanted[0].target.parent)
    lines.append(f"to fetch: {amount(total)}; free: {amount(free)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

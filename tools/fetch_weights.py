#!/usr/bin/env python3
"""Fetch and check torchvision's ImageNet weights, for training without a network.

They go to where train.sh looks for them, the cache of torch.hub (see TORCH_HOME). What
is there already is checked, and fetched again only if it is damaged. What was
interrupted goes on where it stopped. train.sh itself fetches what it needs likewise.
"""

import argparse
from collections.abc import Sequence

from faster_rcnn.model.command_line import clear_errors
from faster_rcnn.model.settings import NET_NAMES
from faster_rcnn.model.weights.imagenet import PublishedWeights, imagenet_weights
from faster_rcnn.utils.download.disk import amount, free_space
from faster_rcnn.utils.download.transfer import expect_space


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
        wanted = [imagenet_weights(net) for net in dict.fromkeys(arguments.nets)]
        missing = [weights for weights in wanted if not weights.is_there]
        folder = wanted[0].target.parent
        if arguments.dry_run:
            print(describe(wanted, missing))
        expect_space(folder, sum(weights.to_come for weights in missing))
        if arguments.dry_run:
            return
        for weights in wanted:
            weights.fetch()
            print(f"{weights.target} is there")


def describe(
    wanted: Sequence[PublishedWeights], missing: Sequence[PublishedWeights]
) -> str:
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

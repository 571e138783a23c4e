"""Options for the detections themselves, for the tools that detect."""

import argparse
from pathlib import Path


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --out and --show."""
    parser.add_argument(
        "--out",
        type=_table_or_json,
        metavar="FILE",
        help="write all detections to this file too: .json for COCO results of boxes, "
        "masks and keypoints, .csv for a table of boxes",
    )
    parser.add_argument(
        "--show",
        action="store_true",
        help="show the pictures in a window: q ends, other keys continue",
    )


def _table_or_json(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".json", ".csv"):
        raise argparse.ArgumentTypeError(
            f"expected a file .json (COCO results) or .csv (table), found {text!r}"
        )
    return path

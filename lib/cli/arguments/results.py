"""Options for the detections themselves, for the tools that detect."""

import argparse
from pathlib import Path
from typing import Any

from ...datasets.exports.written_labels import LABEL_FILES


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


def add_export(group: Any, text: str) -> None:
    """Add --export, which may be given several times."""
    group.add_argument(
        "--export",
        action="append",
        default=[],
        choices=tuple(LABEL_FILES),
        help=f"{text}, as a file that labelling tools import: COCO's JSON, CVAT's XML "
        "for images, Label Studio's JSON; may be repeated",
    )


def _table_or_json(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".json", ".csv"):
        raise argparse.ArgumentTypeError(
            f"expected a file .json (COCO results) or .csv (table), found {text!r}"
        )
    return path

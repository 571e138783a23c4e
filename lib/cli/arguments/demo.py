"""Detect objects in pictures, videos, cameras; or on a page, with --serve."""

import argparse
from pathlib import Path

from ..parser import Parser, add_device, add_overrides, count, score
from .results import add_export, add_result_arguments

_EPILOG = (
    "Exit status: 0 all done, 1 some files failed (listed at the end), 2 wrong input, "
    "130 stopped; the same command then resumes."
)


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn demo."""
    parser = Parser(prog=prog, description=__doc__, epilog=_EPILOG, check=_check)
    add = parser.add_argument
    add("checkpoint", help="a .pth file, a run's folder, or a name of the model zoo")
    add(
        "sources",
        metavar="SOURCE",
        nargs="*",
        help="pictures, videos, folders, patterns in quotes, a camera's number, or - "
        "for paths on stdin",
    )
    add(
        *("--output", "--show-dir"),
        type=Path,
        help="folder of results; default output/demo/CHECKPOINT",
    )
    add_result_arguments(parser)
    add("--json", action="store_true", help="a JSON file of each, and one of all")
    add(
        "--features",
        action="store_true",
        help="write the arrays of each picture's boxes to NAME.npz, among them the "
        "vectors that the box head's predictor gets",
    )
    add(
        "--all-scores",
        action="store_true",
        help="add the probabilities of all classes to JSON and .npz",
    )
    add_export(parser, "write all pictures with their boxes")
    add(
        "--track",
        action="store_true",
        help="number the objects of a video and give each a colour (pip install "
        "'faster-rcnn[track]'); also write --mot",
    )
    add("--mot", action="store_true", help="MOTChallenge's file of each video")
    add("--no-pictures", action="store_true", help="draw nothing, only write JSON")
    add(
        "--threshold",
        type=score,
        default=0.5,
        help="scores must exceed it, default 0.5",
    )
    add(
        "--thresholds",
        type=Path,
        metavar="RUN|FILE",
        help="the thresholds of best F1 of each class, from the errors.json of a test; "
        "of a run its newest test's. --threshold applies to classes that it lacks",
    )
    add("--classes", metavar="A,B", help="detect only these; default: all")
    add(
        "--frames",
        type=count,
        metavar="N",
        help="frames of a camera, default: until Ctrl-C",
    )
    add(
        "--batch",
        type=count,
        metavar="N",
        help="images at once; default 8 on CUDA, else 1",
    )
    add(
        "--tiles",
        type=count,
        metavar="PIXELS",
        help="cut larger pictures and frames into tiles of this size (docs/tiles.md)",
    )
    add_device(parser, precision=True)
    add("--compile", action="store_true", help="slow to start, then faster on a GPU")
    add_overrides(parser, "test.nms_threshold 0.5")
    add("--serve", action="store_true", help="show a page for one picture at a time")
    add("--port", type=int, default=8000, help="port of the page, default 8000")
    return parser


def _check(arguments: argparse.Namespace) -> str | None:
    both_or_neither = bool(arguments.sources) == arguments.serve
    return "give either SOURCE... or --serve" if both_or_neither else None

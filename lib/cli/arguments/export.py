"""Export a checkpoint's detector: torch.export program, AOTInductor, ONNX, OpenVINO.

The file is compared with the detector on photos before it gets its final name; a file
that gives other detections is not kept.
"""

import argparse
from pathlib import Path

from ..parser import Parser, add_overrides, count


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn export."""
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help=".pth file of a run")
    add(
        "--to",
        required=True,
        choices=("program", "aoti", "onnx", "openvino"),
        help="format to write",
    )
    add("--output", type=Path, metavar="FILE", help="default: beside the checkpoint")
    add(
        "--batch",
        type=count,
        metavar="N",
        help="images per call; default: any number",
    )
    add(
        "--size",
        type=_size,
        metavar="HxW",
        help="height and width of the input; default: any multiples of 32 "
        "(64 with a pyramid, 128 for RetinaNet) and of data.size_multiple",
    )
    add(
        "--bare",
        action="store_true",
        help="images always fill the input: no masks for padding, hence faster",
    )
    add("--device", default="cpu", choices=("cpu", "cuda"), help="device to run on")
    add(
        "--precision",
        default="float32",
        choices=("float32", "bfloat16"),
        help="bfloat16: part of the file; not for ONNX",
    )
    add(
        "--int8",
        action="store_true",
        help="ONNX and OpenVINO: quantize, and measure the loss",
    )
    add(
        "--masks",
        default="small",
        choices=("small", "pasted"),
        help="small: probabilities in the frame of each box; pasted: in the image",
    )
    add(
        "--images",
        type=Path,
        metavar="DIR",
        help="photos to check on; default: those of the checkpoint's test set",
    )
    add(
        "--count",
        type=count,
        metavar="N",
        help="photos to check on; default: up to 8, for half a minute",
    )
    add(
        "--calibration",
        type=Path,
        metavar="DIR",
        help="photos to calibrate int8 on; default: those of the training set",
    )
    add(
        "--threshold",
        type=float,
        default=0.05,
        metavar="SCORE",
        help="lowest score of the detections that have to agree",
    )
    add(
        "--measure",
        metavar="DATASET",
        help="name or path of a data set to measure mAP on; with --int8 by default the "
        "checkpoint's test set",
    )
    add_overrides(parser, "test.score_threshold 0.5")
    return parser


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.lower().partition("x")
    if not cross or not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(
            f"expected height x width such as 608x1024, found {text!r}"
        )
    return int(height), int(width)

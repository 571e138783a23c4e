"""Publish a checkpoint: write a small file of weights, and a model card.

The file contains the weights (the averaged ones if the run has them), configuration,
classes, normalisation and the results of the run's tests, but no optimizer and no paths
of this machine. Its name contains its hash, and the same checkpoint gives the same
bytes. frcnn test --checkpoint, frcnn train --weights and Detector.from_checkpoint
accept it.
"""

import argparse
import re
from pathlib import Path

from ..parser import Parser


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn publish."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="default: here"
    )
    parser.add_argument(
        "--name", type=_name, help="default: the net and the training set"
    )
    parser.add_argument(
        "--format",
        choices=("safetensors", "pth"),
        default="safetensors",
        help="safetensors, which needs no trust to read (default), or torch.save's",
    )
    parser.add_argument("--licence", help="licence of the weights, for the card")
    parser.add_argument(
        "--results",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="results.json of tests; default: those in the checkpoint's run folder",
    )
    return parser


def _name(text: str) -> str:
    if not re.fullmatch(r"[\w][\w.+-]{0,100}", text):
        raise argparse.ArgumentTypeError(
            f"expected letters, digits and any of _.+-, found {text!r}"
        )
    return text

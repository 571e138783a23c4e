"""Publish a checkpoint: write a small file of weights, and a model card.

The file contains the weights (the averaged ones if the run has them), configuration,
classes, normalisation and the results of the run's tests, but no optimizer and no paths
of this machine. Its name contains its hash, and the same checkpoint gives the same
bytes. frcnn test --checkpoint, frcnn train --weights and Detector.from_checkpoint
accept it.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from ..config.loading import config_from_checkpoint
from ..utils.download.disk import amount
from ..utils.files import write_atomic
from ..utils.printable import show
from ..weights.zoo.card import NO_LICENCE, model_card
from ..weights.zoo.publishing import published_state, read_results, write_published
from .parser import Parser
from .user_errors import clear_errors


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
    parser.add_argument(
        "--licence", default=NO_LICENCE, help="licence of the weights, for the card"
    )
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


def main(words: Sequence[str] | None = None, prog: str = "frcnn publish") -> None:
    """Strip the checkpoint, name it by its hash, and write it with its card."""
    arguments = build_parser(prog).parse_args(words)
    with clear_errors():
        given = arguments.results
        content = published_state(
            arguments.checkpoint,
            results=None if given is None else dict(map(read_results, given)),
        )
        config = config_from_checkpoint(content, [])
        name = f"{config.net.full_name}_{config.data.train_set}"
        name = arguments.name or re.sub(r"[^\w.+-]+", "-", name)
        path, sha256 = write_published(
            content, arguments.output, name, kind=arguments.format
        )
        card = model_card(content, path, sha256=sha256, licence=arguments.licence)
        write_atomic(path.with_suffix(".md"), card)
        before, after = arguments.checkpoint.stat().st_size, path.stat().st_size
        show(f"{path}  {amount(after)}, of a checkpoint of {amount(before)}")
        show(f"{path.with_suffix('.md')}  the model card")
        if not content["metrics"]:
            show("found no test of this checkpoint; the card says: not measured")

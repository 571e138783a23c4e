"""Publish a checkpoint: write a small file of weights, and a model card."""

import argparse
import re

from ..config.loading import config_from_checkpoint
from ..utils.download.disk import amount
from ..utils.files import write_atomic
from ..utils.printable import show
from ..weights.zoo.card import NO_LICENCE, model_card
from ..weights.zoo.publishing import published_state, read_results, write_published
from .user_errors import clear_errors


def main(arguments: argparse.Namespace) -> None:
    """Strip the checkpoint, name it by its hash, and write it with its card."""
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
        licence = arguments.licence or NO_LICENCE
        card = model_card(content, path, sha256=sha256, licence=licence)
        write_atomic(path.with_suffix(".md"), card)
        before, after = arguments.checkpoint.stat().st_size, path.stat().st_size
        show(f"{path}  {amount(after)}, of a checkpoint of {amount(before)}")
        show(f"{path.with_suffix('.md')}  the model card")
        if not content["metrics"]:
            show("found no test of this checkpoint; the card says: not measured")

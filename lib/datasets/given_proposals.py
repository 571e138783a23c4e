"""Read the proposals of a Fast R-CNN detector without RPN from their files."""

from pathlib import Path
from typing import Literal

from ..config.settings import Config
from .formats.proposals import GivenProposals, read_proposals
from .records import Dataset

Use = Literal["train", "test", "val"]

_KEYS = {"train": "proposals", "test": "test_proposals", "val": "val_proposals"}


def given_proposals(
    dataset: Dataset, config: Config, use: Use
) -> GivenProposals | None:
    """Read the proposals of a data set; None if the network computes its own.

    Args:
        config: configuration; ``rpn.train_post_nms`` or ``rpn.test_post_nms`` limits
            them.

    Raises:
        ValueError: no file is named, or `read_proposals` refuses it.
    """
    if not config.net.reads_proposals:
        return None
    rpn = config.rpn
    return read_proposals(
        proposal_file(config, use),
        dataset.records,
        most=rpn.train_post_nms if use == "train" else rpn.test_post_nms,
    )


def proposal_file(config: Config, use: Use) -> Path:
    """Return the proposal file that the configuration names.

    Raises:
        ValueError: it names no file.
    """
    path: str | None = getattr(config.data, _KEYS[use])
    if path is None:
        raise ValueError(
            f"Fast R-CNN alone (net.modules fast_rcnn) needs data.{_KEYS[use]}: a file "
            "with proposals of the images, such as the proposals.npz of a test with "
            "--eval proposal (docs/proposals.md)"
        )
    return Path(path).expanduser()

"""torchvision's ImageNet weights: where they come from, and where they are kept.

They lie in the cache of torch.hub (see TORCH_HOME), where other programs find them too.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor

from ...utils.download.disk import alone
from ...utils.download.part_file import PartFile
from ...utils.download.transfer import DownloadError, fetch, mismatch, part_of
from ..checkpoint import CheckpointError
from .layouts import long_name


class PublishedWeights(NamedTuple):
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

    def fetch(self) -> None:
        """Bring the file to its place, unless it is there.

        Raises:
            DownloadError: it could not be had.
            OSError: its folder cannot be made.
        """
        if self.is_there:
            return
        with alone(self.target.parent):
            # Asked again: another process may have fetched it in the meantime.
            if not self.is_there:
                fetch(self.url, self.target, sha256=self.sha256)


def imagenet_weights(net: str) -> PublishedWeights:
    """Where a net's weights come from, and where they go.

    Raises:
        CheckpointError: there are none.
    """
    if net == "mobile":
        raise CheckpointError(
            "there are no ImageNet weights of mobile to download; take mobile_v2, or "
            "train mobile with --weights FILE (a file of MobileNet v1, see "
            "docs/weights.md) or --weights none"
        )
    entry = torchvision.models.get_model_weights(long_name(net))["IMAGENET1K_V1"]
    name = entry.url.rsplit("/", 1)[-1]
    digits = re.search(r"-([0-9a-f]{8,})\.", name)
    return PublishedWeights(
        url=entry.url,
        target=Path(torch.hub.get_dir()) / "checkpoints" / name,
        size=round(entry.meta.get("_file_size", 0) * 2**20),
        sha256=digits[1] if digits else None,
    )


def fetch_imagenet(net: str) -> Mapping[str, Tensor]:
    """torchvision's ImageNet weights of a net, fetched once and checked each time.

    Raises:
        CheckpointError: there are none, or they could not be fetched.
    """
    weights = imagenet_weights(net)
    try:
        weights.fetch()
    except (DownloadError, OSError) as error:
        damaged = " is damaged and" if weights.target.exists() else ""
        raise CheckpointError(
            f"{weights.target}, the ImageNet weights of {net},{damaged} could not be "
            f"fetched: {error}. Put {weights.url} there by hand, name a file with "
            "--weights FILE, or train from random weights with --weights none"
        ) from error
    state: Mapping[str, Tensor] = torch.load(
        weights.target, map_location="cpu", weights_only=True
    )
    return state

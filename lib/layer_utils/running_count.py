"""The number that a loss is divided by, as a running mean over the updates."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class RunningCount(nn.Module):
    """A running mean of the samples of an update, for `Loss.running`.

    It belongs to a run: checkpoints hold it, files of weights need not.
    """

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Detectron2's: of any number that is not too small it is soon forgotten.
        self.register_buffer("value", torch.tensor(100.0))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *rest: Any
    ) -> None:
        state = {f"{prefix}value": self.value, **state_dict}
        super()._load_from_state_dict(state, prefix, *rest)

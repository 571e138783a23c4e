"""The exponential moving average of the weights (Polyak and Juditsky 1992)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .running_statistics import trained_norms


class WeightAverage:
    """The average of all tensors that training changes: weights, and norms' statistics.

    After update t = 0, 1, ... the average is ``a + (1 - d) (w - a)``, with
    ``d = min(decay, (1 + t) / (10 + t))``: the initial weights are soon forgotten.
    Frozen weights and statistics are not averaged; they are taken from the model.

    Args:
        model: on its device; its tensors may only be changed in place, as by
            optimizers.
        decay: in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._weights = {
            name: parameter.detach()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        for path, norm in trained_norms(model).items():
            for name, buffer in norm.named_buffers():
                if buffer.is_floating_point():
                    self._weights[f"{path}.{name}"] = buffer
        self._means = {name: w.clone() for name, w in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights after an update to the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        means, weights = list(self._means.values()), list(self._weights.values())
        torch._foreach_lerp_(means, weights, 1 - decay)
        self.updates += 1

    @torch.no_grad()
    def swap(self) -> None:
        """Swap the model's weights and their average, to the bit."""
        for name, weight in self._weights.items():
            mean = self._means[name]
            before = weight.clone()
            weight.copy_(mean)
            mean.copy_(before)

    def state_dict(self) -> dict[str, Any]:
        """Return the state to store in a checkpoint."""
        return {"updates": self.updates, "weights": self._means}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`.

        Raises:
            ValueError: the state belongs to a model with other trained parts.
        """
        weights = state["weights"]
        if weights.keys() != self._means.keys():
            names = sorted(weights.keys() ^ self._means.keys())
            raise ValueError(
                f"the averaged weights of the checkpoint (train.ema) are not those of "
                f"this model; {names[0]} is in one of them only. Give another --tag "
                "for a new run"
            )
        self.updates = int(state["updates"])
        for name, mean in self._means.items():
            mean.copy_(weights[name])


@contextmanager
def weights_to_test(model: nn.Module, average: WeightAverage | None) -> Iterator[None]:
    """Give the model the weights that a test of its checkpoint would use.

    These are the averaged ones if there are any. Afterwards the model is restored to
    the bit.
    """
    if average is not None:
        average.swap()
    try:
        yield
    finally:
        if average is not None:
            average.swap()

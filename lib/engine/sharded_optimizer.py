"""An optimizer whose state is divided among the processes (ZeRO, Rajbhandari 2020)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.optim import ZeroRedundancyOptimizer

from ..utils.distributed import collectives


class ShardedOptimizer(ZeroRedundancyOptimizer):
    """An optimizer that updates a share of the parameters and receives the others.

    Its stored state is that of the plain optimizer, so that a run can resume with any
    number of processes, sharded or not. PyTorch's own ways to store and load it send
    a share as one object, 10 MB in a second, and keep every share twice.
    """

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.param_groups for p in group["params"]]

    def gather(self) -> None:
        """Bring the state of all shares to the main process; all processes call it."""
        self._whole: dict[int, dict[str, Tensor]] = {}
        parameters = self._parameters()
        own = {i: s for i, p in enumerate(parameters) if (s := self.optim.state.get(p))}
        meta = [
            (i, name, tuple(tensor.shape), tensor.dtype, tensor.device.type)
            for i, state in own.items()
            for name, tensor in state.items()
        ]
        for rank, entries in enumerate(collectives.gather(meta)):
            for i, name, shape, dtype, device in entries:
                kept = self._whole.setdefault(i, {})
                if rank == collectives.process_rank().rank:
                    kept[name] = own[i][name].cpu()
                    continue
                place = parameters[i].device if device != "cpu" else "cpu"
                tensor = torch.empty(shape, dtype=dtype, device=place)
                torch.distributed.recv(tensor, rank)
                like = parameters[i] if tensor.dim() else tensor
                kept[name] = torch.empty_like(like, dtype=dtype, device="cpu")
                kept[name].copy_(tensor)
        if not collectives.is_main():
            for i, name, *_ in meta:
                torch.distributed.send(own[i][name].contiguous(), 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state that `gather` brought, once."""
        stored = torch.optim.Optimizer.state_dict(self)
        stored["state"], self._whole = dict(sorted(self._whole.items())), {}
        return stored

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep this process's share of a whole state.

        Raises:
            ValueError: the state has other numbers of parameters.
        """
        sizes, expected = (
            [len(group["params"]) for group in groups]
            for groups in (state_dict["param_groups"], self.param_groups)
        )
        if sizes != expected:
            raise ValueError(f"expected groups of {expected} parameters, found {sizes}")
        places = {parameter: i for i, parameter in enumerate(self._parameters())}
        own = [places[p] for group in self.optim.param_groups for p in group["params"]]
        whole = state_dict["state"]
        packed = self.optim.state_dict()["param_groups"]
        self.optim.load_state_dict(
            {
                "state": {i: whole[p] for i, p in enumerate(own) if p in whole},
                "param_groups": [
                    {**group, "params": inner["params"]}
                    for group, inner in zip(
                        state_dict["param_groups"], packed, strict=True
                    )
                ],
            }
        )
        for group, inner in zip(
            self.param_groups, self.optim.param_groups, strict=True
        ):
            group.update((key, inner[key]) for key in inner if key != "params")

"""Build modules whose weights are not drawn, with or without memory."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_INITIALISERS = (
    *(nn.init.normal_, nn.init.uniform_, nn.init.trunc_normal_),
    *(nn.init.kaiming_normal_, nn.init.kaiming_uniform_),
)


class WithoutDraws(TorchFunctionMode):
    """Skip random initialisation in this context.

    It takes most of the time of a build, in vain where all weights are loaded after;
    and on the meta device it would import the compiler.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if function in _INITIALISERS:
            return args[0] if args else named["tensor"]
        if function in (Tensor.normal_, Tensor.uniform_):
            # Zeros, since trunc_normal_ draws again until it likes what it finds.
            return args[0].zero_()
        return function(*args, **named)


@contextlib.contextmanager
def shape_only() -> Iterator[None]:
    """Build modules in this context on the meta device, without memory."""
    with torch.device("meta"), WithoutDraws():
        yield

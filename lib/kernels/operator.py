"""Register functions as operators, which the compiler and autograd treat as opaque.

``torch.library.custom_op`` does the same, but imports PyTorch's compiler on the first
call in each process, which takes two seconds.
"""

from collections.abc import Callable
from typing import Any

import torch


class Operator:
    """A function of tensors and numbers.

    Args:
        name: ``namespace::name``.
        schema: arguments and results in PyTorch's schema language, with a mark at
            arguments that are modified. Inferring it from the annotations fails before
            PyTorch 2.15 for an optional list.
        function: the implementation, for any device.
    """

    def __init__(self, name: str, schema: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        torch.library.define(name, schema)
        torch.library.impl(name, "default", function)
        namespace, _, short = name.partition("::")
        self.call = getattr(getattr(torch.ops, namespace), short).default

    def __call__(self, *args: Any) -> Any:
        """Compute it."""
        return self.call(*args)

    def register_fake(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Register a function that gives results of the right shapes without values."""
        torch.library.register_fake(self.name, function)
        return function

    def register_autograd(
        self,
        backward: Callable[..., Any],
        *,
        setup_context: Callable[..., None],
    ) -> None:
        """Register the gradient, as ``torch.library.register_autograd`` does."""
        torch.library.register_autograd(
            self.name, backward, setup_context=setup_context
        )


def operator(name: str, schema: str) -> Callable[[Callable[..., Any]], Operator]:
    """Decorate a function to make it an `Operator` of this name and schema."""
    return lambda function: Operator(name, schema, function)

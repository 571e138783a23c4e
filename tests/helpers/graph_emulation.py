"""CUDA graphs without a GPU: operators are noted, and run again at each replay."""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Noted(TorchDispatchMode):
    """Runs operators and keeps what they read and where their results lie."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, results))
        return results

    @torch.no_grad()
    def replay(self):
        for function, args, kwargs, results in self.calls:
            returns = function._schema.returns
            found = function(*args, **kwargs)
            if any(value.alias_info for value in returns):
                continue  # a view, or changed in place
            for there, here in zip(
                tree_leaves(results), tree_leaves(found), strict=True
            ):
                if isinstance(there, torch.Tensor):
                    there.copy_(here)


class EmulatedRecorder:
    """As CUDA's: recording leaves everything as it was, and replays draw on."""

    def __init__(self, generator, state):
        self.generators = generator, torch.default_generator
        self.state = state  # gives the tensors that the work changes
        self.recorded = []
        self.replayed = 0
        self.set_aside = 0

    @contextmanager
    def aside(self):
        self.set_aside += 1
        yield

    def record(self, work):
        tensors = self.state()
        before = [tensor.detach().clone() for tensor in tensors]
        drawn = [generator.get_state() for generator in self.generators]
        noted = Noted()
        with noted:
            result = work()
        with torch.no_grad():
            for tensor, old in zip(tensors, before, strict=True):
                tensor.copy_(old)
        for generator, old in zip(self.generators, drawn, strict=True):
            generator.set_state(old)
        self.recorded.append(noted)

        def replay():
            self.replayed += 1
            noted.replay()

        return result, replay

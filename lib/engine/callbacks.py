"""Plain functions that a training run calls: after each update, and so on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal


@dataclass
class TrainingEvent:
    """What a callback is told.

    Attributes:
        kind: ``update``, ``validation`` or, once, ``end``.
        iteration: updates done.
        iterations: updates of the whole run.
        folder: folder of the run.
        stop: set it to True to end training here; the state is saved as usual, and
            training returns normally.
    """

    kind: Literal["update", "validation", "end"]
    iteration: int
    iterations: int
    folder: Path
    stop: bool = field(default=False, init=False)
    _read: Callable[[], Mapping[str, float]] = field(default=dict, repr=False)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Return the numbers of an update or a validation by name; empty at the end.

        The losses, ``loss`` (their sum), ``gradient_norm`` and ``lr`` of an update;
        ``val/loss``, ``val/AP`` and so on of a validation. Read them during the call:
        only this waits for the GPU to finish the update.
        """
        return dict(self._read())


Callback = Callable[[TrainingEvent], object]
"""A function that training calls; its result is ignored, its errors end the run."""


class Callbacks:
    """The callbacks of a run, which only the main process calls.

    Attributes:
        stopping: the reason to stop, once a callback has asked for it; "" before.
    """

    def __init__(
        self, functions: Sequence[Callback], folder: Path, iterations: int
    ) -> None:
        self.functions = functions
        self.folder = folder
        self.iterations = iterations
        self.stopping = ""

    def tell(
        self,
        kind: Literal["update", "validation", "end"],
        iteration: int,
        metrics: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Call all functions.

        Args:
            metrics: returns the numbers; called if a function reads them.
        """
        if not self.functions:
            return
        event = TrainingEvent(
            kind, iteration, self.iterations, self.folder, _read=metrics
        )
        for function in self.functions:
            function(event)
        if event.stop:
            self.stopping = "a callback"

"""Base class of objects that hold a file or a terminal line."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar

_T = TypeVar("_T", bound="Closeable")


class Closeable(AbstractContextManager["Closeable"]):
    """A ``with`` block that ends by calling ``close``, whatever happened in it."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held. Safe to call twice."""

    def __enter__(self: _T) -> _T:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

"""Base class of objects that hold a file or a terminal line."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar

_T = TypeVar("_T", bound="Closeable")


class Closeable(AbstractContextManager["Closeable"]):
    """A context manager that calls ``close`` at its end, even after errors."""

    @abstractmethod
    def close(self) -> None:
        """Release the resources. Safe to call twice."""

    def __enter__(self: _T) -> _T:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

"""Pickled NumPy arrays, read without running anything that the file names.

A pickle is a program: it names functions, and the reader calls them. Here every name
stands for a replacement of our own, and only those few are known that NumPy writes for
plain arrays and numbers. The replacements check all they are given, since a crafted
file can call them with anything. Nor do they copy more than the file could hold: a few
bytes can ask for the same array a million times.
"""

import math
import mmap
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .pickle_scan import scan_pickle

Array = npt.NDArray[Any]

_LEAST_ALLOWED = 1 << 26  # bytes of all arrays, of even a small file
_DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")


class ArrayPickleError(ValueError):
    """A pickle that is damaged, or holds more than arrays and plain values."""


def read_arrays(path: Path) -> Any:
    """Read dictionaries and lists of arrays, numbers and strings.

    Args:
        path: a pickle of any protocol, of Python 2 or 3.

    Returns:
        Its content; arrays have the machine's byte order and memory of their own.

    Raises:
        ArrayPickleError: truncated, damaged, or with anything else in it; nothing of it
            was executed.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size == 0:
                raise EOFError("it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                scan_pickle(data)
                data.seek(0)
                reader = _Reader(data, _Budget(max(4 * size, _LEAST_ALLOWED)))
                return _resolve(reader.load(), set())
    except ArrayPickleError as error:
        raise ArrayPickleError(f"{path}: {error}") from None
    except OSError:
        raise
    except Exception as error:
        # Damaged bytes make the reader fail in any way: EOFError, KeyError, ...
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArrayPickleError(
            f"{path}: truncated or damaged ({text}); fetch it again"
        ) from error


class _Budget:
    """Bytes that may still be taken for a file's arrays."""

    def __init__(self, size: int) -> None:
        self._left = size

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ArrayPickleError("its arrays are larger than the file could hold")


class _Reader(pickle.Unpickler):
    """An unpickler that knows our replacements only."""

    def __init__(self, data: mmap.mmap, budget: _Budget) -> None:
        super().__init__(data, encoding="latin1")
        self._budget = budget

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 renamed numpy.core.
        full = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if full not in _REPLACEMENTS:
            raise ArrayPickleError(
                f"expected arrays and plain values only, found {module}.{name}, which "
                "is not executed; give a file of arrays or tensors"
            )
        # One instance each time: what a file does to it ends with the file.
        return _Replacement(_REPLACEMENTS[full], self._budget)

    def persistent_load(self, pid: Any) -> Any:
        raise ArrayPickleError("expected all data in the file, found a reference")


class _Replacement:
    """A function that a pickle can call, and can do nothing else with."""

    __slots__ = ("_budget", "_function")

    def __init__(self, function: Callable[..., Any], budget: _Budget) -> None:
        self._function = function
        self._budget = budget

    def __call__(self, *arguments: Any) -> Any:
        return self._function(self._budget, *arguments)

    def __setstate__(self, state: Any) -> None:
        raise ArrayPickleError("found an attempt to change a function")


class _DType:
    """A plain numeric type, in the order of construction: name, then byte order."""

    __slots__ = ("dtype",)

    def __init__(self, _budget: _Budget, name: Any, *_: Any) -> None:
        name = name.decode("latin1") if isinstance(name, bytes) else name
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            raise ArrayPickleError(f"expected arrays of numbers, found type {name!r}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        # Version, byte order, subarray, names, fields, item size, alignment, flags.
        if not isinstance(state, tuple) or len(state) < 5:
            raise ArrayPickleError("found an unknown description of a type")
        order: Any = state[1]
        if isinstance(order, bytes):
            order = order.decode("latin1")
        if order not in ("<", ">", "=", "|") or state[2:5] != (None, None, None):
            raise ArrayPickleError("expected arrays of numbers, found a compound type")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array under construction: empty first, its content follows as a state."""

    __slots__ = ("_budget", "array")

    def __init__(self, budget: _Budget, *_: Any) -> None:
        self._budget = budget
        self.array: Array | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ArrayPickleError("found an unknown description of an array")
        _, shape, dtype, fortran, data = state
        self.array = _array(self._budget, data, dtype, shape, "F" if fortran else "C")


def _array(budget: _Budget, data: Any, dtype: Any, shape: Any, order: str) -> Array:
    """The array of these bytes, if they are just its bytes."""
    if isinstance(data, str):
        budget.spend(len(data))
        data = data.encode("latin1")  # Python 2 had one type for text and bytes
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _DType):
        raise ArrayPickleError("expected an array's numbers as bytes, found other data")
    if not isinstance(shape, tuple) or not all(
        type(n) is int and n >= 0 for n in shape
    ):
        raise ArrayPickleError(f"expected an array's shape, found {shape!r}")
    expected = math.prod(shape) * dtype.dtype.itemsize
    if len(data) != expected:
        raise ArrayPickleError(
            f"expected {expected} bytes for an array {shape} of {dtype.dtype}, found "
            f"{len(data)}"
        )
    budget.spend(expected)
    flat = np.frombuffer(data, dtype.dtype)
    array = flat.reshape(shape, order="F" if order == "F" else "C")
    return array.astype(dtype.dtype.newbyteorder("="), order="C", copy=True)


def _from_buffer(
    budget: _Budget, data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
) -> Array:
    """NumPy's protocol 5; order K says how the axes lie in memory."""
    if order == "K" and axes is not None:
        if sorted(axes) != list(range(len(shape))):
            raise ArrayPickleError(f"expected an order of axes, found {axes!r}")
        array = _array(budget, data, dtype, shape, "C")
        budget.spend(array.nbytes)
        return np.ascontiguousarray(array.transpose(axes))
    if order not in ("C", "F"):
        raise ArrayPickleError(f"expected the order C or F, found {order!r}")
    return _array(budget, data, dtype, shape, order)


def _scalar(budget: _Budget, dtype: Any, data: Any) -> Any:
    return _array(budget, data, dtype, (), "C")[()]


def _encode(budget: _Budget, text: Any, encoding: Any) -> bytes:
    """How protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ArrayPickleError("expected bytes written as latin1, found other data")
    budget.spend(len(text))
    return text.encode("latin1")


def _no_bytes(_: _Budget) -> bytes:
    """How protocol 2 writes no bytes."""
    return b""


def _ordered_dict(_: _Budget, pairs: Any = ()) -> dict[Any, Any]:
    return dict(pairs)


def _type_name(*_: Any) -> Any:
    raise ArrayPickleError("found an array that is built in an unknown way")


_REPLACEMENTS: dict[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.ndarray": _type_name,
    "numpy.dtype": _DType,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _no_bytes,
    "collections.OrderedDict": _ordered_dict,
}


def _resolve(value: Any, seen: set[int]) -> Any:
    """Put the finished arrays in the place of their constructions."""
    if isinstance(value, _Array):
        if value.array is None:
            raise ArrayPickleError("found an array without content")
        return value.array
    if isinstance(value, dict | list) and id(value) not in seen:
        seen.add(id(value))
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            value[key] = _resolve(item, seen)
    return value

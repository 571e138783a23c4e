"""Pickled NumPy arrays, read without running anything that the file names.

A pickle is a program: it names functions, and the reader calls them. Here every name
stands for a method of the reader, and only the names are known that NumPy writes for
plain arrays and numbers. The methods check their arguments, which a crafted file can
choose, and never copy more bytes than the file could hold: a few bytes of a pickle can
ask for the same array a million times.
"""

import math
import mmap
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_LEAST_ALLOWED = 1 << 26  # bytes of all arrays, even of a small file
_INSTRUCTIONS = 2_000_000  # a training run's checkpoint has some 100,000
_DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")
_ELSEWHERE = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}

# Methods of `_Reader` by the names that NumPy and Python write.
_METHODS = {
    "numpy.core.multiarray._reconstruct": "begin_array",
    "numpy.core.multiarray.scalar": "scalar",
    "numpy.core.numeric._frombuffer": "from_buffer",
    "numpy.ndarray": "refuse",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",
    "__builtin__.bytes": "no_bytes",
    "collections.OrderedDict": "ordered_dict",
}


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
                _check_instructions(data)
                data.seek(0)
                reader = _Reader(data, max(4 * size, _LEAST_ALLOWED))
                return _resolve(reader.load(), set())
    except ArrayPickleError as error:
        raise ArrayPickleError(f"{path}: {error}") from None
    except OSError:
        raise
    except Exception as error:
        # Damaged bytes raise errors of any type: EOFError, KeyError, ...
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArrayPickleError(
            f"{path}: truncated or damaged ({text}); download it again"
        ) from error


def _check_instructions(data: Any) -> None:
    """Check that a pickle is whole, and that its own memory is no larger than it."""
    puts = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data), 1):
        if count > _INSTRUCTIONS:
            raise ValueError(f"expected at most {_INSTRUCTIONS} instructions")
        if opcode.name in _ELSEWHERE:
            raise ValueError("expected all data in the file, found a reference")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            # Python numbers entries in a row, and makes room up to the number.
            puts += 1
            if argument is None or argument > 2 * puts + 1000:
                raise ValueError(f"found the number {argument} for memory entry {puts}")


class _Reader(pickle.Unpickler):
    """An unpickler whose names stand for its own methods."""

    def __init__(self, data: mmap.mmap, allowed: int) -> None:
        super().__init__(data, encoding="latin1")
        self._left = allowed

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 renamed numpy.core.
        full = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if full not in _METHODS:
            raise ArrayPickleError(
                f"expected arrays and plain values only, found {module}.{name}, which "
                "is not executed; give a file of arrays or tensors"
            )
        return _Function(getattr(self, _METHODS[full]))

    def persistent_load(self, pid: Any) -> Any:
        raise ArrayPickleError("expected all data in the file, found a reference")

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ArrayPickleError("its arrays are larger than the file could hold")

    def array(self, data: Any, dtype: Any, shape: Any, order: str) -> Array:
        """Return the array of these bytes, if there are exactly as many as it needs."""
        if isinstance(data, str):  # Python 2 had one type for text and bytes
            data = self.encode(data, "latin1")
        if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _DType):
            raise ArrayPickleError("expected an array's numbers as bytes")
        if not isinstance(shape, tuple) or not all(
            type(n) is int and n >= 0 for n in shape
        ):
            raise ArrayPickleError(f"expected an array's shape, found {shape!r}")
        expected = math.prod(shape) * dtype.dtype.itemsize
        if len(data) != expected:
            raise ArrayPickleError(
                f"expected {expected} bytes for an array {shape} of {dtype.dtype}, "
                f"found {len(data)}"
            )
        self.spend(expected)
        flat = np.frombuffer(data, dtype.dtype)
        array = flat.reshape(shape, order="F" if order == "F" else "C")
        return array.astype(dtype.dtype.newbyteorder("="), order="C", copy=True)

    def begin_array(self, *_: Any) -> "_UnfinishedArray":
        return _UnfinishedArray(self.array)

    def from_buffer(
        self, data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
    ) -> Array:
        """Read protocol 5; order K gives the order of the axes in memory."""
        if order == "K" and axes is not None:
            if sorted(axes) != list(range(len(shape))):
                raise ArrayPickleError(f"expected an order of axes, found {axes!r}")
            array = self.array(data, dtype, shape, "C")
            self.spend(array.nbytes)
            return np.ascontiguousarray(array.transpose(axes))
        if order not in ("C", "F"):
            raise ArrayPickleError(f"expected the order C or F, found {order!r}")
        return self.array(data, dtype, shape, order)

    def scalar(self, dtype: Any, data: Any) -> Any:
        return self.array(data, dtype, (), "C")[()]

    def dtype(self, name: Any, *_: Any) -> "_DType":
        return _DType(name)

    def encode(self, text: Any, encoding: Any) -> bytes:
        """Return the bytes that protocol 2 writes as text."""
        if not isinstance(text, str) or encoding != "latin1":
            raise ArrayPickleError("expected bytes written as latin1, found other data")
        self.spend(len(text))
        return text.encode("latin1")

    def no_bytes(self) -> bytes:
        return b""

    def ordered_dict(self, pairs: Any = ()) -> dict[Any, Any]:
        return dict(pairs)

    def refuse(self, *_: Any) -> Any:
        raise ArrayPickleError("found an array that is built in an unknown way")


class _Function:
    """A function that a pickle can call, but not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise ArrayPickleError("found an attempt to change a function")


class _DType:
    """A plain numeric type: the pickle gives its name first, then its byte order."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any) -> None:
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


class _UnfinishedArray:
    """An array whose content follows as a state."""

    __slots__ = ("_build", "array")

    def __init__(self, build: Callable[..., Array]) -> None:
        self._build = build
        self.array: Array | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ArrayPickleError("found an unknown description of an array")
        _, shape, dtype, fortran, data = state
        self.array = self._build(data, dtype, shape, "F" if fortran else "C")


def _resolve(value: Any, seen: set[int]) -> Any:
    """Replace finished constructions by their arrays."""
    if isinstance(value, _UnfinishedArray):
        if value.array is None:
            raise ArrayPickleError("found an array without content")
        return value.array
    if isinstance(value, dict | list) and id(value) not in seen:
        seen.add(id(value))
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            value[key] = _resolve(item, seen)
    return value

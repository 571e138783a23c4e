"""A look at a pickle's instructions before anything obeys them.

Even a reader that executes nothing can be made to take memory by a few bytes: by an
entry of its memory that is numbered in the billions, or by data said to be that long.
"""

import pickletools
from typing import Any

OPCODES = 2_000_000
"""A training run's checkpoint has some 100,000; this many are read in seconds."""

_ELSEWHERE = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}


def scan_pickle(stream: Any) -> None:
    """Make sure that a pickle is whole and asks for no more than it brings.

    Args:
        stream: with ``read`` and ``readline``, at the start of a pickle; afterwards at
            its end. A read beyond the end must give what there is, as of `mmap`.

    Raises:
        ValueError: cut short, of unknown instructions, or too demanding.
    """
    puts = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream), 1):
        if count > OPCODES:
            raise ValueError(f"expected at most {OPCODES} instructions, found more")
        if opcode.name in _ELSEWHERE:
            raise ValueError("expected all data in the file, found a reference")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            # Python numbers them in a row; its own reader makes room up to the number.
            puts += 1
            if argument is None or argument > 2 * puts + 1000:
                raise ValueError(f"found entry {argument} of what is to be remembered")

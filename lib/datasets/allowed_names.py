"""Allowed class names: those with which a checkpoint can be read back."""

from collections.abc import Sequence

from ..utils.printable import printable
from .records import BACKGROUND

MOST_CLASSES = 100_000
MOST_LETTERS = 1000
_SHOWN = 40  # characters of an invalid name


def faults_of_names(classes: Sequence[str]) -> list[str]:
    """List the faults of class names, background first, of a data set or a detector."""
    faults = []
    if len(classes) > MOST_CLASSES:
        faults.append(f"there are {len(classes)}, expected {MOST_CLASSES} at most")
    seen = set(classes[:1])
    for name in classes[1:]:
        fault = fault_of_name(name)
        if fault is None and name in seen:
            fault = "occurs twice"
        if fault is not None:
            faults.append(f"{_shown(name)} {fault}")
        seen.add(name)
    return faults


def fault_of_name(name: str) -> str | None:
    """Return the fault of a class name; None for a valid one."""
    if name == BACKGROUND:
        return "is the background's name, and cannot be that of objects"
    if not name.strip():
        return "is empty"
    if len(name) > MOST_LETTERS:
        return f"has {len(name)} letters, expected {MOST_LETTERS} at most"
    if printable(name) != name:
        return "has control characters"
    return None


def check_class_names(classes: Sequence[str], source: str) -> None:
    """Check that a checkpoint with these classes, background first, can be read back.

    Raises:
        ValueError: some names are invalid; the message lists them.
    """
    faults = faults_of_names(classes)
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ValueError(
            f"{source}: invalid class names: {'; '.join(faults[:5])}{more}"
            ". Rename them in the annotations, or choose others with data.classes"
        )


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "...")

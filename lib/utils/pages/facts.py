"""What a page's header tells: its subject, the date, and the command that made it."""

import datetime
import shlex
import sys
from pathlib import Path

from markupsafe import Markup

from .render import macro


def facts(**known: str) -> Markup:
    """Make a list of facts, ended by the date and the command that runs.

    Args:
        known: facts by their names, in order; an empty one is left out.
    """
    now = datetime.datetime.now().astimezone()
    rows = {**known, "date": f"{now:%Y-%m-%d %H:%M %Z}", "command": running_command()}
    shown = [(name.replace("_", " "), text) for name, text in rows.items() if text]
    return macro("utils/pages/elements.html", "facts")(shown)


def running_command() -> str:
    """Return the command of this package that runs; empty in other programs."""
    program = Path(sys.argv[0])
    if program.name == "frcnn":
        words = ["frcnn"]
    elif program.name == "__main__.py" and "faster_rcnn" in sys.modules:
        words = ["python", "-m", "faster_rcnn.cli"]
    elif program.parent.name == "tools" and program.suffix == ".py":
        words = ["python", f"tools/{program.name}"]
    else:
        return ""
    return shlex.join([*words, *sys.argv[1:]])

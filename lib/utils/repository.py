"""Where the repository lies that this package was installed from, if it was."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

"""Published weights by name: downloaded once, verified, loaded as checkpoints."""

from .cache import fetch, home
from .entry import Entry
from .resolve import open_checkpoint
from .table import ENTRIES, find_entry

__all__ = ["ENTRIES", "Entry", "fetch", "find_entry", "home", "open_checkpoint"]

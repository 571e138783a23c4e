"""Overlapping tiles of a large image, each of which is read as an image of its own."""

from typing import NamedTuple

import numpy as np


class Tile(NamedTuple):
    """A part of an image, or all of it."""

    x: int  # left edge, in whole pixels of the image
    y: int  # top edge
    width: int  # pixels of the image
    height: int  # pixels of the image
    image_width: int  # width of the image
    image_height: int  # height of the image

    @property
    def whole(self) -> bool:
        """Return whether this is the whole image."""
        return self[2:4] == self[4:]


class Tiling(NamedTuple):
    """How images are cut into tiles."""

    # sides of a tile in pixels of the stored image; a smaller image is its own only
    # tile
    side: int
    overlap: float = 0.25  # least share of the side that two neighbours have in common
    # add the whole image, reduced as without tiles, for large objects
    whole: bool = True

    def tiles(self, height: int, width: int) -> list[Tile]:
        """Return the tiles of an image, row by row, and the whole image last.

        All have the same size, and are spread evenly.
        """
        everything = Tile(0, 0, width, height, width, height)
        if max(height, width) <= self.side:
            return [everything]
        size = min(self.side, width), min(self.side, height)
        return [
            Tile(x, y, *size, width, height)
            for y in self._starts(height)
            for x in self._starts(width)
        ] + [everything] * self.whole

    def _starts(self, length: int) -> list[int]:
        rest = max(length - self.side, 0)
        step = max(int(self.side * (1 - self.overlap)), 1)
        starts = np.linspace(0, rest, -(-rest // step) + 1)
        return [int(start) for start in starts.round()]

    def groups(self, height: int, width: int, batch_size: int) -> list[list[Tile]]:
        """Group an image's tiles into batches; the whole image is one of its own."""
        tiles = self.tiles(height, width)
        parts = [tile for tile in tiles if not tile.whole]
        last = [tiles[len(parts) :]] if len(parts) < len(tiles) else []
        return [
            parts[start : start + batch_size]
            for start in range(0, len(parts), batch_size)
        ] + last

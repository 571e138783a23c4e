"""Masks as polygons of pixel edges."""

import itertools

import cv2
import hotcoco.mask
import numpy as np
import numpy.typing as npt

from .records import RunLengths

Polygon = npt.NDArray[np.float64]
_TOLERANCE = 0.75  # pixels by which a simplified outline may differ


def trace(seen: npt.NDArray[np.bool_], tolerance: float = _TOLERANCE) -> list[Polygon]:
    """Trace a mask as polygons ``(V, 2)`` of pixel edges, with few vertices.

    A hole is joined to its outer contour by a line there and back. Parts and holes that
    are thinner than ``tolerance``, in pixels, may be lost.
    """
    # Twice as large, an even coordinate of a pixel at the border lies at its left or
    # upper edge, and an odd one at the other.
    large = np.repeat(np.repeat(seen.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, tree = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    edges = [np.asarray(c)[:, 0] + np.asarray(c)[:, 0] % 2 for c in contours]
    simple = [
        np.asarray(cv2.approxPolyDP(e, 2 * tolerance, closed=True))[:, 0] / 2
        for e in edges
    ]
    parents = np.reshape(tree if len(contours) else (), (-1, 4))[:, 3]
    polygons = []
    for number in np.flatnonzero(parents < 0):
        outer = simple[number]
        rings = [outer]
        for hole in np.flatnonzero(parents == number):
            ring = simple[hole]
            if len(ring) > 2:
                rings += [outer[:1], ring, ring[:1], outer[:1]]
        if len(outer) > 2:
            polygons.append(np.concatenate(rings))
    return polygons


def mask_polygons(mask: RunLengths, max_vertices: int) -> list[Polygon]:
    """Trace run lengths as polygons of the image, the largest first.

    Args:
        max_vertices: of all polygons together, at least 4; outlines are simplified
            until they have no more, and of too many parts the largest remain.
    """
    rle = {"size": list(mask.size), "counts": mask.counts}
    x, y, width, height = np.array(hotcoco.mask.to_bbox(rle), np.int64).tolist()
    bits = hotcoco.mask.decode(rle)[y : y + height, x : x + width].view(np.bool_)
    found, tolerance = trace(bits), _TOLERANCE
    if bits.size and not found:  # a few pixels
        found = [np.array([(0, 0), (width, 0), (width, height), (0, height)], float)]
    while sum(map(len, found)) > max_vertices:
        tolerance *= 1.5
        coarser = trace(bits, tolerance)
        if not coarser:
            break
        found = coarser
    found.sort(key=lambda part: cv2.contourArea(part.astype(np.float32)), reverse=True)
    totals = itertools.accumulate(map(len, found))
    return [
        polygon + np.array([x, y])
        for polygon, total in zip(found, totals, strict=True)
        if total <= max_vertices
    ]

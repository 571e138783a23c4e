"""RoI pooling in ONNX's standard operators.

Letters: N images, R RoIs per image, C channels, P output cells per side, L levels of a
pyramid, M RoIs of one level, H x W cells of a map.
"""

from collections.abc import Sequence

from ..kernels.pooling_layout import MODES
from .onnx_graph import FLOAT, INT, Value, floats, integer, integers, number, op


def roi_pool(
    features: Sequence[Value],
    rois: Value,
    sizes: Sequence[Value] | None,
    scales: Sequence[float],
    size: int,
    mode: int,
    sampling_ratio: int,
    aligned: bool,
    max_pool: bool,
    canonical_size: float,
    canonical_level: int,
) -> tuple[Value, Value]:
    """``faster_rcnn::roi_pool``, see ``kernels.pooling.roi_pool``.

    The second result, where maxima were, serves training alone and is empty here.
    """
    side = 2 * size if max_pool else size
    name = next(key for key, number in MODES.items() if number == mode)
    levels = _levels(rois, len(features), canonical_size, canonical_level)
    pooled, members = [], []
    for level, (maps, scale) in enumerate(zip(features, scales, strict=True)):
        boxes, chosen = rois, None
        if sizes is not None and name == "align":
            maps = _repeat_edge(maps, sizes[level])
        elif sizes is not None:
            maps, boxes = _to_far_corner(maps, boxes, sizes[level], scale)
        if len(features) > 1:
            chosen = op.NonZero(op.Equal(levels, integer(level)))
            chosen = op.Squeeze(chosen, integers(0))  # (M,)
            members.append(chosen)
        if name in ("crop", "crop_stn"):
            found = _crop(maps, boxes, scale, side, fades=name == "crop_stn")
            found = found if chosen is None else op.Gather(found, chosen)
        elif name == "align":
            image, boxes = _flat(boxes, chosen)
            shifted = "half_pixel" if aligned else "output_half_pixel"
            found = op.RoiAlign(
                *(maps, boxes, image),
                output_height=side,
                output_width=side,
                sampling_ratio=sampling_ratio,
                spatial_scale=scale,
                coordinate_transformation_mode=shifted,
            )
        else:
            image, boxes = _flat(boxes, chosen)
            image = op.Unsqueeze(op.Cast(image, to=FLOAT), integers(1))
            found = op.MaxRoiPool(
                maps,
                op.Concat(image, boxes, axis=1),
                pooled_shape=(side, side),
                spatial_scale=scale,
            )
        pooled.append(found)
    result = pooled[0]
    if len(pooled) > 1:
        # The levels' RoIs one after the other, back into the order of the RoIs.
        order = op.Concat(*members, axis=0)
        places = op.Range(integer(0), op.Squeeze(op.Shape(order)), integer(1))
        result = op.Gather(
            op.Concat(*pooled, axis=0), op.ScatterElements(order, order, places)
        )
    if max_pool:
        result, _ = op.MaxPool(result, kernel_shape=(2, 2), strides=(2, 2))
    return result, integers(0)


def _levels(
    rois: Value, count: int, canonical_size: float, canonical_level: int
) -> Value:
    """Level of each RoI (FPN, eq. 1), ``(N * R,)``: how many limits its side reaches.

    ``floor(canonical_level + log2(side / canonical_size) + 1e-6)`` within 0 and L - 1.
    """
    x1, y1, x2, y2 = op.Split(op.Reshape(rois, integers(-1, 4)), axis=1, num_outputs=4)
    area = op.Mul(op.Sub(x2, x1), op.Sub(y2, y1))
    side = op.Sqrt(op.Max(area, number(0)))  # (N * R, 1)
    limits = [
        canonical_size * 2 ** (level - canonical_level - 1e-6)
        for level in range(1, count)
    ]
    if not limits:
        return None
    reached = op.Cast(op.GreaterOrEqual(side, floats(*limits)), to=INT)
    return op.ReduceSum(reached, integers(1), keepdims=0)


def _flat(rois: Value, chosen: Value | None) -> tuple[Value, Value]:
    """Image index ``(M,)`` and box ``(M, 4)`` of the chosen of the N * R RoIs."""
    shape = op.Shape(rois, start=0, end=2)
    images = op.Squeeze(op.Shape(rois, start=0, end=1))
    index = op.Unsqueeze(op.Range(integer(0), images, integer(1)), integers(1))
    index = op.Reshape(op.Expand(index, shape), integers(-1))
    boxes = op.Reshape(rois, integers(-1, 4))
    if chosen is None:
        return index, boxes
    return op.Gather(index, chosen), op.Gather(boxes, chosen)


def _repeat_edge(maps: Value, sizes: Value) -> Value:
    """Repeat each image's last row and column of true features once, behind them.

    Samples of a RoI inside the image reach no further. These operators leave channels
    last in memory, where OpenVINO's RoIAlign takes a tenth of the time that it takes
    behind a ``Gather`` or a ``Transpose``, which put them first.
    """
    for axis in (2, 3):
        count = op.Squeeze(op.Shape(maps, start=axis, end=axis + 1))
        cells = op.Range(integer(0), count, integer(1))
        behind = op.Equal(cells, op.Gather(sizes, integers(axis - 2), axis=1))
        pads = [0] * 8
        pads[axis], pads[axis + 4] = 1, -1
        moved = op.Pad(maps, integers(*pads))
        maps = op.Where(op.Unsqueeze(behind, integers(1, 5 - axis)), moved, maps)
    return maps


def _to_far_corner(
    maps: Value, rois: Value, sizes: Value, scale: float
) -> tuple[Value, Value]:
    """Move each image's true features, and its RoIs, to the far corner of the map.

    There the edge of the map is the edge of every image, as
    ``layer_utils.roi_pooling`` has it too. The first row and column are repeated
    before them.
    """
    images, channels, height, width = (
        op.Shape(maps, start=k, end=k + 1) for k in range(4)
    )
    room = op.Sub(op.Shape(maps, start=2, end=4), sizes)  # (N, 2) down, right
    down, right = op.Split(room, axis=1, num_outputs=2)
    rows = op.Range(integer(0), op.Squeeze(height), integer(1))
    columns = op.Range(integer(0), op.Squeeze(width), integer(1))
    rows = op.Max(op.Sub(rows, down), integer(0))  # (N, H)
    columns = op.Max(op.Sub(columns, right), integer(0))  # (N, W)
    first = op.Range(integer(0), op.Squeeze(images), integer(1))
    rows = op.Add(rows, op.Mul(op.Unsqueeze(first, integers(1)), height))
    cells = op.Add(
        op.Mul(op.Unsqueeze(rows, integers(2)), width),
        op.Unsqueeze(columns, integers(1)),
    )  # (N, H, W)
    # Whole channel vectors are moved.
    vectors = op.Transpose(maps, perm=(0, 2, 3, 1))
    vectors = op.Reshape(vectors, op.Concat(integers(-1), channels, axis=0))
    moved = op.Transpose(op.Gather(vectors, cells), perm=(0, 3, 1, 2))
    shift = op.Mul(
        op.Cast(op.Concat(right, down, right, down, axis=1), to=FLOAT),
        number(1 / scale),
    )
    return moved, op.Add(rois, op.Unsqueeze(shift, integers(1)))


def _crop(maps: Value, rois: Value, scale: float, size: int, *, fades: bool) -> Value:
    """Bilinear samples from edge to edge of each RoI, ``(N * R, C, P, P)``.

    Off the map is 0, at once or fading over one cell; see ``kernels.bilinear``.
    """
    images, channels, height, width = (
        op.Shape(maps, start=k, end=k + 1) for k in range(4)
    )
    ahead = floats(*range(size))
    behind = floats(*reversed(range(size)))
    corners = op.Split(op.Mul(rois, number(scale)), axis=2, num_outputs=4)
    places = []
    for low, high, cells in (
        (corners[0], corners[2], width),
        (corners[1], corners[3], height),
    ):
        place = op.Add(op.Mul(low, behind), op.Mul(high, ahead))
        place = op.Div(place, number(size - 1))  # (N, R, P)
        cells = op.Cast(cells, to=FLOAT)
        if not fades:
            last = op.Sub(cells, number(1))
            seen = op.And(
                op.GreaterOrEqual(place, number(0)), op.LessOrEqual(place, last)
            )
            place = op.Where(seen, place, number(-2))
        # -1 and 1 are the outer edges of the map, half a cell beyond the outer cells.
        place = op.Add(op.Mul(place, number(2)), number(1))
        places.append(op.Sub(op.Div(place, cells), number(1)))
    count = op.Shape(rois, start=1, end=2)
    full = op.Concat(images, count, integers(size, size), axis=0)
    across = op.Expand(op.Unsqueeze(places[0], integers(2)), full)
    along = op.Expand(op.Unsqueeze(places[1], integers(3)), full)
    grid = op.Concat(
        op.Unsqueeze(across, integers(4)), op.Unsqueeze(along, integers(4)), axis=4
    )
    grid = op.Reshape(grid, op.Concat(images, integers(-1, size, 2), axis=0))
    samples = op.GridSample(
        maps, grid, align_corners=0, mode="bilinear", padding_mode="zeros"
    )  # (N, C, R * P, P)
    apart = op.Concat(images, channels, count, integers(size, size), axis=0)
    samples = op.Transpose(op.Reshape(samples, apart), perm=(0, 2, 1, 3, 4))
    return op.Reshape(
        samples, op.Concat(integers(-1), channels, integers(size, size), axis=0)
    )

"""The Triton kernels of ``suppression.py``, which describes how they work together.

`fields` are planes ``(N, 6, count)`` float32: x1, y1, x2, y2 with the offset added, the
area, and the bits of the group. A box's number is its position in the sorted order.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# mypy: allow-untyped-decorators

import triton  # type: ignore[import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-untyped, unused-ignore]

INVALID = tl.constexpr(-(2**31))  # below the key of any score


@triton.jit
def score_keys(scores, valid, keys, count, BLOCK: tl.constexpr):
    """Convert scores to integers in the same order: NaN highest, both zeros equal."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    score = tl.load(scores + at, mask=at < count, other=0.0)
    score = tl.where(score == 0.0, 0.0, score)
    bits = score.to(tl.int32, bitcast=True)
    key = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    key = tl.where(score == score, key, 0x7FFFFFFF)
    usable = tl.load(valid + at, mask=at < count, other=0) != 0
    tl.store(keys + at, tl.where(usable, key, INVALID), mask=at < count)


@triton.jit
def gather(boxes, groups, order, fields, count, offset, BLOCK: tl.constexpr):
    """Gather the fields in sorted order, with a legacy box's edges as corners."""
    n = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = at < count
    source = n * count + tl.load(order + n * count + at, mask=here, other=0)
    x1 = tl.load(boxes + 4 * source, mask=here, other=0.0)
    y1 = tl.load(boxes + 4 * source + 1, mask=here, other=0.0)
    x2 = tl.load(boxes + 4 * source + 2, mask=here, other=0.0) + offset
    y2 = tl.load(boxes + 4 * source + 3, mask=here, other=0.0) + offset
    group = tl.load(groups + source, mask=here, other=0).to(tl.int32)
    area = (x2 - x1) * (y2 - y1)
    to = fields + n * 6 * count
    _store_fields(to, count, at, here, x1, y1, x2, y2, area, group)


@triton.jit
def _store_fields(fields, stride, at, mask, x1, y1, x2, y2, area, group):
    tl.store(fields + at, x1, mask=mask)
    tl.store(fields + stride + at, y1, mask=mask)
    tl.store(fields + 2 * stride + at, x2, mask=mask)
    tl.store(fields + 3 * stride + at, y2, mask=mask)
    tl.store(fields + 4 * stride + at, area, mask=mask)
    tl.store(fields + 5 * stride + at, group.to(tl.float32, bitcast=True), mask=mask)


@triton.jit
def _load_fields(fields, stride, at, mask):
    x1 = tl.load(fields + at, mask=mask)
    y1 = tl.load(fields + stride + at, mask=mask)
    x2 = tl.load(fields + 2 * stride + at, mask=mask)
    y2 = tl.load(fields + 3 * stride + at, mask=mask)
    area = tl.load(fields + 4 * stride + at, mask=mask)
    group = tl.load(fields + 5 * stride + at, mask=mask).to(tl.int32, bitcast=True)
    return x1, y1, x2, y2, area, group


@triton.jit
def _suppressed(
    x1, y1, x2, y2, area, group, fields, stride, at, limit, half_step,
    DIVIDE: tl.constexpr,
):  # fmt: skip
    """Return whether boxes overlap box `at` of the fields by more than the limit."""
    x1_, y1_, x2_, y2_, area_, group_ = _load_fields(fields, stride, at, None)
    width = tl.maximum(tl.minimum(x2, x2_) - tl.maximum(x1, x1_), 0.0)
    height = tl.maximum(tl.minimum(y2, y2_) - tl.maximum(y1, y1_), 0.0)
    inter = width * height
    both = area + area_ - inter
    if DIVIDE:
        over = tl.div_rn(inter, both) > limit
    else:
        # The rounded quotient exceeds the limit if the exact one is above the middle of
        # the limit and the next float32, which it never equals. That close to the limit
        # the fused remainder is exact (both >= 1e-27, as for any real box).
        over = (tl.fma(-limit, both, inter) > half_step * both) & (both >= 0.0)
    return over & (group == group_)


@triton.jit
def overlap_bits(
    keys, fields, bits, count, limit, half_step,
    PANEL: tl.constexpr, TILE: tl.constexpr, DIVIDE: tl.constexpr,
):  # fmt: skip
    """Find, for each box of a tile, which of 32 earlier boxes of its panel overlap it.

    `bits` is ``(N, panels, PANEL / 32, PANEL)``. Words of later boxes and of tiles
    without valid boxes stay unwritten.
    """
    WORDS: tl.constexpr = PANEL // 32
    panel, n = tl.program_id(1), tl.program_id(2).to(tl.int64)
    word, row = tl.program_id(0) % WORDS, tl.program_id(0) // WORDS * TILE
    first = panel * PANEL + row
    best = tl.load(keys + n * count + first, mask=first < count, other=INVALID)
    if (word * 32 < row + TILE) & (best != INVALID):
        mine = first + tl.arange(0, TILE)
        fields += n * 6 * count
        x1, y1, x2, y2, area, group = _load_fields(fields, count, mine, mine < count)
        start = panel * PANEL + word * 32
        found = tl.zeros([TILE], tl.int32)
        for k in range(32):
            # Beyond the end any box serves: it comes before none.
            other = tl.minimum(start + k, count - 1)
            over = _suppressed(
                x1, y1, x2, y2, area, group, fields, count, other, limit, half_step,
                DIVIDE,
            )  # fmt: skip
            found |= over.to(tl.int32) << k
        before = tl.maximum(mine - start, 0)
        found = tl.where(before < 32, found & ((1 << (before & 31)) - 1), found)
        to = bits + ((n * tl.num_programs(1) + panel) * WORDS + word) * PANEL + row
        tl.store(to + tl.arange(0, TILE), found)


@triton.jit
def meet_kept(
    keys, fields, kept_fields, counts, hits, count, slots, start, limit, half_step,
    TILE: tl.constexpr, SHARES: tl.constexpr, DIVIDE: tl.constexpr,
):  # fmt: skip
    """Find the boxes of the panel at `start` that one share of kept boxes suppresses.

    `hits` is ``(N, SHARES, PANEL)``.
    """
    share, n = tl.program_id(1), tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * TILE
    found = tl.load(counts + n)
    first = start + row
    best = tl.load(keys + n * count + first, mask=first < count, other=INVALID)
    if (found < slots) & (best != INVALID):
        mine = first + tl.arange(0, TILE)
        x1, y1, x2, y2, area, group = _load_fields(
            fields + n * 6 * count, count, mine, mine < count
        )
        kept_fields += n * 6 * slots
        hit = tl.zeros([TILE], tl.int1)
        for k in range(found * share // SHARES, found * (share + 1) // SHARES):
            hit |= _suppressed(
                x1, y1, x2, y2, area, group, kept_fields, slots, k, limit, half_step,
                DIVIDE,
            )  # fmt: skip
        to = hits + (n * SHARES + share) * tl.num_programs(0) * TILE + row
        tl.store(to + tl.arange(0, TILE), hit.to(tl.int8))


@triton.jit
def _packed(keep, BLOCK: tl.constexpr):
    """Pack zeros and ones into words of 32 bits."""
    split = tl.reshape(keep, [BLOCK // 32, 32])
    return tl.sum(split << tl.arange(0, 32)[None, :], axis=1)


@triton.jit
def _meets(words, kept):
    """Return 1 where a word has a bit in common with its row of `kept`."""
    return tl.max(((words & kept[:, None]) != 0).to(tl.int32), axis=0)


@triton.jit
def _settle(candidate, own, guess, BLOCK: tl.constexpr):
    """Keep each candidate of a block that no kept box of the block overlaps.

    The kept ones are guessed again from the last guess. After k rounds the first k
    boxes are settled; most blocks need few. The guess is in memory: Triton 3.4 cannot
    carry blocks around a `while`.
    """
    tl.store(guess, _packed(candidate, BLOCK))
    tl.debug_barrier()
    changed, rounds = 1, 0
    while (changed != 0) & (rounds < BLOCK):
        words = tl.load(guess)
        settled = _packed(candidate & (1 - _meets(own, words)), BLOCK)
        changed = tl.max((settled != words).to(tl.int32), axis=0)
        rounds += 1
        tl.debug_barrier()
        tl.store(guess, settled)
        tl.debug_barrier()
    return candidate & (1 - _meets(own, tl.load(guess)))


@triton.jit
def resolve_panel(
    keys, order, fields, bits, hits, kept_words, kept_fields, counts, index, kept,
    count, slots, start,
    PANEL: tl.constexpr, BLOCK: tl.constexpr, SHARES: tl.constexpr,
    AT_ONCE: tl.constexpr,
):  # fmt: skip
    """Append the panel's survivors to the kept boxes of one image.

    `kept_words` ``(N, PANEL / 32)`` is scratch; `AT_ONCE` words are loaded at a time.
    """
    WORDS: tl.constexpr = PANEL // 32
    n = tl.program_id(0).to(tl.int64)
    keys += n * count
    bits += (n * tl.cdiv(count, PANEL) + start // PANEL) * WORDS * PANEL
    hits += n * SHARES * PANEL
    kept_words += n * WORDS
    found = tl.load(counts + n)
    row = 0
    while (row < PANEL) & (found < slots):
        column = row + tl.arange(0, BLOCK)
        at = start + column
        key = tl.load(keys + at, mask=at < count, other=INVALID)
        candidate = (key != INVALID).to(tl.int32)
        if start > 0:
            share = tl.arange(0, SHARES)[:, None]
            hit = tl.load(hits + share * PANEL + column[None, :]).to(tl.int32)
            candidate &= 1 - tl.max(hit, axis=0)
        for first in range(0, row // 32, AT_ONCE):
            before = first + tl.arange(0, AT_ONCE)
            earlier = before < row // 32
            words = tl.load(kept_words + before, mask=earlier, other=0)
            theirs = tl.load(
                bits + before[:, None] * PANEL + column[None, :],
                mask=earlier[:, None], other=0,
            )  # fmt: skip
            candidate &= 1 - _meets(theirs, words)
        guess = kept_words + row // 32 + tl.arange(0, BLOCK // 32)
        word = (row // 32 + tl.arange(0, BLOCK // 32))[:, None]
        own = tl.load(bits + word * PANEL + column[None, :])
        keep = _settle(candidate, own, guess, BLOCK)
        slot = found + tl.cumsum(keep, axis=0) - keep
        taken = (keep != 0) & (slot < slots)
        source = tl.load(order + n * count + at, mask=taken, other=0)
        tl.store(index + n * slots + slot, source, mask=taken)
        tl.store(kept + n * slots + slot, taken, mask=taken)
        x1, y1, x2, y2, area, group = _load_fields(
            fields + n * 6 * count, count, at, taken
        )
        _store_fields(
            kept_fields + n * 6 * slots, slots, slot, taken,
            x1, y1, x2, y2, area, group,
        )  # fmt: skip
        found = tl.minimum(found + tl.sum(keep, axis=0), slots)
        # Invalid boxes come last: nothing after the first one counts.
        row = tl.where(tl.min(key, axis=0) == INVALID, PANEL, row + BLOCK)
    tl.store(counts + n, found)

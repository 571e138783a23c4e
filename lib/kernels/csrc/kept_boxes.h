/* A spatial index of the kept boxes, so that a box is compared with few of them.
 *
 * An IoU above `limit` bounds the distance of two centres: along each axis the overlap
 * of the sides is at least the IoU, so the centres are at most w (1 - limit) /
 * (2 limit) apart for a side of length w. A kept box is stored in all grid cells where
 * the centre of a box that it suppresses can lie, and a box is compared only with the
 * boxes of its own cell. If the limit is below .4, this distance is too large, and one
 * cell contains all boxes.
 *
 * A cell is a linked list of blocks; the boxes of a block are compared in vectors.
 */
#ifndef FASTER_RCNN_KEPT_BOXES_H
#define FASTER_RCNN_KEPT_BOXES_H

#include <math.h>
#include <stdlib.h>

#include "common.h"

#define LANES 16     /* boxes per block */
#define SIDE 16      /* maximum number of cells per axis */
#define PARTITIONS 8 /* of the groups; a box is compared only within its partition */

typedef struct {
    float x1, y1, x2, y2, area;
    int32_t group;
} Box;

typedef struct {
    float x1[LANES], y1[LANES], x2[LANES], y2[LANES], area[LANES];
    int32_t group[LANES];
} Block;

typedef struct {
    float limit;
    double reach;            /* maximum distance of a centre, in sides of its box */
    double left, top;        /* corner of the first cell */
    double per_x, per_y;     /* cells per pixel */
    int across, down;        /* cells per partition */
    int partitions;
    int32_t *cells;          /* newest block of each cell, or -1 */
    uint8_t *filled;         /* number of boxes in that block */
    Block *blocks;
    int32_t *older;          /* previous block of the same cell, or -1 */
    int32_t used, room;      /* number of blocks, and capacity */
} KeptBoxes;

/* Test if a box can overlap another by more than a limit >= 0. NaN, infinite and empty
 * boxes cannot: their IoU is 0 or NaN. */
INLINE int is_solid(const Box *b) {
    return b->x2 > b->x1 && b->y2 > b->y1 && b->area > 0.0f && b->area < 3e38f;
}

/* Cell of a coordinate, clamped to the first and last cell. Monotone, so the cells of a
 * range lie between those of its ends. */
INLINE int cell_at(double x, double origin, double per_pixel, int cells) {
    double at = (x - origin) * per_pixel;
    return at > 0.0 ? (at < cells ? (int)at : cells - 1) : 0;
}

INLINE int partition_of(const KeptBoxes *k, const Box *b) {
    return (int)((uint32_t)b->group % (uint32_t)k->partitions);
}

/* Test if any of the lanes is -1, not 0: as bytes, they fill two words. */
INLINE int any(const int32_t *lanes) {
    typedef int32_t Wide __attribute__((vector_size(4 * LANES)));
    typedef int8_t Narrow __attribute__((vector_size(LANES)));
    Wide wide;
    memcpy(&wide, lanes, sizeof wide);
    const Narrow narrow = __builtin_convertvector(wide, Narrow);
    uint64_t words[LANES / 8];
    memcpy(words, &narrow, sizeof words);
    return (words[0] | words[1]) != 0;
}

/* Test if a kept box overlaps this one by more than the limit.
 *
 * The comparison must agree with torchvision's in float32 to the last bit, so each pair is
 * divided: products that decide most pairs cost as much.
 */
VECTORISED
static int meets_in(const KeptBoxes *k, int64_t cell, const Box *b) {
    const float limit = k->limit;
    const Box a = *b;
    int count = k->filled[cell];
    for (int32_t at = k->cells[cell]; at >= 0; at = k->older[at], count = LANES) {
        const Block *o = k->blocks + at;
        int32_t over[LANES];
        for (int i = 0; i < LANES; i++) {
            float width = smaller(a.x2, o->x2[i]) - larger(a.x1, o->x1[i]);
            float height = smaller(a.y2, o->y2[i]) - larger(a.y1, o->y1[i]);
            float inter = larger(width, 0.0f) * larger(height, 0.0f);
            float all = a.area + o->area[i] - inter;
            int above = inter / all > limit;
            over[i] = -(above & (o->group[i] == a.group) & (i < count));
        }
        if (any(over)) return 1;
    }
    return 0;
}

INLINE int is_suppressed(const KeptBoxes *k, const Box *b) {
    int64_t cell = (int64_t)partition_of(k, b) * k->across * k->down;
    if (k->across * k->down > 1) {
        if (!is_solid(b)) return 0;
        int column = cell_at(0.5 * ((double)b->x1 + b->x2), k->left, k->per_x, k->across);
        int row = cell_at(0.5 * ((double)b->y1 + b->y2), k->top, k->per_y, k->down);
        cell += (int64_t)row * k->across + column;
    }
    return meets_in(k, cell, b);
}

/* Put a box in one cell; returns 0, or 1 if out of memory. */
INLINE int put(KeptBoxes *k, int64_t cell, const Box *b) {
    int32_t at = k->cells[cell];
    if (at < 0 || k->filled[cell] == LANES) {
        if (k->used == k->room) {
            int32_t room = 2 * k->room;
            Block *blocks = realloc(k->blocks, (size_t)room * sizeof *blocks);
            if (!blocks) return 1;
            k->blocks = blocks;
            int32_t *older = realloc(k->older, (size_t)room * sizeof *older);
            if (!older) return 1;
            k->older = older;
            k->room = room;
        }
        k->older[k->used] = at;
        at = k->cells[cell] = k->used++;
        k->filled[cell] = 0;
        memset(k->blocks + at, 0, sizeof(Block)); /* free slots are compared too */
    }
    Block *o = k->blocks + at;
    int i = k->filled[cell]++;
    o->x1[i] = b->x1;
    o->y1[i] = b->y1;
    o->x2[i] = b->x2;
    o->y2[i] = b->y2;
    o->area[i] = b->area;
    o->group[i] = b->group;
    return 0;
}

/* Store a kept box; returns 0, or 1 if out of memory. */
static int keep(KeptBoxes *k, const Box *b) {
    int64_t first = (int64_t)partition_of(k, b) * k->across * k->down;
    if (k->across * k->down == 1) return put(k, first, b);
    if (!is_solid(b)) return 0;
    double x = 0.5 * ((double)b->x1 + b->x2), y = 0.5 * ((double)b->y1 + b->y2);
    double dx = k->reach * ((double)b->x2 - b->x1);
    double dy = k->reach * ((double)b->y2 - b->y1);
    int last_column = cell_at(x + dx, k->left, k->per_x, k->across);
    int last_row = cell_at(y + dy, k->top, k->per_y, k->down);
    for (int row = cell_at(y - dy, k->top, k->per_y, k->down); row <= last_row; row++)
        for (int column = cell_at(x - dx, k->left, k->per_x, k->across);
             column <= last_column; column++)
            if (put(k, first + (int64_t)row * k->across + column, b)) return 1;
    return 0;
}

/* Choose the grid from a sample of the boxes; returns 0, or 1 if out of memory. */
static int begin(KeptBoxes *k, const Box *sample, int64_t count, float limit,
                 int many_groups) {
    memset(k, 0, sizeof *k);
    k->limit = limit;
    k->across = k->down = 1;
    k->partitions = many_groups ? PARTITIONS : 1;
    if (limit >= 0.4f && count > 0) {
        double left = INFINITY, top = INFINITY, right = -INFINITY, bottom = -INFINITY;
        double width = 0.0, height = 0.0;
        for (int64_t i = 0; i < count; i++) {
            double x = 0.5 * ((double)sample[i].x1 + sample[i].x2);
            double y = 0.5 * ((double)sample[i].y1 + sample[i].y2);
            left = x < left ? x : left;
            right = x > right ? x : right;
            top = y < top ? y : top;
            bottom = y > bottom ? y : bottom;
            width += (double)sample[i].x2 - sample[i].x1;
            height += (double)sample[i].y2 - sample[i].y1;
        }
        /* Slightly more than exact, to allow for float32 rounding. */
        k->reach = 1.001 * (1.0 - limit) / (2.0 * limit);
        k->left = left;
        k->top = top;
        /* Cells a quarter larger than the reach of a box, which is then in about six. */
        double reach = 1.25 * k->reach / (double)count;
        double cell_x = fmax((right - left) / SIDE, reach * width);
        double cell_y = fmax((bottom - top) / SIDE, reach * height);
        k->across = 1 + cell_at(right, left, 1.0 / cell_x, SIDE);
        k->down = 1 + cell_at(bottom, top, 1.0 / cell_y, SIDE);
        k->per_x = 1.0 / cell_x;
        k->per_y = 1.0 / cell_y;
    }
    int64_t cells = (int64_t)k->partitions * k->across * k->down;
    k->room = 64;
    k->cells = malloc((size_t)cells * sizeof *k->cells);
    k->filled = calloc((size_t)cells, 1);
    k->blocks = malloc((size_t)k->room * sizeof *k->blocks);
    k->older = malloc((size_t)k->room * sizeof *k->older);
    if (!k->cells || !k->filled || !k->blocks || !k->older) return 1;
    memset(k->cells, 0xff, (size_t)cells * sizeof *k->cells);
    return 0;
}

static void forget(KeptBoxes *k) {
    free(k->cells);
    free(k->filled);
    free(k->blocks);
    free(k->older);
}

#endif

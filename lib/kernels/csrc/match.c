/* Matching of boxes to objects without a matrix of all pairs.
 *
 * The first of two passes over the boxes finds each box's best object and each object's
 * best overlap; the second marks the boxes whose overlap equals an object's best. Both
 * compute overlaps with the same order of operations, so equality is exact.
 */
#include "match.h"

#include <stdlib.h>
#include <string.h>

#include "common.h"

#define TILE 512 /* boxes that stay in the cache during a loop over the objects */

typedef struct {
    float x1[TILE], y1[TILE], x2[TILE], y2[TILE], area[TILE];
} Tile;

typedef struct {
    float x1, y1, x2, y2, area;
} Object;

INLINE float iou(const Tile *t, int64_t i, const Object *o, float offset) {
    float width = smaller(t->x2[i], o->x2) - larger(t->x1[i], o->x1) + offset;
    float height = smaller(t->y2[i], o->y2) - larger(t->y1[i], o->y1) + offset;
    float inter = larger(width, 0.0f) * larger(height, 0.0f);
    float all = t->area[i] + o->area - inter;
    return quotient(inter, all);
}

VECTORISED
static void load_tile(const float *boxes, int64_t count, float offset, Tile *t) {
    for (int64_t i = 0; i < count; i++) {
        t->x1[i] = boxes[4 * i];
        t->y1[i] = boxes[4 * i + 1];
        t->x2[i] = boxes[4 * i + 2];
        t->y2[i] = boxes[4 * i + 3];
        t->area[i] = (t->x2[i] - t->x1[i] + offset) * (t->y2[i] - t->y1[i] + offset);
    }
}

/* Update each box's best overlap; returns the best overlap of the usable boxes. */
VECTORISED
static float meet_object(const Tile *t, int64_t count, const Object *o, float offset,
                         int32_t slot, const float *lowest, float *overlap,
                         int32_t *object) {
    /* Compare the bits, which have the same order for numbers >= 0, because compilers
     * vectorise maxima of integers. */
    int32_t best = -1;
    for (int64_t i = 0; i < count; i++) {
        float value = iou(t, i, o, offset);
        int32_t better = value > overlap[i];
        overlap[i] = better ? value : overlap[i];
        object[i] = better ? slot : object[i];
        /* An unusable box has no overlap. */
        int32_t bits = bits_of(smaller(value, lowest[i]));
        best = bits > best ? bits : best;
    }
    return best < 0 ? -1.0f : from_bits(best);
}

VECTORISED
static void mark_best(const Tile *t, int64_t count, const Object *o, float offset,
                      float best, uint8_t *is_best) {
    for (int64_t i = 0; i < count; i++)
        is_best[i] |= iou(t, i, o, offset) == best;
}

/* Update the largest fraction of each box that lies in a crowd. */
VECTORISED
static void meet_crowd(const Tile *t, int64_t count, const Object *o, float offset,
                       float *share) {
    for (int64_t i = 0; i < count; i++) {
        float width = smaller(t->x2[i], o->x2) - larger(t->x1[i], o->x1) + offset;
        float height = smaller(t->y2[i], o->y2) - larger(t->y1[i], o->y1) + offset;
        float inter = larger(width, 0.0f) * larger(height, 0.0f);
        float inside = quotient(inter, t->area[i]);
        share[i] = larger(inside, share[i]);
    }
}

int match_batch(const float *boxes, int64_t box_stride, const float *gt_boxes,
                const uint8_t *gt_valid, const uint8_t *crowd, const uint8_t *usable,
                int64_t images, int64_t count, int64_t slots, float offset,
                float *overlap, int64_t *object, uint8_t *is_best,
                float *crowd_share, int threads) {
    int64_t tiles = (count + TILE - 1) / TILE;
    /* Starting threads costs more than a pass over the anchors of one image. */
    if (images * count * slots < 2000000) threads = 1;
    Object *objects = malloc((size_t)(images * slots + 1) * sizeof *objects);
    float *best = malloc((size_t)(images * slots * tiles + 1) * sizeof *best);
    if (!objects || !best) {
        free(objects);
        free(best);
        return 1;
    }
    for (int64_t k = 0; k < images * slots; k++) {
        const float *b = gt_boxes + 4 * k;
        Object o = {b[0], b[1], b[2], b[3],
                    (b[2] - b[0] + offset) * (b[3] - b[1] + offset)};
        objects[k] = o;
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t job = 0; job < images * tiles; job++) {
        int64_t n = job / tiles, tile = job % tiles, first = tile * TILE;
        int64_t size = count - first < TILE ? count - first : TILE;
        int64_t at = n * count + first;
        Tile t;
        float lowest[TILE];
        int32_t slot[TILE];
        load_tile(boxes + n * box_stride + 4 * first, size, offset, &t);
        for (int64_t i = 0; i < size; i++) {
            lowest[i] = usable && !usable[at + i] ? -1.0f : 2.0f;
            overlap[at + i] = 0.0f;
            slot[i] = 0;
            if (crowd) crowd_share[at + i] = 0.0f;
        }
        for (int64_t g = 0; g < slots; g++) {
            int64_t k = n * slots + g;
            if (!gt_valid[k]) continue;
            if (crowd && crowd[k])
                meet_crowd(&t, size, objects + k, offset, crowd_share + at);
            else
                best[k * tiles + tile] =
                    meet_object(&t, size, objects + k, offset, (int32_t)g, lowest,
                                overlap + at, slot);
        }
        for (int64_t i = 0; i < size; i++) object[at + i] = slot[i];
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t job = 0; job < images * tiles; job++) {
        int64_t n = job / tiles, tile = job % tiles, first = tile * TILE;
        int64_t size = count - first < TILE ? count - first : TILE;
        int64_t at = n * count + first;
        Tile t;
        load_tile(boxes + n * box_stride + 4 * first, size, offset, &t);
        memset(is_best + at, 0, (size_t)size);
        for (int64_t g = 0; g < slots; g++) {
            int64_t k = n * slots + g;
            if (!gt_valid[k] || (crowd && crowd[k])) continue;
            float top = 0.0f; /* an object without overlaps has no best box */
            for (int64_t i = 0; i < tiles; i++) top = larger(best[k * tiles + i], top);
            /* Few tiles contain an object's best box. */
            if (top > 0.0f && best[k * tiles + tile] == top)
                mark_best(&t, size, objects + k, offset, top, is_best + at);
        }
        if (usable)
            for (int64_t i = 0; i < size; i++) is_best[at + i] &= usable[at + i] != 0;
    }
    free(objects);
    free(best);
    return 0;
}

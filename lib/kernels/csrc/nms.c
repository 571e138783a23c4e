/* Greedy non-maximum suppression with a fixed number of outputs.
 *
 * Boxes are visited in order of score. Each is compared with the kept boxes near it, and
 * the scan ends as soon as the slots are full. No matrix of all pairs is formed.
 */
#include "nms.h"

#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "kept_boxes.h"

#define SAMPLE 256 /* number of boxes from which the grid is chosen */

/* Map a score to an integer that sorts in descending order, NaN first as in torch.sort
 * and -0 equal to 0. */
INLINE uint32_t descending_key(float score) {
    uint32_t bits = (uint32_t)bits_of(score + 0.0f); /* -0 becomes 0 */
    bits = bits & 0x80000000u ? bits : bits ^ 0x7fffffffu;
    return score != score ? 0 : bits; /* at least 1, because only NaN has the pattern 0 */
}

/* Stable radix sort of `order` by `key`, 11 bits at a time. */
static void sort_by_key(uint32_t *key, uint32_t *order, uint32_t *key2,
                        uint32_t *order2, int64_t count) {
    for (int shift = 0; shift < 33; shift += 11) {
        uint32_t start[2048] = {0};
        for (int64_t i = 0; i < count; i++) start[(key[i] >> shift) & 2047]++;
        uint32_t sum = 0;
        for (int b = 0; b < 2048; b++) {
            uint32_t in_bucket = start[b];
            start[b] = sum;
            sum += in_bucket;
        }
        for (int64_t i = 0; i < count; i++) {
            uint32_t to = start[(key[i] >> shift) & 2047]++;
            key2[to] = key[i];
            order2[to] = order[i];
        }
        uint32_t *swap = key; key = key2; key2 = swap;
        swap = order; order = order2; order2 = swap;
    }
    /* After three passes the result is in the second pair. */
    memcpy(order2, order, (size_t)count * sizeof *order);
}

/* Compute the keys of all scores; returns 1 if they are already sorted. */
VECTORISED
static int make_keys(const float *scores, int64_t count, uint32_t *key, uint32_t *order) {
    uint32_t unsorted = 0;
    for (int64_t i = 0; i < count; i++) {
        key[i] = descending_key(scores[i]);
        order[i] = (uint32_t)i;
    }
    for (int64_t i = 1; i < count; i++) unsorted |= key[i - 1] > key[i];
    return !unsorted;
}

/* Write the indices of the valid boxes to `order`, best first; returns their number. */
static int64_t rank(const float *scores, const uint8_t *valid, int64_t count,
                    uint32_t *key, uint32_t *order, uint32_t *key2, uint32_t *order2) {
    const int sorted = make_keys(scores, count, key, order);
    int64_t found = 0;
    if (count == 0 || !memchr(valid, 0, (size_t)count)) found = count;
    for (int64_t i = 0; i < count && found < count; i++) {
        key[found] = key[i];
        order[found] = (uint32_t)i;
        found += valid[i] != 0;
    }
    if (!sorted) sort_by_key(key, order, key2, order2, found);
    return found;
}

/* Test if the boxes belong to several groups. */
VECTORISED
static int differ(const int64_t *groups, int64_t count) {
    int64_t other = 0;
    for (int64_t i = 1; i < count; i++) other |= groups[i] ^ groups[0];
    return other != 0;
}

/* Convert a legacy box, whose width is x2 - x1 + 1, to edges. */
INLINE Box box_at(const float *boxes, const int64_t *groups, uint32_t at, float offset) {
    const float *c = boxes + 4 * (int64_t)at;
    Box b = {c[0], c[1], c[2] + offset, c[3] + offset, 0.0f, (int32_t)groups[at]};
    b.area = (b.x2 - b.x1) * (b.y2 - b.y1);
    return b;
}

/* Choose the grid of kept boxes from a sample of the candidates. */
static int prepare(KeptBoxes *best, const float *boxes, const int64_t *groups,
                   int64_t count, const uint32_t *order, int64_t candidates, float limit,
                   float offset) {
    Box sample[SAMPLE];
    int64_t solid = 0;
    int64_t step = 1 + candidates / SAMPLE;
    for (int64_t i = 0; i < candidates; i += step) {
        sample[solid] = box_at(boxes, groups, order[i], offset);
        solid += is_solid(sample + solid);
    }
    return begin(best, sample, solid, limit, differ(groups, count));
}

static int nms_image(const float *boxes, const float *scores, const uint8_t *valid,
                     const int64_t *groups, int64_t count, float limit, float offset,
                     int64_t slots, int64_t *index, uint8_t *kept) {
    uint32_t *words = malloc((size_t)(4 * count + 1) * sizeof *words);
    if (!words) return 1;
    uint32_t *order = words + count;
    int64_t candidates =
        rank(scores, valid, count, words, order, words + 2 * count, words + 3 * count);
    KeptBoxes best;
    int failed = prepare(&best, boxes, groups, count, order, candidates, limit, offset);
    int64_t found = 0;
    for (int64_t i = 0; i < candidates && found < slots && !failed; i++) {
        Box box = box_at(boxes, groups, order[i], offset);
        if (is_suppressed(&best, &box)) continue;
        failed = keep(&best, &box);
        index[found] = order[i];
        kept[found] = 1;
        found++;
    }
    for (int64_t i = found; i < slots; i++) {
        index[i] = 0;
        kept[i] = 0;
    }
    forget(&best);
    free(words);
    return failed;
}

int nms_batch(const float *boxes, const float *scores, const uint8_t *valid,
              const int64_t *groups, int64_t images, int64_t count, float limit,
              float offset, int64_t slots, int64_t *index, uint8_t *kept,
              int threads) {
    int failed = 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic) reduction(| : failed) if (images > 1 && threads > 1)
    for (int64_t n = 0; n < images; n++)
        failed |= nms_image(boxes + n * count * 4, scores + n * count,
                            valid + n * count, groups + n * count, count, limit,
                            offset, slots, index + n * slots, kept + n * slots);
    return failed;
}

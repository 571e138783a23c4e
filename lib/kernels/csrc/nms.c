/* Greedy non-maximum suppression with a fixed number of outputs.
 *
 * Boxes are taken best first. Each is compared with the boxes kept so far, many at a
 * time, and the scan ends as soon as the slots are full: the cost is that of kept x
 * seen boxes, and no matrix of all pairs is formed.
 *
 * The comparison must agree with `inter / (area + area' - inter) > limit` in float32 to
 * the last bit, which needs a division per pair. A product decides all pairs but the
 * few near the limit; only those are divided.
 */
#include "nms.h"

#include <stdlib.h>
#include <string.h>

#include "common.h"

#define BLOCK 64 /* boxes between two looks at whether one suppresses */

typedef struct {
    float *x1, *y1, *x2, *y2, *area;
    int32_t *group;
} Boxes;

/* Order of a score as an integer, descending: NaN first, as torch.sort has it, and
 * both zeros alike. */
INLINE uint32_t descending_key(float score) {
    uint32_t bits;
    if (score != score) return 0;
    score += 0.0f; /* -0 becomes 0 */
    memcpy(&bits, &score, sizeof bits);
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ~bits; /* at least 1: no number has all bits set */
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
    /* Three passes leave the result in the second pair. */
    memcpy(order2, order, (size_t)count * sizeof *order);
}

/* Whether a kept box overlaps this one by more than `limit`. */
VECTORISED
static int is_suppressed(const Boxes *kept, int64_t count, float x1, float y1, float x2,
                         float y2, float area, int32_t group, float limit) {
    /* Rounding moves a quotient by less than this share of it. */
    const float surely_below = limit - 1e-6f * (limit < 0 ? -limit : limit) - 1e-30f;
    for (int64_t block = 0; block < count; block += BLOCK) {
        int32_t near = limit < 0.0f; /* then a product has another sign than hoped */
        for (int64_t i = block; i < block + BLOCK; i++) {
            float width = smaller(x2, kept->x2[i]) - larger(x1, kept->x1[i]);
            float height = smaller(y2, kept->y2[i]) - larger(y1, kept->y1[i]);
            float inter = larger(width, 0.0f) * larger(height, 0.0f);
            float all = area + kept->area[i] - inter;
            near |= (inter > surely_below * all) & (kept->group[i] == group);
        }
        if (!near) continue;
        int64_t end = block + BLOCK < count ? block + BLOCK : count;
        for (int64_t i = block; i < end; i++) {
            float width = smaller(x2, kept->x2[i]) - larger(x1, kept->x1[i]);
            float height = smaller(y2, kept->y2[i]) - larger(y1, kept->y1[i]);
            float inter = larger(width, 0.0f) * larger(height, 0.0f);
            float all = area + kept->area[i] - inter;
            if (kept->group[i] == group && inter / all > limit) return 1;
        }
    }
    return 0;
}

/* Positions of the valid boxes in `order`, best first; returns their number. */
static int64_t rank(const float *scores, const uint8_t *valid, int64_t count,
                    uint32_t *key, uint32_t *order, uint32_t *key2, uint32_t *order2) {
    int64_t found = 0;
    int sorted = 1;
    for (int64_t i = 0; i < count; i++) {
        if (!valid[i]) continue;
        key[found] = descending_key(scores[i]);
        order[found] = (uint32_t)i;
        sorted &= found == 0 || key[found - 1] <= key[found];
        found++;
    }
    if (!sorted) sort_by_key(key, order, key2, order2, found);
    return found;
}

static int nms_image(const float *boxes, const float *scores, const uint8_t *valid,
                     const int64_t *groups, int64_t count, float limit, float offset,
                     int64_t slots, int64_t *index, uint8_t *kept) {
    int64_t most = slots < count ? slots : count;
    int64_t room = (most + BLOCK - 1) / BLOCK * BLOCK;
    uint32_t *words = malloc((size_t)(4 * count + 6 * room + 1) * sizeof *words);
    if (!words) return 1;
    uint32_t *key = words, *order = words + count, *key2 = words + 2 * count;
    uint32_t *order2 = words + 3 * count;
    float *floats = (float *)(words + 4 * count);
    Boxes best = {floats,            floats + room,     floats + 2 * room,
                  floats + 3 * room, floats + 4 * room, (int32_t *)(floats + 5 * room)};
    /* Unused places of a block are boxes without area that meet none. */
    memset(floats, 0, (size_t)(6 * room) * sizeof *floats);

    int64_t candidates = rank(scores, valid, count, key, order, key2, order2);
    int64_t found = 0;
    for (int64_t i = 0; i < candidates && found < slots; i++) {
        uint32_t at = order[i];
        const float *box = boxes + 4 * (int64_t)at;
        /* A legacy box's width x2 - x1 + 1 is that of its edges. */
        float x1 = box[0], y1 = box[1], x2 = box[2] + offset, y2 = box[3] + offset;
        float area = (x2 - x1) * (y2 - y1);
        int32_t group = (int32_t)groups[at];
        if (is_suppressed(&best, found, x1, y1, x2, y2, area, group, limit)) continue;
        best.x1[found] = x1;
        best.y1[found] = y1;
        best.x2[found] = x2;
        best.y2[found] = y2;
        best.area[found] = area;
        best.group[found] = group;
        index[found] = at;
        kept[found] = 1;
        found++;
    }
    for (int64_t i = found; i < slots; i++) {
        index[i] = 0;
        kept[i] = 0;
    }
    free(words);
    return 0;
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

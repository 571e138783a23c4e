/* Soft suppression (Bodla et al. 2017): the score of a box that overlaps a picked box
 * decays instead of the box being dropped. Cost: picked x boxes.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "nms.h"

#define LANES 16 /* separate maxima, so that the loop is vectorised */

typedef struct {
    float *x1, *y1, *x2, *y2, *area, *score, *overlap;
    int32_t *group, *place;
    int64_t count;
} Field;

/* IoU of every box with box `i`; 0 for boxes of other groups. */
VECTORISED
static void overlaps_with(const Field *f, int64_t i) {
    const float x1 = f->x1[i], y1 = f->y1[i], x2 = f->x2[i], y2 = f->y2[i];
    const float area = f->area[i];
    const int32_t group = f->group[i];
    for (int64_t j = 0; j < f->count; j++) {
        float width = smaller(x2, f->x2[j]) - larger(x1, f->x1[j]);
        float height = smaller(y2, f->y2[j]) - larger(y1, f->y1[j]);
        float inter = larger(width, 0.0f) * larger(height, 0.0f);
        float all = area + f->area[j] - inter;
        float iou = quotient(inter, all);
        f->overlap[j] = f->group[j] == group ? iou : 0.0f;
    }
}

VECTORISED
static float largest(const float *score, int64_t count) {
    float lane[LANES], best = -INFINITY;
    for (int l = 0; l < LANES; l++) lane[l] = best;
    int64_t j = 0;
    for (; j + LANES <= count; j += LANES)
        for (int l = 0; l < LANES; l++) lane[l] = larger(score[j + l], lane[l]);
    for (; j < count; j++) best = larger(score[j], best);
    for (int l = 0; l < LANES; l++) best = larger(lane[l], best);
    return best;
}

/* Decay the scores by overlap; drop boxes whose score does not exceed `min_score`. */
VECTORISED
static void decay_linearly(const Field *f, float threshold, float min_score) {
    for (int64_t j = 0; j < f->count; j++) {
        const float iou = f->overlap[j];
        const float score = f->score[j] * (iou > threshold ? 1.0f - iou : 1.0f);
        /* -inf * 0 is NaN, which is dropped too. */
        f->score[j] = score > min_score ? score : -INFINITY;
    }
}

static void decay_by_gaussian(const Field *f, float sigma, float min_score) {
    for (int64_t j = 0; j < f->count; j++) {
        const float iou = f->overlap[j];
        if (!(iou > 0.0f)) continue;
        const float score = f->score[j] * expf(-(iou * iou) / sigma);
        f->score[j] = score > min_score ? score : -INFINITY;
    }
}

static int soft_nms_image(const float *boxes, const float *scores, const uint8_t *valid,
                          const int64_t *groups, int64_t count, int gaussian,
                          float sigma, float threshold, float min_score, float offset,
                          int64_t slots, int64_t *index, uint8_t *kept, float *chosen) {
    float *room = malloc((size_t)(9 * count + 1) * sizeof *room);
    if (!room) return 1;
    Field f = {room,
               room + count,
               room + 2 * count,
               room + 3 * count,
               room + 4 * count,
               room + 5 * count,
               room + 6 * count,
               (int32_t *)(room + 7 * count),
               (int32_t *)(room + 8 * count),
               0};
    for (int64_t i = 0; i < count; i++) {
        if (!valid[i] || !(scores[i] > min_score)) continue; /* also skips NaN */
        const float *box = boxes + 4 * i;
        const int64_t k = f.count++;
        f.x1[k] = box[0];
        f.y1[k] = box[1];
        f.x2[k] = box[2] + offset;
        f.y2[k] = box[3] + offset;
        f.area[k] = (f.x2[k] - f.x1[k]) * (f.y2[k] - f.y1[k]);
        f.score[k] = scores[i];
        f.group[k] = (int32_t)groups[i];
        f.place[k] = (int32_t)i;
    }
    memset(index, 0, (size_t)slots * sizeof *index);
    memset(kept, 0, (size_t)slots);
    memset(chosen, 0, (size_t)slots * sizeof *chosen);
    for (int64_t slot = 0; slot < slots; slot++) {
        const float best = largest(f.score, f.count);
        if (!(best > min_score)) break;
        int64_t i = 0;
        while (f.score[i] != best) i++;
        index[slot] = f.place[i];
        kept[slot] = 1;
        chosen[slot] = best;
        f.score[i] = -INFINITY;
        overlaps_with(&f, i);
        if (gaussian)
            decay_by_gaussian(&f, sigma, min_score);
        else
            decay_linearly(&f, threshold, min_score);
    }
    free(room);
    return 0;
}

int soft_nms_batch(const float *boxes, const float *scores, const uint8_t *valid,
                   const int64_t *groups, int64_t images, int64_t count, int gaussian,
                   float sigma, float threshold, float min_score, float offset,
                   int64_t slots, int64_t *index, uint8_t *kept, float *chosen,
                   int threads) {
    int failed = 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic) reduction(| : failed) if (images > 1 && threads > 1)
    for (int64_t n = 0; n < images; n++)
        failed |= soft_nms_image(boxes + n * count * 4, scores + n * count,
                                 valid + n * count, groups + n * count, count, gaussian,
                                 sigma, threshold, min_score, offset, slots,
                                 index + n * slots, kept + n * slots,
                                 chosen + n * slots);
    return failed;
}

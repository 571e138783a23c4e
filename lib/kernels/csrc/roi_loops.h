/* The loops of roi_bilinear.c for one number type; included once per type.
 *
 * ELEMENT is the type in memory, LOAD and STORE convert it to float32 and back, NAME
 * names the copies. `lanes` contiguous channels are processed together. `m` is 2 with
 * maxima, otherwise 1: output cell (i, j) is the maximum of m x m samples.
 */

#include "roi_transpose.h"

VECTORISED
static void NAME(forward)(const Roi *r, const void *map_, int64_t lanes, float *work,
                          void *pooled_, uint8_t *which) {
    const ELEMENT *map = map_;
    const int64_t m = r->m, width = r->width;
    float *restrict value = work, *restrict best = work + lanes;
    float *sums = work + 2 * lanes; /* (m, width, lanes) */
    for (int64_t i = 0; i < r->size; i++) {
        for (int64_t a = 0; a < m; a++) {
            const Taps *rows = r->rows + i * m + a;
            float *sum_a = sums + a * width * lanes;
            if (rows->count == 0)
                memset(sum_a, 0, (size_t)(width * lanes) * sizeof *sum_a);
            for (int64_t k = 0; k < rows->count; k++) {
                const float weight = rows->weight[k];
                for (int64_t x = 0; x < width; x++) {
                    const ELEMENT *restrict cell = map + (rows->first + k) * r->row_step +
                                                   (r->first + x) * r->column_step;
                    float *restrict sum = sum_a + x * lanes;
                    if (k == 0)
                        for (int64_t c = 0; c < lanes; c++)
                            sum[c] = weight * LOAD(cell[c]);
                    else
                        for (int64_t c = 0; c < lanes; c++)
                            sum[c] += weight * LOAD(cell[c]);
                }
            }
        }
        for (int64_t j = 0; j < r->size; j++) {
            const int64_t cell = i * r->size + j, at = cell * r->channels;
            for (int64_t s = 0; s < m * m; s++) {
                const Taps *columns = r->columns + j * m + s % m;
                const float *row = sums + (s / m) * width * lanes;
                for (int64_t c = 0; c < lanes; c++) value[c] = 0.0f;
                for (int64_t k = 0; k < columns->count; k++) {
                    const float weight = columns->weight[k];
                    const float *restrict sum =
                        row + (columns->first - r->first + k) * lanes;
                    for (int64_t c = 0; c < lanes; c++) value[c] += weight * sum[c];
                }
                if (s == 0) {
                    memcpy(best, value, (size_t)lanes * sizeof *best);
                    if (m > 1) memset(which + at, 0, (size_t)lanes);
                } else {
                    uint8_t *restrict place = which + at;
                    for (int64_t c = 0; c < lanes; c++) {
                        place[c] = value[c] > best[c] ? (uint8_t)s : place[c];
                        best[c] = larger(value[c], best[c]);
                    }
                }
            }
            ELEMENT *restrict out = (ELEMENT *)pooled_ + cell * r->cell_step;
            for (int64_t c = 0; c < lanes; c++) out[c] = STORE(best[c]);
        }
    }
}

VECTORISED
static void NAME(backward)(const Roi *r, float *map, int64_t lanes, float *work,
                           const void *grad_, const uint8_t *which) {
    const int64_t m = r->m, width = r->width;
    float *restrict value = work;
    float *sums = work + lanes; /* (width, lanes) */
    for (int64_t ia = 0; ia < r->size * m; ia++) {
        const Taps *rows = r->rows + ia;
        if (rows->count == 0) continue;
        memset(sums, 0, (size_t)(width * lanes) * sizeof *sums);
        for (int64_t jb = 0; jb < r->size * m; jb++) {
            const Taps *columns = r->columns + jb;
            if (columns->count == 0) continue;
            const int64_t cell = ia / m * r->size + jb / m, at = cell * r->channels;
            const ELEMENT *restrict grad = (const ELEMENT *)grad_ + cell * r->cell_step;
            const uint8_t sample = (uint8_t)(ia % m * m + jb % m);
            if (m == 1)
                for (int64_t c = 0; c < lanes; c++) value[c] = LOAD(grad[c]);
            else
                for (int64_t c = 0; c < lanes; c++)
                    value[c] = which[at + c] == sample ? LOAD(grad[c]) : 0.0f;
            for (int64_t k = 0; k < columns->count; k++) {
                const float weight = columns->weight[k];
                float *restrict sum = sums + (columns->first - r->first + k) * lanes;
                for (int64_t c = 0; c < lanes; c++) sum[c] += weight * value[c];
            }
        }
        for (int64_t k = 0; k < rows->count; k++) {
            const float weight = rows->weight[k];
            for (int64_t x = 0; x < width; x++) {
                float *restrict cell = map + (rows->first + k) * r->row_step +
                                       (r->first + x) * r->column_step;
                const float *restrict sum = sums + x * lanes;
                for (int64_t c = 0; c < lanes; c++) cell[c] += weight * sum[c];
            }
        }
    }
}

#undef ELEMENT
#undef NAME
#undef LOAD
#undef STORE

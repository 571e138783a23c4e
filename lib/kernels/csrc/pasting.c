/* Masks interpolated at the image's pixels and compared with a half.
 *
 * Only pixels whose position lies within a cell of the mask are computed. The products
 * and sums are those of PyTorch's grid_sample, so that ties are decided alike. */
#include "pasting.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

/* Positions within one cell of the mask; they rise, so these are neighbours. */
static int64_t span(const float *at, int64_t length, int64_t size, int64_t *first) {
    int64_t low = 0, high = length;
    while (low < high && !(at[low] > -1.0f && at[low] < (float)size)) low++;
    while (high > low && !(at[high - 1] > -1.0f && at[high - 1] < (float)size)) high--;
    *first = low;
    return high - low;
}

VECTORISED
static void paste_row(const float *upper, const float *lower, const float *part,
                      float below, int64_t width, int64_t stride, uint8_t *out) {
    const float *upper_right = upper + stride, *lower_right = lower + stride;
    float above = 1.0f - below;
    for (int64_t x = 0; x < width; x++) {
        float right = part[x], left = 1.0f - right;
        float value = upper[x] * (left * above) + upper_right[x] * (right * above) +
                      lower[x] * (left * below) + lower_right[x] * (right * below);
        out[x] = value >= 0.5f;
    }
}

/* Each row of the mask, and a row of zeros at both ends, repeated along the columns:
 * what lies left of each position, then what lies right of it. */
static void spread(const float *mask, const float *columns, int64_t size,
                   int64_t width, int64_t stride, float *wide, float *part) {
    memset(wide, 0, sizeof(float) * (size_t)(2 * stride * (size + 2)));
    for (int64_t x = 0; x < width; x++) {
        float low = floorf(columns[x]);
        int64_t cell = (int64_t)low;
        part[x] = columns[x] - low;
        for (int64_t k = 0; k < size; k++) {
            float *at = wide + 2 * stride * (k + 1) + x;
            if (cell >= 0) at[0] = mask[k * size + cell];
            if (cell + 1 < size) at[stride] = mask[k * size + cell + 1];
        }
    }
}

int paste_masks(const float *masks, const float *rows, const float *columns,
                int64_t count, int64_t size, int64_t height, int64_t width,
                uint8_t *pasted, int threads) {
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        float *wide = malloc(sizeof(float) * (size_t)(width * (2 * size + 5)));
        float *part = wide ? wide + 2 * width * (size + 2) : NULL;
        if (!wide) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < count; i++) {
            uint8_t *out = pasted + i * height * width;
            int64_t left, top;
            int64_t across = span(columns + i * width, width, size, &left);
            int64_t down = span(rows + i * height, height, size, &top);
            memset(out, 0, (size_t)(height * width));
            if (!wide || !across || !down) continue;
            spread(masks + i * size * size, columns + i * width + left, size, across,
                   across, wide, part);
            for (int64_t y = top; y < top + down; y++) {
                float at = rows[i * height + y], low = floorf(at);
                const float *upper = wide + 2 * across * ((int64_t)low + 1);
                paste_row(upper, upper + 2 * across, part, at - low, across, across,
                          out + y * width + left);
            }
        }
        free(wide);
    }
    return failed;
}

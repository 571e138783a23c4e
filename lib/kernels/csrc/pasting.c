/* Masks interpolated at the image's pixels and compared with a half.
 *
 * A pixel lies between four values of the mask, or between some of them and the zeros
 * around it. Where all four are above or below a half, so are all pixels between them;
 * only the others are computed. The products and sums are those of PyTorch's
 * grid_sample, so that ties are decided alike. */
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

/* Pixels of a row from `start` on that are all 0, all 1, or to be computed. */
typedef struct {
    int64_t start;
    int kind;
} Run;

enum { ZEROS, ONES, MIXED };

static int kind_of(float a, float b, float c, float d) {
    float low = smaller(smaller(a, b), smaller(c, d));
    float high = larger(larger(a, b), larger(c, d));
    float margin = 1e-5f * (1.0f + larger(high, -low)); /* for rounding */
    if (a != a || b != b || c != c || d != d) return MIXED;
    if (high < 0.5f - margin) return ZEROS;
    return low > 0.5f + margin ? ONES : MIXED;
}

static float value_at(const float *mask, int64_t size, int64_t row, int64_t column) {
    int inside = row >= 0 && row < size && column >= 0 && column < size;
    return inside ? mask[row * size + column] : 0.0f;
}

/* Split the pixels between two rows of the mask, `row` and the next, into runs. */
static int64_t split(const float *mask, int64_t size, int64_t row, const float *columns,
                     int64_t width, Run *runs) {
    int64_t count = 0, x = 0;
    while (x < width) {
        int64_t cell = (int64_t)floorf(columns[x]), start = x;
        int kind = kind_of(value_at(mask, size, row, cell),
                           value_at(mask, size, row, cell + 1),
                           value_at(mask, size, row + 1, cell),
                           value_at(mask, size, row + 1, cell + 1));
        do x++;
        while (x < width && columns[x] < (float)(cell + 1));
        if (!count || runs[count - 1].kind != kind) {
            runs[count].start = start;
            runs[count++].kind = kind;
        }
    }
    runs[count].start = width;
    return count;
}

static void paste(const float *mask, const float *rows, const float *columns,
                  int64_t size, int64_t height, int64_t width, float *wide, Run *runs,
                  uint8_t *out) {
    int64_t left, top, count = 0, current = -2;
    int64_t across = span(columns, width, size, &left);
    int64_t down = span(rows, height, size, &top);
    float *part = wide + 2 * across * (size + 2);
    if (!across || !down) return;
    columns += left;
    spread(mask, columns, size, across, across, wide, part);
    for (int64_t y = top; y < top + down; y++) {
        float low = floorf(rows[y]);
        int64_t row = (int64_t)low;
        const float *upper = wide + 2 * across * (row + 1);
        uint8_t *line = out + y * width + left;
        if (row != current) count = split(mask, size, row, columns, across, runs);
        current = row;
        for (int64_t i = 0; i < count; i++) {
            int64_t x = runs[i].start, length = runs[i + 1].start - x;
            if (runs[i].kind == ONES) memset(line + x, 1, (size_t)length);
            if (runs[i].kind == MIXED)
                paste_row(upper + x, upper + 2 * across + x, part + x, rows[y] - low,
                          length, across, line + x);
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
        Run *runs = malloc(sizeof(Run) * (size_t)(width + 1));
        if (!wide || !runs) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < count; i++) {
            if (wide && runs)
                paste(masks + i * size * size, rows + i * height, columns + i * width,
                      size, height, width, wide, runs, pasted + i * height * width);
        }
        free(wide);
        free(runs);
    }
    return failed;
}

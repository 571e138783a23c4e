/* The rows (or columns) of a map that each output cell averages, and their weights.
 *
 * The samples of a cell form a grid and bilinear weights are a product, so the mean
 * over a cell is a weighted sum of rows of weighted sums of columns. One axis needs at
 * most size * (cells + 1) weights.
 */
#ifndef FASTER_RCNN_ROI_AXIS_H
#define FASTER_RCNN_ROI_AXIS_H

#include <math.h>
#include <stdint.h>

#include "roi.h"

typedef struct {
    int64_t first, count; /* cells of the map that an output cell reads */
    float *weight;        /* (count) */
} Taps;

/* Add one sample at `at`, in cells of the map, with weight `share`. */
static inline void add_sample(Taps *t, float at, int64_t cells, int mode, float share) {
    if (mode == ROI_ALIGN) { /* up to one cell outside, the edge is sampled */
        if (!(at >= -1.0f && at <= (float)cells)) return;
        if (at < 0.0f) at = 0.0f;
    } else if (mode == ROI_CROP) { /* 0 outside the map */
        if (!(at >= 0.0f && at <= (float)(cells - 1))) return;
    } else if (!(at > -1.0f && at < (float)cells)) { /* zeros surround the map */
        return;
    }
    int64_t low = (int64_t)floorf(at);
    float part = at - (float)low;
    if (low >= cells - 1 && mode != ROI_CROP_STN) {
        low = cells - 1;
        part = 0.0f;
    }
    for (int64_t k = 0; k < 2; k++) {
        int64_t cell = low + k;
        if (cell < 0 || cell >= cells || (k && part == 0.0f)) continue;
        if (t->count == 0) t->first = cell;
        while (t->first + t->count <= cell) t->weight[t->count++] = 0.0f;
        t->weight[cell - t->first] += share * (k ? part : 1.0f - part);
    }
}

/* Compute the taps of `side` output cells of a RoI from `low` to `high` input pixels.
 *
 * `room` has side * (cells + 1) floats. The samples of a cell are added in ascending
 * order (from the far end if the corners are swapped), so that the first sample
 * determines the first cell.
 */
static inline void axis_taps(Taps *taps, float *room, int64_t side, int64_t cells,
                             float low, float high, float scale, const RoiTask *task) {
    for (int64_t i = 0; i < side; i++) {
        taps[i].first = taps[i].count = 0;
        taps[i].weight = room + i * (cells + 1);
    }
    if (cells <= 0) return;
    float start = low * scale, end = high * scale;
    if (task->mode != ROI_ALIGN) {
        /* Samples reach from edge to edge; the affine grid of crop_stn has the same points.
         * A weighted mean of both ends is exact at the ends: boxes clipped to the image
         * often end on the last cell, and rounding would put the sample off the map. */
        float last = (float)(side - 1);
        for (int64_t i = 0; i < side; i++) {
            float at = (start * (last - (float)i) + end * (float)i) / last;
            add_sample(taps + i, side > 1 ? at : 0.5f * (start + end), cells, task->mode,
                       1.0f);
        }
        return;
    }
    float shift = task->aligned ? 0.5f : 0.0f;
    start -= shift;
    float length = (end - shift) - start;
    if (!task->aligned && !(length > 1.0f)) length = 1.0f;
    float step = length / (float)side;
    float wanted = task->sampling ? (float)task->sampling : ceilf(step);
    int64_t samples = wanted >= 1.0f && wanted < 1e6f ? (int64_t)wanted : 0;
    for (int64_t i = 0; i < side; i++) {
        for (int64_t k = 0; k < samples; k++) {
            int64_t s = step < 0.0f ? samples - 1 - k : k;
            float at = start + (float)i * step +
                       ((float)s + 0.5f) * step / (float)samples;
            add_sample(taps + i, at, cells, ROI_ALIGN, 1.0f / (float)samples);
        }
    }
}

/* The range of columns that the cells read: sets `first`, returns their number. */
static inline int64_t extent(const Taps *taps, int64_t side, int64_t *first) {
    int64_t low = INT64_MAX, high = 0;
    for (int64_t i = 0; i < side; i++) {
        if (taps[i].count == 0) continue;
        if (taps[i].first < low) low = taps[i].first;
        if (taps[i].first + taps[i].count > high) high = taps[i].first + taps[i].count;
    }
    *first = high ? low : 0;
    return high ? high - low : 0;
}

#endif

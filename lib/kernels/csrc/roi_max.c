/* RoI max pooling (Fast R-CNN, section 2.1): the maximum over bins of whole cells.
 *
 * A bin without cells gives 0 and has no gradient. NaN is never larger, so it is ignored;
 * of equal values the first cell is used. Threads divide the work as in roi_bilinear.c.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "roi.h"
#include "roi_level.h"
#include "roi_sums.h"

/* The cells of one axis in bin `i`: from *low to *high, exclusive. The order of operations
 * is that of the published kernels; another order would change the bins. */
static void bin_of(int64_t i, int64_t size, int64_t cells, float low_px, float high_px,
                   float scale, int64_t *low, int64_t *high) {
    float start = roundf(low_px * scale), end = roundf(high_px * scale);
    float length = end - start + 1.0f;
    if (!(length > 1.0f)) length = 1.0f;
    float step = length / (float)size;
    float from = floorf((float)i * step) + start, to = ceilf((float)(i + 1) * step) + start;
    /* Compare as floats, because casting a float beyond the integer range is undefined. */
    if (!(from > 0.0f)) from = 0.0f;
    if (!(to > 0.0f)) to = 0.0f;
    *low = from < (float)cells ? (int64_t)from : cells;
    *high = to < (float)cells ? (int64_t)to : cells;
}

#define ELEMENT float
#define NAME(x) x##_f32
#define LOAD(v) (v)
#define STORE(v) (v)
#include "roi_max_loops.h"

#define ELEMENT uint16_t
#define NAME(x) x##_bf16
#define LOAD(v) from_bf16(v)
#define STORE(v) to_bf16(v)
#include "roi_max_loops.h"

#define ELEMENT half
#define NAME(x) x##_f16
#define LOAD(v) from_half(v)
#define STORE(v) to_half(v)
#include "roi_max_loops.h"

typedef int Forward(const RoiTask *, void *, int32_t *);
typedef void Scatter(const void *, int64_t, const int32_t *, int64_t, int64_t,
                     const Part *);
typedef void Transpose(const void *, int64_t, int64_t, int64_t, void *, int64_t);

static Forward *const forward_of[3] = {max_forward_f32, max_forward_bf16,
                                       max_forward_f16};
static Scatter *const scatter_of[3] = {max_scatter_f32, max_scatter_bf16,
                                       max_scatter_f16};
static Transpose *const transpose_of[3] = {transpose_f32, transpose_bf16, transpose_f16};
static const int64_t bytes_of[3] = {4, 2, 2};

int roi_max_forward(const RoiTask *task, void *pooled, int32_t *argmax) {
    return forward_of[task->dtype](task, pooled, argmax);
}

int roi_max_backward(const RoiTask *task, const void *grad, const int32_t *argmax) {
    Scatter *scatter = scatter_of[task->dtype];
    Transpose *transpose = transpose_of[task->dtype];
    const int64_t bytes = bytes_of[task->dtype], cells = task->size * task->size;
    const int64_t channels = task->channels;
    const int64_t step = task->planar ? TILE_STEP(channels) : channels;
    int failed = 0;
#pragma omp parallel num_threads(task->threads) reduction(| : failed)
    {
        float *aside = malloc((size_t)room_for_sums(task) * sizeof *aside);
        char *tile = malloc((size_t)(task->planar ? cells * step * bytes : 1));
        failed |= !aside || !tile;
#pragma omp for schedule(dynamic)
        for (int64_t job = 0; job < part_count(task); job++) {
            if (failed) continue;
            const Part part = begin_part(task, job, aside);
            for (int64_t n = part.image * task->per_image;
                 n < (part.image + 1) * task->per_image; n++) {
                if (level_of(task, task->rois + 4 * n) != part.level) continue;
                const int64_t start = n * channels * cells;
                const char *in = (const char *)grad + (start + part.channel) * bytes;
                if (task->planar) {
                    const int64_t from = start + part.channel * cells;
                    transpose((const char *)grad + from * bytes, part.lanes, cells, cells,
                              tile, step);
                    in = tile;
                }
                scatter(in, step, argmax + start + part.channel, cells, channels, &part);
            }
            end_part(task, &part);
        }
        free(aside);
        free(tile);
    }
    return failed;
}

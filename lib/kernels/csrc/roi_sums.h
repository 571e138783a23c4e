/* Gradients of the maps, summed in float32 part by part.
 *
 * A part consists of some channels of one image's map on one level; a thread adds the
 * gradients of all RoIs of the image to it. float32 gradients are summed in place. Other
 * types are summed in a buffer and stored at the end, so that no float32 copy of all maps
 * is needed. The order of each sum is fixed, with any number of threads and channels.
 */
#ifndef FASTER_RCNN_ROI_SUMS_H
#define FASTER_RCNN_ROI_SUMS_H

#include "common.h"
#include "roi.h"
#include "roi_level.h"

#define SUMS (1 << 20) /* approximate size of a buffered part, in floats */

typedef struct {
    int64_t image, level, channel, lanes; /* first channel, number of channels */
    int64_t cells, start;                 /* offset in the level, in elements */
    float *sums;
    int64_t step; /* elements from cell to cell in `sums` */
} Part;

INLINE int64_t cells_of(const RoiTask *task, int64_t level) {
    return task->levels[level].height * task->levels[level].width;
}

/* Channels per part: whole cache lines for every type, and enough parts for all threads. */
INLINE int64_t lanes_of(const RoiTask *task, int64_t level) {
    int64_t cells = cells_of(task, level), most = SUMS / (cells > 0 ? cells : 1);
    int64_t lanes = task->images * task->channels / (task->threads > 0 ? task->threads : 1);
    if (lanes > most && task->dtype != ROI_FLOAT32) lanes = most;
    lanes -= lanes % 32;
    return lanes < 64 ? 64 : lanes;
}

INLINE int64_t parts_of_image(const RoiTask *task, int64_t level) {
    int64_t lanes = lanes_of(task, level);
    return (task->channels + lanes - 1) / lanes;
}

static inline int64_t part_count(const RoiTask *task) {
    int64_t count = 0;
    for (int64_t l = 0; l < task->level_count; l++)
        count += task->images * parts_of_image(task, l);
    return count;
}

/* Size of a thread's buffer in floats; at least 1. */
static inline int64_t room_for_sums(const RoiTask *task) {
    int64_t most = 1;
    for (int64_t l = 0; l < task->level_count && task->dtype != ROI_FLOAT32; l++) {
        int64_t size = cells_of(task, l) * lanes_of(task, l);
        if (size > most) most = size;
    }
    return most;
}

/* Part `job`, with its sums set to 0; `aside` is the thread's buffer. */
static Part begin_part(const RoiTask *task, int64_t job, float *aside) {
    int64_t level = 0;
    while (job >= task->images * parts_of_image(task, level))
        job -= task->images * parts_of_image(task, level++);
    int64_t parts = parts_of_image(task, level), lanes = lanes_of(task, level);
    int64_t first = job % parts * lanes, cells = cells_of(task, level);
    if (lanes > task->channels - first) lanes = task->channels - first;
    int64_t start = job / parts * task->channels * cells + first;
    Part p = {job / parts, level, first, lanes, cells, start, aside, lanes};
    if (task->dtype == ROI_FLOAT32) {
        p.sums = (float *)task->levels[level].data + start;
        p.step = task->channels;
    }
    const int64_t rows = p.step == lanes ? 1 : cells; /* contiguous runs */
    for (int64_t row = 0; row < rows && cells > 0; row++)
        memset(p.sums + row * p.step, 0, (size_t)(cells / rows * lanes) * sizeof *p.sums);
    return p;
}

VECTORISED
static void end_part(const RoiTask *task, const Part *p) {
    if (task->dtype == ROI_FLOAT32) return;
    for (int64_t cell = 0; cell < p->cells; cell++) {
        const float *restrict sum = p->sums + cell * p->step;
        const int64_t at = p->start + cell * task->channels;
        if (task->dtype == ROI_BFLOAT16) {
            uint16_t *restrict out = (uint16_t *)task->levels[p->level].data + at;
            for (int64_t c = 0; c < p->lanes; c++) out[c] = to_bf16(sum[c]);
        } else {
            half *restrict out = (half *)task->levels[p->level].data + at;
            for (int64_t c = 0; c < p->lanes; c++) out[c] = to_half(sum[c]);
        }
    }
}

#endif

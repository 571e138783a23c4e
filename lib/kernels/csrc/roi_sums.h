/* Gradients of the maps, summed in float32 part by part.
 *
 * A part is some channels of one image's map on one level; the image's RoIs pass by, one
 * after the other. Sums of float32 are made where they are wanted. For other types they
 * are made aside and stored at the end, so that no float32 copy of all maps is needed.
 * Each sum has one order, whatever the number of threads and channels at a time.
 */
#ifndef FASTER_RCNN_ROI_SUMS_H
#define FASTER_RCNN_ROI_SUMS_H

#include "common.h"
#include "roi.h"
#include "roi_level.h"

#define SUMS (1 << 20) /* floats of a part that are made aside, about */

typedef struct {
    int64_t image, level, channel, lanes; /* channels from the first on */
    int64_t cells, start;                 /* elements of the level before it */
    float *sums;
    int64_t step; /* of the sums, from cell to cell */
} Part;

INLINE int64_t cells_of(const RoiTask *task, int64_t level) {
    return task->levels[level].height * task->levels[level].width;
}

/* Channels of a part: whole cache lines of every type, and work for every thread. */
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

/* Floats that a thread needs for sums aside; at least 1. */
static inline int64_t room_for_sums(const RoiTask *task) {
    int64_t most = 1;
    for (int64_t l = 0; l < task->level_count && task->dtype != ROI_FLOAT32; l++) {
        int64_t size = cells_of(task, l) * lanes_of(task, l);
        if (size > most) most = size;
    }
    return most;
}

/* Part `job`, with sums of 0; `aside` is the thread's room. */
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
    const int64_t rows = p.step == lanes ? 1 : cells; /* that lie together */
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

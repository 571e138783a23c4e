/* Gradients of the maps, summed in float32 part by part.
 *
 * A part is some channels of one image's map on one level: few enough that the sums stay
 * in the cache while the image's RoIs pass by, then they are stored in the map's type.
 * No float32 copy of a whole map is made, and each sum has one order, whatever the number
 * of threads and channels at a time.
 */
#ifndef FASTER_RCNN_ROI_SUMS_H
#define FASTER_RCNN_ROI_SUMS_H

#include "common.h"
#include "roi.h"
#include "roi_level.h"

#define CHUNK 256     /* channels at a time: a RoI's columns of them stay in the cache */
#define SUMS (1 << 18) /* floats of a part, about */

typedef struct {
    int64_t image, level, channel, lanes; /* channels from the first on */
    int64_t cells;
} Part;

INLINE int64_t cells_of(const RoiTask *task, int64_t level) {
    return task->levels[level].height * task->levels[level].width;
}

/* Channels of a part: whole cache lines of every type, and work for every thread. */
INLINE int64_t lanes_of(const RoiTask *task, int64_t level) {
    int64_t cells = cells_of(task, level), lanes = SUMS / (cells > 0 ? cells : 1);
    int64_t share = task->images * task->channels / (task->threads > 0 ? task->threads : 1);
    if (lanes > share) lanes = share;
    lanes -= lanes % 32;
    return lanes < 64 ? 64 : lanes > CHUNK ? CHUNK : lanes;
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

static inline Part part_of(const RoiTask *task, int64_t job) {
    int64_t level = 0;
    while (job >= task->images * parts_of_image(task, level))
        job -= task->images * parts_of_image(task, level++);
    int64_t parts = parts_of_image(task, level), lanes = lanes_of(task, level);
    int64_t first = job % parts * lanes;
    if (lanes > task->channels - first) lanes = task->channels - first;
    Part p = {job / parts, level, first, lanes, cells_of(task, level)};
    return p;
}

static inline size_t bytes_of_sums(const RoiTask *task) {
    int64_t most = 1;
    for (int64_t l = 0; l < task->level_count; l++) {
        int64_t size = cells_of(task, l) * lanes_of(task, l);
        if (size > most) most = size;
    }
    return (size_t)most * sizeof(float);
}

VECTORISED
static void store_part(const RoiTask *task, const Part *p, const float *sums) {
    int64_t at = p->image * task->channels * p->cells + p->channel;
    void *data = task->levels[p->level].data;
    for (int64_t cell = 0; cell < p->cells; cell++, at += task->channels) {
        const float *restrict sum = sums + cell * p->lanes;
        if (task->dtype == ROI_FLOAT32)
            memcpy((float *)data + at, sum, (size_t)p->lanes * sizeof *sum);
        else if (task->dtype == ROI_BFLOAT16)
            for (int64_t c = 0; c < p->lanes; c++)
                ((uint16_t *)data)[at + c] = to_bf16(sum[c]);
        else
            for (int64_t c = 0; c < p->lanes; c++)
                ((half *)data)[at + c] = to_half(sum[c]);
    }
}

#endif

/* The source of a RoI: its image, its level, and the unpadded part of the map. */
#ifndef FASTER_RCNN_ROI_LEVEL_H
#define FASTER_RCNN_ROI_LEVEL_H

#include <math.h>

#include "roi.h"

typedef struct {
    const RoiLevel *level;
    int64_t image;
    int64_t rows, columns; /* of the unpadded part */
} Place;

/* FPN, eq. 1: the level increases by one if the side doubles. */
static inline int64_t level_of(const RoiTask *task, const float *box) {
    if (task->level_count == 1) return 0;
    float side = sqrtf((box[2] - box[0]) * (box[3] - box[1]));
    float level = floorf((float)task->canonical_level +
                         log2f(side / task->canonical_size) + 1e-6f);
    if (!(level > 0.0f)) return 0; /* also if the box has no area */
    if (level > (float)(task->level_count - 1)) return task->level_count - 1;
    return (int64_t)level;
}

static inline Place place_of(const RoiTask *task, int64_t n) {
    const RoiLevel *level = task->levels + level_of(task, task->rois + 4 * n);
    int64_t image = n / task->per_image;
    Place p = {level, image, level->height, level->width};
    if (level->sizes) {
        int64_t rows = level->sizes[2 * image], columns = level->sizes[2 * image + 1];
        /* Clamp a size that exceeds the map. */
        if (rows < p.rows) p.rows = rows > 0 ? rows : 0;
        if (columns < p.columns) p.columns = columns > 0 ? columns : 0;
    }
    return p;
}

/* Offset of the RoI's image in the level, in elements. */
static inline int64_t start_of(const RoiTask *task, const Place *p) {
    return p->image * task->channels * p->level->height * p->level->width;
}

#endif

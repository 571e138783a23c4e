#ifndef FASTER_RCNN_POLYGONS_H
#define FASTER_RCNN_POLYGONS_H

#include <stdint.h>

/* Each box's object drawn into size x size cells, see polygons.c. `vertices` are
 * (images, objects, slots, 2), `parts` (images, objects, slots), `boxes` (images,
 * count, 4), `matched` (images, count), `masks` (images, count, size, size).
 * Returns 0, or 1 if there is no memory. */
int draw_polygons(const float *vertices, const int16_t *parts, const float *boxes,
                  const int64_t *matched, int64_t images, int64_t objects,
                  int64_t slots, int64_t count, int64_t size, uint8_t *masks,
                  int threads);

#endif

#ifndef FASTER_RCNN_NMS_H
#define FASTER_RCNN_NMS_H

#include <stdint.h>

/* Greedy suppression of `images` images of `count` boxes, see nms.c.
 * Returns 0, or 1 if there is no memory. */
int nms_batch(const float *boxes, const float *scores, const uint8_t *valid,
              const int64_t *groups, int64_t images, int64_t count, float limit,
              float offset, int64_t slots, int64_t *index, uint8_t *kept,
              int threads);

#endif

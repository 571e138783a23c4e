#ifndef FASTER_RCNN_MATCH_H
#define FASTER_RCNN_MATCH_H

#include <stdint.h>

/* Find the best object per box and the best boxes per object; see match.c. The boxes of
 * image n start at boxes + n * box_stride; `usable` and `crowd` may be NULL.
 * Returns 0, or 1 if out of memory. */
int match_batch(const float *boxes, int64_t box_stride, const float *gt_boxes,
                const uint8_t *gt_valid, const uint8_t *crowd, const uint8_t *usable,
                int64_t images, int64_t count, int64_t slots, float offset,
                float *overlap, int64_t *object, uint8_t *is_best,
                float *crowd_share, int threads);

#endif

#ifndef FASTER_RCNN_NMS_H
#define FASTER_RCNN_NMS_H

#include <stdint.h>

/* Greedy suppression of `images` images of `count` boxes; see nms.c.
 * Returns 0, or 1 if out of memory. */
int nms_batch(const float *boxes, const float *scores, const uint8_t *valid,
              const int64_t *groups, int64_t images, int64_t count, float limit,
              float offset, int64_t slots, int64_t *index, uint8_t *kept,
              int threads);

/* Soft suppression with Gaussian (`gaussian`) or linear decay; see soft_nms.c. `chosen`
 * receives the scores of the boxes when they were picked.
 * Returns 0, or 1 if out of memory. */
int soft_nms_batch(const float *boxes, const float *scores, const uint8_t *valid,
                   const int64_t *groups, int64_t images, int64_t count, int gaussian,
                   float sigma, float threshold, float min_score, float offset,
                   int64_t slots, int64_t *index, uint8_t *kept, float *chosen,
                   int threads);

#endif

#ifndef FASTER_RCNN_ROI_H
#define FASTER_RCNN_ROI_H

#include <stdint.h>

enum { ROI_ALIGN = 0, ROI_CROP = 1, ROI_CROP_STN = 2 };
enum { ROI_FLOAT32 = 0, ROI_BFLOAT16 = 1, ROI_FLOAT16 = 2 };

/* From cell to cell of a copy of a region with its channels last: a power of two would map
 * all cells to a few sets of the cache. */
#define TILE_STEP(channels) ((channels) + 16)

/* One feature map of a pyramid: (images, height, width, channels), or its gradient. */
typedef struct {
    void *data;
    int64_t height, width;
    const int64_t *sizes; /* (images, 2) unpadded rows and columns; NULL without padding */
    float scale;          /* cells per input pixel */
} RoiLevel;

/* Inputs and options of pooling; see roi_bilinear.c and roi_max.c. */
typedef struct {
    const RoiLevel *levels;
    int64_t level_count;
    float canonical_size;    /* a RoI of this side, in input pixels, ... */
    int64_t canonical_level; /* ... belongs to this level (FPN, eq. 1), counted from 0 */
    int64_t images, channels;
    int dtype;          /* of features, pooled and their gradients */
    const float *rois;  /* (images, per_image, 4) in input pixels */
    int64_t per_image;
    int64_t size; /* output cells per side */
    int mode;
    int64_t sampling; /* RoIAlign's samples per cell and side, 0 for adaptive */
    int aligned;
    int max_pool; /* pool to twice the size, then take 2x2 maxima */
    int planar;   /* pooled, and its gradient, are (..., channels, size, size) */
    int threads;
} RoiTask;

/* `pooled` is (images * per_image, size, size, channels), unless planar. `which` (that
 * shape always, bytes) receives the index of each maximum, and may be NULL without max_pool.
 * Returns 0, or 1 if out of memory. */
int roi_bilinear_forward(const RoiTask *task, void *pooled, uint8_t *which);

/* Write the gradients to the levels' data. They are float32 sums whose order depends only
 * on the RoIs, so results are equal to the bit with any number of threads. */
int roi_bilinear_backward(const RoiTask *task, const void *grad, const uint8_t *which);

/* RoI max pooling; argmax is the cell, row * width + column, or -1 for an empty bin. */
int roi_max_forward(const RoiTask *task, void *pooled, int32_t *argmax);
int roi_max_backward(const RoiTask *task, const void *grad, const int32_t *argmax);

#endif

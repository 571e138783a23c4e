#ifndef FASTER_RCNN_PASTING_H
#define FASTER_RCNN_PASTING_H

#include <stdint.h>

/* Masks interpolated at positions and compared with a half, see pasting.c. `masks` are
 * (count, size, size), `rows` (count, height), `columns` (count, width), `pasted`
 * (count, height, width), all 0. Returns 0, or 1 if there is no memory. */
int paste_masks(const float *masks, const float *rows, const float *columns,
                int64_t count, int64_t size, int64_t height, int64_t width,
                uint8_t *pasted, int threads);

#endif

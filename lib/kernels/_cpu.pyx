# cython: language_level=3
"""The C kernels, called with the addresses of tensors.

Arguments are checked by the operators of this package, not here. The build needs no
PyTorch headers, so it works with every version of PyTorch.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uintptr_t
from libc.stdlib cimport free, malloc


cdef extern from "csrc/common.h":
    const bint HAS_FLOAT16


cdef extern from "csrc/nms.h" nogil:
    int nms_batch(const float *, const float *, const uint8_t *, const int64_t *,
                  int64_t, int64_t, float, float, int64_t, int64_t *, uint8_t *, int)
    int soft_nms_batch(const float *, const float *, const uint8_t *, const int64_t *,
                       int64_t, int64_t, int, float, float, float, float, int64_t,
                       int64_t *, uint8_t *, float *, int)


cdef extern from "csrc/match.h" nogil:
    int match_batch(const float *, int64_t, const float *, const uint8_t *,
                    const uint8_t *, const uint8_t *, int64_t, int64_t, int64_t, float,
                    float *, int64_t *, uint8_t *, float *, int)


cdef extern from "csrc/polygons.h" nogil:
    int draw_polygons_batch "draw_polygons"(
        const float *, const int16_t *, const float *, const int64_t *, int64_t,
        int64_t, int64_t, int64_t, int64_t, uint8_t *, int)


cdef extern from "csrc/pasting.h" nogil:
    int paste_masks_batch "paste_masks"(
        const float *, const float *, const float *, int64_t, int64_t, int64_t,
        int64_t, uint8_t *, int)


cdef extern from "csrc/roi.h" nogil:
    ctypedef struct RoiLevel:
        void *data
        int64_t height
        int64_t width
        const int64_t *sizes
        float scale

    ctypedef struct RoiTask:
        const RoiLevel *levels
        int64_t level_count
        float canonical_size
        int64_t canonical_level
        int64_t images
        int64_t channels
        int dtype
        const float *rois
        int64_t per_image
        int64_t size
        int mode
        int64_t sampling
        int aligned
        int max_pool
        int planar
        int threads

    int roi_bilinear_forward(const RoiTask *, void *, uint8_t *)
    int roi_bilinear_backward(const RoiTask *, const void *, const uint8_t *)
    int roi_max_forward(const RoiTask *, void *, int32_t *)
    int roi_max_backward(const RoiTask *, const void *, const int32_t *)


# Increase this number with every change of a signature below; cpu.py checks it.
interface = 5

float16 = bool(HAS_FLOAT16)


def nms(uintptr_t boxes, uintptr_t scores, uintptr_t valid, uintptr_t groups,
        int64_t images, int64_t count, float limit, float offset, int64_t slots,
        uintptr_t index, uintptr_t kept, int threads):
    cdef int failed
    with nogil:
        failed = nms_batch(<const float *>boxes, <const float *>scores,
                           <const uint8_t *>valid, <const int64_t *>groups, images,
                           count, limit, offset, slots, <int64_t *>index,
                           <uint8_t *>kept, threads)
    if failed:
        raise MemoryError


def soft_nms(uintptr_t boxes, uintptr_t scores, uintptr_t valid, uintptr_t groups,
             int64_t images, int64_t count, bint gaussian, float sigma, float threshold,
             float min_score, float offset, int64_t slots, uintptr_t index,
             uintptr_t kept, uintptr_t chosen, int threads):
    cdef int failed
    with nogil:
        failed = soft_nms_batch(<const float *>boxes, <const float *>scores,
                                <const uint8_t *>valid, <const int64_t *>groups, images,
                                count, gaussian, sigma, threshold, min_score, offset,
                                slots, <int64_t *>index, <uint8_t *>kept,
                                <float *>chosen, threads)
    if failed:
        raise MemoryError


def match(uintptr_t boxes, int64_t box_stride, uintptr_t gt_boxes, uintptr_t gt_valid,
          uintptr_t crowd, uintptr_t usable, int64_t images, int64_t count,
          int64_t slots, float offset, uintptr_t overlap, uintptr_t obj,
          uintptr_t is_best, uintptr_t crowd_share, int threads):
    cdef int failed
    with nogil:
        failed = match_batch(<const float *>boxes, box_stride, <const float *>gt_boxes,
                             <const uint8_t *>gt_valid, <const uint8_t *>crowd,
                             <const uint8_t *>usable, images, count, slots, offset,
                             <float *>overlap, <int64_t *>obj, <uint8_t *>is_best,
                             <float *>crowd_share, threads)
    if failed:
        raise MemoryError


def draw_polygons(uintptr_t vertices, uintptr_t parts, uintptr_t boxes,
                  uintptr_t matched, int64_t images, int64_t objects, int64_t slots,
                  int64_t count, int64_t size, uintptr_t masks, int threads):
    cdef int failed
    with nogil:
        failed = draw_polygons_batch(<const float *>vertices, <const int16_t *>parts,
                                     <const float *>boxes, <const int64_t *>matched,
                                     images, objects, slots, count, size,
                                     <uint8_t *>masks, threads)
    if failed:
        raise MemoryError


def paste_masks(uintptr_t masks, uintptr_t rows, uintptr_t columns, int64_t count,
                int64_t size, int64_t height, int64_t width, uintptr_t pasted,
                int threads):
    cdef int failed
    with nogil:
        failed = paste_masks_batch(<const float *>masks, <const float *>rows,
                                   <const float *>columns, count, size, height, width,
                                   <uint8_t *>pasted, threads)
    if failed:
        raise MemoryError


cdef class RoiPooling:
    """One pooling task: its options, and the addresses of the maps."""

    cdef RoiTask task
    cdef RoiLevel *levels

    def __cinit__(self, levels, float canonical_size, int64_t canonical_level,
                  int64_t images, int64_t channels, int dtype,
                  uintptr_t rois, int64_t per_image, int64_t size, int mode,
                  int64_t sampling, bint aligned, bint max_pool, bint planar,
                  int threads):
        cdef uintptr_t data, sizes
        self.levels = <RoiLevel *>malloc(max(len(levels), 1) * sizeof(RoiLevel))
        if self.levels is NULL:
            raise MemoryError
        for i, (data, height, width, sizes, scale) in enumerate(levels):
            self.levels[i] = RoiLevel(
                <void *>data, height, width, <const int64_t *>sizes, scale)
        self.task = RoiTask(
            self.levels, len(levels), canonical_size, canonical_level, images, channels,
            dtype, <const float *>rois, per_image, size, mode, sampling,
            aligned, max_pool, planar, threads)

    def __dealloc__(self):
        free(self.levels)

    def bilinear_forward(self, uintptr_t pooled, uintptr_t which):
        cdef int failed
        with nogil:
            failed = roi_bilinear_forward(&self.task, <void *>pooled, <uint8_t *>which)
        if failed:
            raise MemoryError

    def bilinear_backward(self, uintptr_t grad, uintptr_t which):
        cdef int failed
        with nogil:
            failed = roi_bilinear_backward(&self.task, <const void *>grad,
                                           <const uint8_t *>which)
        if failed:
            raise MemoryError

    def max_forward(self, uintptr_t pooled, uintptr_t argmax):
        cdef int failed
        with nogil:
            failed = roi_max_forward(&self.task, <void *>pooled, <int32_t *>argmax)
        if failed:
            raise MemoryError

    def max_backward(self, uintptr_t grad, uintptr_t argmax):
        cdef int failed
        with nogil:
            failed = roi_max_backward(&self.task, <const void *>grad,
                                      <const int32_t *>argmax)
        if failed:
            raise MemoryError

/* The loops of roi_max.c for one number type, as in roi_loops.h. */
#include "roi_transpose.h"

/* Maximum over the bin's cells for `lanes` contiguous channels. */
VECTORISED
static void NAME(max_of_bin)(const ELEMENT *map, int64_t width, int64_t step,
                             const int64_t bin[4], int64_t lanes, float *restrict best,
                             int32_t *restrict place) {
    for (int64_t c = 0; c < lanes; c++) {
        best[c] = -FLT_MAX;
        place[c] = -1;
    }
    for (int64_t y = bin[0]; y < bin[1]; y++) {
        for (int64_t x = bin[2]; x < bin[3]; x++) {
            const int32_t at = (int32_t)(y * width + x);
            const ELEMENT *restrict cell = map + at * step;
            for (int64_t c = 0; c < lanes; c++) {
                const float value = LOAD(cell[c]);
                place[c] = value > best[c] ? at : place[c];
                best[c] = larger(value, best[c]);
            }
        }
    }
}

static int NAME(max_forward)(const RoiTask *task, void *pooled_, int32_t *argmax) {
    const int64_t size = task->size, cells = size * size, channels = task->channels;
    ELEMENT *pooled = pooled_;
    int failed = 0;
#pragma omp parallel num_threads(task->threads) reduction(| : failed)
    {
        const int64_t step = task->planar ? TILE_STEP(channels) : channels;
        float *best = malloc((size_t)(2 * channels + 1) * sizeof *best);
        ELEMENT *tile = malloc((size_t)(task->planar ? cells * step : 1) * sizeof *tile);
        int32_t *place = (int32_t *)(best + channels);
        failed |= !best || !tile;
#pragma omp for schedule(dynamic, 4)
        for (int64_t n = 0; n < task->images * task->per_image; n++) {
            if (failed) continue;
            const Place p = place_of(task, n);
            const float *box = task->rois + 4 * n;
            const ELEMENT *map = (const ELEMENT *)p.level->data + start_of(task, &p);
            ELEMENT *region = pooled + n * cells * channels;
            ELEMENT *out = task->planar ? tile : region;
            for (int64_t cell = 0; cell < cells; cell++, out += step) {
                int64_t bin[4];
                bin_of(cell / size, size, p.rows, box[1], box[3], p.level->scale, bin,
                       bin + 1);
                bin_of(cell % size, size, p.columns, box[0], box[2], p.level->scale,
                       bin + 2, bin + 3);
                const int empty = bin[0] >= bin[1] || bin[2] >= bin[3];
                NAME(max_of_bin)(map, p.level->width, channels, bin, channels, best,
                                 place);
                for (int64_t c = 0; c < channels; c++)
                    out[c] = STORE(empty ? 0.0f : best[c]);
                memcpy(argmax + (n * cells + cell) * channels, place,
                       (size_t)channels * sizeof *place);
            }
            if (task->planar) NAME(transpose)(tile, cells, channels, step, region, cells);
        }
        free(best);
        free(tile);
    }
    return failed;
}

/* Add the gradients of one RoI, `step` elements from cell to cell, to a part's sums. */
static void NAME(max_scatter)(const void *grad_, int64_t step, const int32_t *argmax,
                              int64_t cells, int64_t channels, const Part *part) {
    const ELEMENT *grad = grad_;
    float *sums = part->sums;
    for (int64_t i = 0; i < cells; i++)
        for (int64_t c = 0; c < part->lanes; c++) {
            const int32_t cell = argmax[i * channels + c];
            const float value = LOAD(grad[i * step + c]);
            if (cell >= 0) sums[cell * part->step + c] += value;
        }
}

#undef ELEMENT
#undef NAME
#undef LOAD
#undef STORE

/* The loops of roi_max.c for one number type, as in roi_loops.h. */

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
        float *best = malloc((size_t)(2 * channels + 1) * sizeof *best);
        int32_t *place = (int32_t *)(best + channels);
        failed |= !best;
#pragma omp for schedule(dynamic, 4)
        for (int64_t job = 0; job < task->images * task->per_image * cells; job++) {
            if (failed) continue;
            const int64_t n = job / cells, cell = job % cells;
            const Place p = place_of(task, n);
            const float *box = task->rois + 4 * n;
            const ELEMENT *map = (const ELEMENT *)p.level->data + start_of(task, &p);
            int64_t bin[4];
            bin_of(cell / size, size, p.rows, box[1], box[3], p.level->scale, bin,
                   bin + 1);
            bin_of(cell % size, size, p.columns, box[0], box[2], p.level->scale, bin + 2,
                   bin + 3);
            const int empty = bin[0] >= bin[1] || bin[2] >= bin[3];
            NAME(max_of_bin)(map, p.level->width, channels, bin, channels, best, place);
            for (int64_t c = 0; c < channels; c++)
                pooled[job * channels + c] = STORE(empty ? 0.0f : best[c]);
            memcpy(argmax + job * channels, place, (size_t)channels * sizeof *place);
        }
        free(best);
    }
    return failed;
}

/* Add the gradients of one RoI to the sums of one part. */
static void NAME(max_scatter)(const void *grad_, const int32_t *argmax, int64_t cells,
                              int64_t channels, const Part *part) {
    const ELEMENT *grad = grad_;
    float *sums = part->sums;
    const int64_t lanes = part->lanes, step = part->step;
    for (int64_t at = 0; at < cells * channels; at += channels)
        for (int64_t c = 0; c < lanes; c++) {
            const int32_t cell = argmax[at + c];
            const float value = LOAD(grad[at + c]);
            if (cell >= 0) sums[cell * step + c] += value;
        }
}

#undef ELEMENT
#undef NAME
#undef LOAD
#undef STORE

/* The loops of roi_max.c for one type of number, as in roi_loops.h. */

/* Largest of the bin's cells for `lanes` channels that lie together. */
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
            const ELEMENT *map = (const ELEMENT *)p.level->data + start_of(task, &p, 0);
            int64_t bin[4];
            bin_of(cell / size, size, p.rows, box[1], box[3], p.level->scale, bin,
                   bin + 1);
            bin_of(cell % size, size, p.columns, box[0], box[2], p.level->scale, bin + 2,
                   bin + 3);
            const int empty = bin[0] >= bin[1] || bin[2] >= bin[3];
            if (task->channels_last)
                NAME(max_of_bin)(map, p.level->width, channels, bin, channels, best,
                                 place);
            else
                for (int64_t c = 0; c < channels; c++)
                    NAME(max_of_bin)(map + c * p.plane, p.level->width, 1, bin, 1,
                                     best + c, place + c);
            for (int64_t c = 0; c < channels; c++) {
                const int64_t to = task->channels_last
                                       ? (n * cells + cell) * channels + c
                                       : (n * channels + c) * cells + cell;
                pooled[to] = STORE(empty ? 0.0f : best[c]);
                argmax[to] = place[c];
            }
        }
        free(best);
    }
    return failed;
}

static void NAME(max_backward)(const RoiTask *task, const void *grad_,
                               const int32_t *argmax) {
    const int64_t cells = task->size * task->size, channels = task->channels;
    const ELEMENT *grad = grad_;
    const int64_t lines = (channels + 15) / 16;
#pragma omp parallel for num_threads(task->threads) schedule(static, 1)
    for (int64_t slice = 0; slice < task->threads; slice++) {
        int64_t first = lines * slice / task->threads * 16;
        int64_t end = lines * (slice + 1) / task->threads * 16;
        if (end > channels) end = channels;
        for (int64_t n = 0; n < task->images * task->per_image; n++) {
            const Place p = place_of(task, n);
            float *map = (float *)p.level->data + start_of(task, &p, 0);
            if (task->channels_last) {
                for (int64_t cell = n * cells; cell < (n + 1) * cells; cell++)
                    for (int64_t c = first; c < end; c++) {
                        const int32_t at = argmax[cell * channels + c];
                        const float value = LOAD(grad[cell * channels + c]);
                        if (at >= 0) map[at * channels + c] += value;
                    }
            } else {
                for (int64_t c = first; c < end; c++)
                    for (int64_t k = 0; k < cells; k++) {
                        const int32_t at = argmax[(n * channels + c) * cells + k];
                        const float value = LOAD(grad[(n * channels + c) * cells + k]);
                        if (at >= 0) map[c * p.plane + at] += value;
                    }
            }
        }
    }
}

#undef ELEMENT
#undef NAME
#undef LOAD
#undef STORE

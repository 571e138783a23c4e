/* Bilinear RoI pooling: RoIAlign, crop_and_resize and its affine-grid form, with 2x2
 * maxima inside if wanted, forward and backward.
 *
 * For each output row the rows of the map that it reads are summed first, all columns
 * of the RoI at once; each output cell then sums the columns that it reads. That is
 * less than the four corners of every sample, and the inner loops run over memory that
 * lies together: channels (channels_last) or columns (contiguous).
 *
 * Forward, RoIs are shared out among the threads; backward, channels are, so that no
 * two threads add to the same number and the order of additions is always the same.
 */
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "roi.h"
#include "roi_axis.h"
#include "roi_level.h"

#define CHUNK 256 /* channels at a time: a RoI's columns of them stay in the cache */

/* One RoI on its map. Steps are in elements. */
typedef struct {
    const Taps *rows, *columns; /* (m * size) each */
    int64_t m, size, channels;
    int64_t first, width; /* columns of the map that are read */
    int64_t row_step, column_step, plane;
} Roi;

#define ELEMENT float
#define NAME(x) x##_f32
#define LOAD(v) (v)
#define STORE(v) (v)
#include "roi_loops.h"

#define ELEMENT uint16_t
#define NAME(x) x##_bf16
#define LOAD(v) from_bf16(v)
#define STORE(v) to_bf16(v)
#include "roi_loops.h"

#define ELEMENT half
#define NAME(x) x##_f16
#define LOAD(v) from_half(v)
#define STORE(v) to_half(v)
#include "roi_loops.h"

typedef void Forward(const Roi *, const void *, int64_t, float *, void *, uint8_t *);
typedef void Backward(const Roi *, float *, int64_t, float *, const void *,
                      const uint8_t *);

static Forward *const forward_of[3][2] = {{forward_first_f32, forward_last_f32},
                                          {forward_first_bf16, forward_last_bf16},
                                          {forward_first_f16, forward_last_f16}};
static Backward *const backward_of[3][2] = {{backward_first_f32, backward_last_f32},
                                            {backward_first_bf16, backward_last_bf16},
                                            {backward_first_f16, backward_last_f16}};
static const int64_t bytes_of[3] = {4, 2, 2};

/* What one thread needs: taps of both axes, their weights, and sums of rows. */
typedef struct {
    Taps *taps;
    float *weights, *sums;
} Room;

static int make_room(const RoiTask *task, Room *room) {
    int64_t side = task->size * (task->max_pool ? 2 : 1), most = 1;
    int64_t cells = 0;
    for (int64_t l = 0; l < task->level_count; l++) {
        int64_t both = task->levels[l].height + task->levels[l].width + 2;
        if (both > cells) cells = both;
        if (task->levels[l].width > most) most = task->levels[l].width;
    }
    room->taps = malloc((size_t)(2 * side) * sizeof *room->taps);
    room->weights = malloc((size_t)(side * cells) * sizeof *room->weights);
    room->sums = malloc((size_t)(2 * (most + 1) * CHUNK) * sizeof *room->sums);
    return !room->taps || !room->weights || !room->sums;
}

static void free_room(Room *room) {
    free(room->taps);
    free(room->weights);
    free(room->sums);
}

/* Prepare RoI `n`; returns where it is pooled from. */
static Place prepare(const RoiTask *task, int64_t n, const Room *room, Roi *r) {
    const Place place = place_of(task, n);
    const float *box = task->rois + 4 * n;
    r->m = task->max_pool ? 2 : 1;
    r->size = task->size;
    r->channels = task->channels;
    int64_t side = r->m * r->size;
    axis_taps(room->taps, room->weights, side, place.rows, box[1], box[3],
              place.level->scale, task);
    axis_taps(room->taps + side, room->weights + side * (place.rows + 1), side,
              place.columns, box[0], box[2], place.level->scale, task);
    r->rows = room->taps;
    r->columns = room->taps + side;
    r->width = extent(r->columns, side, &r->first);
    r->plane = place.plane;
    r->column_step = task->channels_last ? task->channels : 1;
    r->row_step = place.level->width * r->column_step;
    return place;
}

int roi_bilinear_forward(const RoiTask *task, void *pooled, uint8_t *which) {
    Forward *run = forward_of[task->dtype][task->channels_last];
    const int64_t bytes = bytes_of[task->dtype], cells = task->size * task->size;
    int failed = 0;
#pragma omp parallel num_threads(task->threads) reduction(| : failed)
    {
        Room room;
        failed |= make_room(task, &room);
#pragma omp for schedule(dynamic, 4)
        for (int64_t n = 0; n < task->images * task->per_image; n++) {
            if (failed) continue;
            Roi r;
            const Place place = prepare(task, n, &room, &r);
            for (int64_t c = 0; c < task->channels; c += CHUNK) {
                int64_t lanes = task->channels - c < CHUNK ? task->channels - c : CHUNK;
                int64_t from = start_of(task, &place, c);
                int64_t to = n * task->channels * cells +
                             (task->channels_last ? c : c * cells);
                run(&r, (const char *)place.level->data + from * bytes, lanes, room.sums,
                    (char *)pooled + to * bytes, which ? which + to : NULL);
            }
        }
        free_room(&room);
    }
    return failed;
}

int roi_bilinear_backward(const RoiTask *task, const void *grad, const uint8_t *which) {
    Backward *run = backward_of[task->dtype][task->channels_last];
    const int64_t bytes = bytes_of[task->dtype], cells = task->size * task->size;
    /* Slices of whole cache lines, so that no two threads write to one. */
    const int64_t lines = (task->channels + 15) / 16;
    int failed = 0;
#pragma omp parallel for num_threads(task->threads) schedule(static, 1) reduction(| : failed)
    for (int64_t slice = 0; slice < task->threads; slice++) {
        int64_t first = lines * slice / task->threads * 16;
        int64_t end = lines * (slice + 1) / task->threads * 16;
        if (end > task->channels) end = task->channels;
        Room room;
        failed |= make_room(task, &room);
        for (int64_t n = 0; n < task->images * task->per_image && !failed; n++) {
            Roi r;
            const Place place = prepare(task, n, &room, &r);
            if (r.width == 0) continue;
            for (int64_t c = first; c < end; c += CHUNK) {
                int64_t lanes = end - c < CHUNK ? end - c : CHUNK;
                int64_t at = n * task->channels * cells +
                             (task->channels_last ? c : c * cells);
                run(&r, (float *)place.level->data + start_of(task, &place, c), lanes, room.sums, (const char *)grad + at * bytes,
                    which ? which + at : NULL);
            }
        }
        free_room(&room);
    }
    return failed;
}

/* Bilinear RoI pooling, forward and backward: RoIAlign, crop_and_resize and its
 * affine-grid form, optionally with 2x2 maxima.
 *
 * For each output row, the rows of the map that it reads are summed first, for all columns
 * of the RoI; each output cell then sums the columns that it reads. This needs fewer
 * operations than the four corners of every sample, and the inner loops run over
 * channels, which are contiguous.
 *
 * The forward pass distributes RoIs over the threads, the backward pass parts of maps (see
 * roi_sums.h), so that no two threads add to the same number and the order of additions
 * is fixed.
 */
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "roi.h"
#include "roi_axis.h"
#include "roi_level.h"
#include "roi_sums.h"

#define CHUNK 256 /* channels per loop, so that the columns of a RoI fit into the cache */

/* One RoI on its map, or on the sums of its gradients. Strides are in elements. */
typedef struct {
    const Taps *rows, *columns; /* (m * size) each */
    int64_t m, size, channels;
    int64_t first, width; /* columns of the map that are read */
    int64_t row_step, column_step;
    int64_t cell_step; /* from cell to cell of the pooled RoI or its gradient */
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
typedef void Transpose(const void *, int64_t, int64_t, int64_t, void *, int64_t);

static Forward *const forward_of[3] = {forward_f32, forward_bf16, forward_f16};
static Backward *const backward_of[3] = {backward_f32, backward_bf16, backward_f16};
static Transpose *const transpose_of[3] = {transpose_f32, transpose_bf16, transpose_f16};
static const int64_t bytes_of[3] = {4, 2, 2};

/* Buffers of one thread: taps of both axes, their weights, sums of rows, and some
 * channels of a pooled RoI in the order of the loops, if it is planar. */
typedef struct {
    Taps *taps;
    float *weights, *sums;
    void *tile; /* (size * size, TILE_STEP(CHUNK)) */
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
    const int64_t tile_cells = task->planar ? task->size * task->size : 1;
    room->tile = malloc((size_t)(tile_cells * TILE_STEP(CHUNK) * bytes_of[task->dtype]));
    return !room->taps || !room->weights || !room->sums || !room->tile;
}

static void free_room(Room *room) {
    free(room->taps);
    free(room->weights);
    free(room->sums);
    free(room->tile);
}

/* Prepare RoI `n` on a map with `step` elements from column to column; returns its
 * source. */
static Place prepare(const RoiTask *task, int64_t n, const Room *room, int64_t step,
                     Roi *r) {
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
    r->column_step = step;
    r->row_step = place.level->width * step;
    r->cell_step = task->planar ? TILE_STEP(CHUNK) : task->channels;
    return place;
}

int roi_bilinear_forward(const RoiTask *task, void *pooled, uint8_t *which) {
    Forward *run = forward_of[task->dtype];
    Transpose *transpose = transpose_of[task->dtype];
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
            const Place place = prepare(task, n, &room, task->channels, &r);
            const char *map =
                (const char *)place.level->data + start_of(task, &place) * bytes;
            for (int64_t c = 0; c < task->channels; c += CHUNK) {
                int64_t lanes = task->channels - c < CHUNK ? task->channels - c : CHUNK;
                int64_t to = n * task->channels * cells + c;
                char *out = (char *)pooled + to * bytes;
                run(&r, map + c * bytes, lanes, room.sums, task->planar ? room.tile : out,
                    which ? which + to : NULL);
                if (!task->planar) continue;
                out = (char *)pooled + (n * task->channels + c) * cells * bytes;
                transpose(room.tile, cells, lanes, r.cell_step, out, cells);
            }
        }
        free_room(&room);
    }
    return failed;
}

int roi_bilinear_backward(const RoiTask *task, const void *grad, const uint8_t *which) {
    Backward *run = backward_of[task->dtype];
    Transpose *transpose = transpose_of[task->dtype];
    const int64_t bytes = bytes_of[task->dtype], cells = task->size * task->size;
    int failed = 0;
#pragma omp parallel num_threads(task->threads) reduction(| : failed)
    {
        Room room;
        failed |= make_room(task, &room);
        float *aside = malloc((size_t)room_for_sums(task) * sizeof *aside);
        failed |= !aside;
#pragma omp for schedule(dynamic)
        for (int64_t job = 0; job < part_count(task); job++) {
            if (failed) continue;
            const Part part = begin_part(task, job, aside);
            for (int64_t n = part.image * task->per_image;
                 n < (part.image + 1) * task->per_image; n++) {
                if (level_of(task, task->rois + 4 * n) != part.level) continue;
                Roi r;
                prepare(task, n, &room, part.step, &r);
                if (r.width == 0) continue;
                for (int64_t c = 0; c < part.lanes; c += CHUNK) {
                    int64_t lanes = part.lanes - c < CHUNK ? part.lanes - c : CHUNK;
                    int64_t at = n * task->channels * cells + part.channel + c;
                    const char *in = (const char *)grad + at * bytes;
                    if (task->planar) {
                        int64_t row = n * task->channels + part.channel + c;
                        transpose((const char *)grad + row * cells * bytes, lanes, cells,
                                  cells, room.tile, r.cell_step);
                        in = room.tile;
                    }
                    run(&r, part.sums + c, lanes, room.sums, in,
                        which ? which + at : NULL);
                }
            }
            end_part(task, &part);
        }
        free(aside);
        free_room(&room);
    }
    return failed;
}

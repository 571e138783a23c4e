/* Polygons drawn into boxes; kernels/polygons.py describes the method, cell by cell that
 * of pycocotools. Its loops over all points of an outline become one formula for each
 * column that an edge crosses. */
#include "polygons.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define FINE 5.0

/* Toggle the first cell below the point where an edge passes each column's centre line;
 * `toggles` has size + 1 rows per column. The ends are whole numbers. */
static void draw_edge(double x, double y, double x_end, double y_end, int64_t size,
                      uint8_t *toggles) {
    double low = x < x_end ? x : x_end, high = x < x_end ? x_end : x;
    if (!(high > low) || high <= 2.0 || low > FINE * (double)size) return;
    int steep = fabs(x_end - x) < fabs(y_end - y);
    if (steep ? y > y_end : x > x_end) {
        double t = x;
        x = x_end;
        x_end = t;
        t = y;
        y = y_end;
        y_end = t;
    }
    double slope = steep ? (x_end - x) / (y_end - y) : (y_end - y) / (x_end - x);
    int64_t column = low <= 2.0 ? 0 : (int64_t)ceil((low - 2.0) / FINE);
    for (; column < size; column++) {
        double left = FINE * (double)column + 2.0, at, row;
        if (left >= high) break;
        if (steep) {
            /* The last step before the edge passes; division may be one off. */
            int falls = slope < 0.0;
            at = floor((left + 0.5 - x) / slope);
            if ((x + slope * (at + 1.0) + 0.5 >= left + 1.0) == falls)
                at += 1.0;
            else if ((x + slope * at + 0.5 >= left + 1.0) != falls)
                at -= 1.0;
            at += y;
        } else {
            double before = trunc(y + slope * (left - x) + 0.5);
            double after = trunc(y + slope * (left - x + 1.0) + 0.5);
            at = before < after ? before : after;
        }
        row = floor((at + 2.0) / FINE);
        row = row > 0.0 ? row : 0.0;
        row = row < (double)size ? row : (double)size;
        toggles[column * (size + 1) + (int64_t)row] ^= 1;
    }
}

/* Add the inside of a finished part to the mask, and clear the toggles. */
static void fill_part(int64_t size, uint8_t *toggles, uint8_t *mask) {
    for (int64_t x = 0; x < size; x++) {
        uint8_t inside = 0, *column = toggles + x * (size + 1);
        for (int64_t y = 0; y < size; y++) {
            inside ^= column[y];
            mask[y * size + x] |= inside;
        }
    }
    memset(toggles, 0, (size_t)(size * (size + 1)));
}

static void draw_object(const float *vertices, const int16_t *parts, int64_t slots,
                        const float *box, int64_t size, uint8_t *toggles,
                        uint8_t *mask) {
    float width = box[2] - box[0], height = box[3] - box[1];
    double scale_x = (float)size / (width > 0.1f ? width : 0.1f);
    double scale_y = (float)size / (height > 0.1f ? height : 0.1f);
    double x = 0.0, y = 0.0;
    memset(mask, 0, (size_t)(size * size));
    for (int64_t v = 0; v < slots && parts[v] >= 0; v++) {
        double last_x = x, last_y = y;
        x = trunc(FINE * (((double)vertices[2 * v] - box[0]) * scale_x) + 0.5);
        y = trunc(FINE * (((double)vertices[2 * v + 1] - box[1]) * scale_y) + 0.5);
        if (v && parts[v] == parts[v - 1])
            draw_edge(last_x, last_y, x, y, size, toggles);
        if (v + 1 == slots || parts[v + 1] != parts[v])
            fill_part(size, toggles, mask);
    }
}

int draw_polygons(const float *vertices, const int16_t *parts, const float *boxes,
                  const int64_t *matched, int64_t images, int64_t objects,
                  int64_t slots, int64_t count, int64_t size, uint8_t *masks,
                  int threads) {
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        uint8_t *toggles = calloc((size_t)(size * (size + 1)), 1);
        if (!toggles) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(dynamic, 16)
        for (int64_t i = 0; i < images * count; i++) {
            int64_t object = i / count * objects + matched[i];
            if (toggles)
                draw_object(vertices + 2 * object * slots, parts + object * slots,
                            slots, boxes + 4 * i, size, toggles,
                            masks + i * size * size);
        }
        free(toggles);
    }
    return failed;
}

/* A matrix copied transposed, for one number type as in roi_loops.h: the loops compute with
 * channels last, so of contiguous regions they use a copy that fits into the cache.
 */
#ifndef BLOCK
#define BLOCK 16 /* columns at once: their cache lines stay in the cache */
#endif

static void NAME(transpose)(const void *from_, int64_t rows, int64_t columns, int64_t step,
                            void *to_, int64_t to_step) {
    const ELEMENT *from = from_;
    ELEMENT *to = to_;
    for (int64_t start = 0; start < columns; start += BLOCK) {
        const int64_t end = start + BLOCK < columns ? start + BLOCK : columns;
        for (int64_t row = 0; row < rows; row++)
            for (int64_t column = start; column < end; column++)
                to[column * to_step + row] = from[row * step + column];
    }
}

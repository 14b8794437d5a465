/* A dataset as one long column of values, read forward through a window: `check` and `info` walk
 * graphs of any size in a few MiB. Private to the library. */
#ifndef FLIPBOOK_DATASETS_COLUMN_H
#define FLIPBOOK_DATASETS_COLUMN_H

#include <flipbook/container.h>

typedef struct flip_column {
    const flip_reader *reader; /* borrowed */
    const char *name;          /* borrowed */
    flip_type memory;          /* FLIP_TYPE_I64 or FLIP_TYPE_F64 */
    int64_t n, width;          /* n = rows * width values, row-major */
    int64_t first, count;      /* values now in the window */
    union {
        int64_t *whole;
        double *real;
        void *any;
    } window; /* owned */
} flip_column;

/* Local. The dataset must exist. */
flip_status flip_column_open(flip_column *column, const flip_reader *reader, const char *name,
                             flip_type memory);
void flip_column_close(flip_column *column);
flip_status flip_column_fill(flip_column *column, int64_t at);

/* Value `at`; cheapest when `at` ascends. */
static inline flip_status flip_column_i64(flip_column *column, int64_t at, int64_t *value) {
    if (at < column->first || at >= column->first + column->count)
        FLIP_TRY(flip_column_fill(column, at));
    *value = column->window.whole[at - column->first];
    return FLIP_OK;
}

static inline flip_status flip_column_f64(flip_column *column, int64_t at, double *value) {
    if (at < column->first || at >= column->first + column->count)
        FLIP_TRY(flip_column_fill(column, at));
    *value = column->window.real[at - column->first];
    return FLIP_OK;
}

#endif

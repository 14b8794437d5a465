#include "column.h"

enum { WINDOW = 1 << 18 }; /* values */

flip_status flip_column_open(flip_column *column, const flip_reader *reader, const char *name,
                             flip_type memory) {
    int64_t dims[3];
    *column = (flip_column){.reader = reader, .name = name, .memory = memory};
    FLIP_TRY(flip_reader_shape(reader, name, dims, NULL));
    /* a dimension of 0 may be absent or empty: only the second kind has no values */
    column->width = (dims[1] ? dims[1] : 1) * (dims[2] ? dims[2] : 1);
    column->n = dims[0] * column->width;
    return flip_alloc(&column->window.any, WINDOW, sizeof(int64_t), "a window of a dataset");
}

void flip_column_close(flip_column *column) {
    flip_free(column->window.any);
    column->window.any = NULL;
}

/* Whole rows where several fit the window, else a piece of one. */
flip_status flip_column_fill(flip_column *column, int64_t at) {
    int64_t row = at / column->width, inside = at % column->width;
    if (at < 0 || at >= column->n)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "value %lld of %lld of dataset %s was asked for",
                         (long long)at, (long long)column->n, column->name);
    if (column->width <= WINDOW) {
        int64_t rows = WINDOW / column->width, left = column->n / column->width - row;
        if (rows > left) rows = left;
        FLIP_TRY(flip_reader_rows(column->reader, column->name, column->memory, row, rows,
                                  column->window.any));
        column->first = row * column->width;
        column->count = rows * column->width;
        return FLIP_OK;
    }
    int64_t dims[3];
    FLIP_TRY(flip_reader_shape(column->reader, column->name, dims, NULL));
    int64_t deep = dims[2] ? dims[2] : 1, second = inside / deep;
    if (deep > WINDOW)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' dataset %s: the last dimension is %lld; at most %d",
                         flip_reader_path(column->reader), column->name, (long long)deep, WINDOW);
    int64_t wide = WINDOW / deep;
    if (wide > dims[1] - second) wide = dims[1] - second;
    FLIP_TRY(flip_reader_block(column->reader, column->name, column->memory, row, 1, second, wide,
                               column->window.any));
    column->first = row * column->width + second * deep;
    column->count = wide * deep;
    return FLIP_OK;
}

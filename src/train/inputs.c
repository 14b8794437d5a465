/* What a model reads of the nodes in a block: columns that are the same at every step stand once a
 * node, columns that change stand for every step, and only the block that is walked has them side
 * by side,
 *
 *     fixed  [n_rows, a]      moving  [n_rows, steps, b]
 *        └──────────┬──────────────┘
 *           x [n_rows, steps of the block, a + b]
 *
 * so that a file's 30 constant columns beside 2 degrees over 70 steps take a fifteenth. */
#include "train/internal.h"

#include <string.h>

static void drop(flip_columns *columns) {
    flip_free(columns->owned);
    columns->owned = NULL;
    columns->values = NULL;
}

/* Values in the time layout take the place of those in the node layout. */
static void replace(flip_columns *columns, flip_real *placed) {
    drop(columns);
    columns->values = columns->owned = placed;
}

static flip_status deal(const flip_data *data, flip_columns *columns, bool constant) {
    const flip_layout *l = data->layout;
    size_t rows = (size_t)(constant ? l->n_rows : flip_data_rows(data));
    size_t bytes = (size_t)columns->dim * sizeof(flip_real);
    flip_real *placed;
    if (!columns->values) return FLIP_OK;
    FLIP_TRY(flip_alloc(&placed, rows, bytes, "features of this rank's steps"));
    flip_status status = flip_layout_deal_rows(l, columns->values, bytes, constant, placed);
    if (status == FLIP_OK)
        replace(columns, placed);
    else
        flip_free(placed);
    return status;
}

flip_status flip_data_place_inputs(flip_data *data) {
    data->set_out_block = -1;
    if (data->layout->n_time > 1) FLIP_TRY(deal(data, &data->fixed, true));
    if (!flip_data_same_rows(data->layout)) FLIP_TRY(deal(data, &data->moving, false));
    FLIP_TRY(flip_data_place_packed(data));
    if (data->steps == 1) /* one of the two: degrees.c joins them */
        data->features = data->fixed.values ? data->fixed.values : data->moving.values;
    return FLIP_OK;
}

bool flip_data_sets_out(const flip_data *data, int32_t steps) {
    return data->fixed.dim > 0 && (data->moving.dim > 0 || steps > 1);
}

static flip_status open_set_out(flip_data *data) {
    const flip_layout *l = data->layout;
    int32_t most = 1;
    if (data->set_out) return FLIP_OK;
    for (int32_t k = 0; k < l->n_blocks; k++)
        most = flip_layout_steps(l, k) > most ? flip_layout_steps(l, k) : most;
    return flip_alloc(&data->set_out, (size_t)l->n_rows * (size_t)most * (size_t)data->in_dim,
                      sizeof *data->set_out, "features of a block");
}

static void set_out(const flip_data *data, const flip_real *moving, int64_t steps) {
    const size_t fixed = (size_t)data->fixed.dim, change = (size_t)data->moving.dim;
#pragma omp parallel for schedule(static)
    for (int32_t v = 0; v < data->layout->n_rows; v++) {
        const flip_real *from = data->fixed.values + (size_t)v * fixed;
        flip_real *to = data->set_out + (size_t)v * (size_t)steps * (fixed + change);
        for (int64_t t = 0; t < steps; t++, to += fixed + change) {
            memcpy(to, from, fixed * sizeof *to);
            if (change == 0) continue;
            memcpy(to + fixed, moving + ((size_t)v * (size_t)steps + (size_t)t) * change,
                   change * sizeof *to);
        }
    }
}

flip_status flip_data_inputs(flip_data *data, int32_t block, const flip_real **x) {
    const flip_real *moving = data->moving.values;
    int32_t steps = flip_layout_steps(data->layout, block);
    *x = NULL;
    if (!moving && !data->fixed.values) return FLIP_OK;
    if (moving) moving += flip_data_block_row(data, block) * data->moving.dim;
    *x = moving ? moving : data->fixed.values;
    if (!flip_data_sets_out(data, steps)) return FLIP_OK;
    FLIP_TRY(open_set_out(data));
    if (data->set_out_block != block) set_out(data, moving, steps);
    data->set_out_block = block;
    *x = data->set_out;
    return FLIP_OK;
}

int64_t flip_data_row_of(const flip_data *data, int64_t node, int32_t step) {
    const flip_layout *l = data->layout;
    int32_t block;
    flip_layout_chunk_of(l, step, &block);
    return flip_data_block_row(data, block) + node * flip_layout_steps(l, block) + step -
           flip_layout_first(l, block);
}

void flip_data_row(const flip_data *data, int64_t node, int32_t step, flip_real *to) {
    const flip_columns *f = &data->fixed, *m = &data->moving;
    if (f->dim > 0) memcpy(to, f->values + node * f->dim, (size_t)f->dim * sizeof *to);
    if (m->dim == 0) return;
    memcpy(to + f->dim, m->values + flip_data_row_of(data, node, step) * m->dim,
           (size_t)m->dim * sizeof *to);
}

void flip_data_release_inputs(flip_data *data) {
    drop(&data->fixed);
    drop(&data->moving);
    data->features = NULL;
    flip_free(data->set_out);
    data->set_out = NULL;
    data->set_out_block = -1;
    flip_graph_release_features(data->graph);
}

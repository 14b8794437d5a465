/* Packed features of several steps: of a block the device has rows of codes, and each stands for a
 * run of steps of its node, from the step at which the node got it to the next that differs,
 *
 *     node v, steps of the block   0 1 2 3 4 5        rows of codes   a b c
 *     its rows                     a a b b b c        runs            0-1, 2-4, 5
 *
 * What is sent follows --transfer, as the graph's snapshots do. Bytes of a block, for n own nodes,
 * S steps, `stride` bytes a row of codes:
 *     full      n S stride: every step's rows
 *     delta     n stride for the rows of its first step and stride + 8 (with node and step) for
 *               each change behind it; where the device has another block, stride + 8 for each row
 *               that is not among that one's
 *     resident  stride + 8 for every row of the file, once a run
 * On the CPU the device's memory is a separate allocation. Local. */
#include "train/internal.h"

#include <string.h>

/* Rows of codes on the device, by the numbers that they have in the file. */
typedef struct table {
    int64_t n;
    int32_t *row;   /* [n] ascending; full: of every step, with repetitions */
    uint8_t *codes; /* [n, stride] */
    int64_t *key;   /* [n] original ids, where rows are dithered */
} table;

struct flip_packed_steps {
    int32_t block; /* that the runs are of; -1 = none */
    table has;     /* on the device; n = 0: nothing */
    int64_t n_runs;
    int32_t *index; /* [n_runs] row of the table */
    int64_t *run;   /* [n_runs + 1] */
};

enum { PLACE_BYTES = 8 }; /* node and step of a row, 32 bits each */

static void drop(table *t) {
    flip_free(t->row);
    flip_free(t->codes);
    flip_free(t->key);
    *t = (table){0};
}

void flip_data_packed_finish(flip_data *data) {
    flip_packed_steps *p = data->packed_steps;
    if (!p) return;
    drop(&p->has);
    flip_free(p->index);
    flip_free(p->run);
    flip_free(p);
    data->packed_steps = NULL;
}

void flip_data_packed_begin(flip_data *data) {
    flip_packed_steps *p = data->packed_steps;
    if (!p || data->s.transfer == FLIP_TRANSFER_RESIDENT) return;
    drop(&p->has);
    p->block = -1;
}

/* ---- runs ---- */

/* Rows of codes of own node v: first … end-1. */
static void rows_of_node(const flip_data *data, int64_t v, int64_t *first, int64_t *end) {
    const int64_t *at = flip_graph_code_first(data->graph);
    *first = at ? at[v] : v;
    *end = at ? at[v + 1] : v + 1;
}

flip_runs flip_data_code_runs(const flip_data *data) {
    return (flip_runs){.first = flip_graph_code_first(data->graph),
                       .step = flip_graph_code_steps(data->graph)};
}

/* Runs of node v in steps from … to-1, its rows' numbers to row [..] and ends behind `base` to
 * run; both may be NULL. Returns how many. */
static int64_t runs_of_node(const flip_data *data, int64_t v, int32_t from, int32_t to,
                            int32_t *row, int64_t *run, int64_t base) {
    const int32_t *step = flip_graph_code_steps(data->graph);
    int64_t first, end, n = 0;
    rows_of_node(data, v, &first, &end);
    while (step && first + 1 < end && step[first + 1] <= from)
        first++;
    for (int64_t i = first; i < end && (i == first || step[i] < to); i++, n++) {
        int32_t last = step && i + 1 < end && step[i + 1] < to ? step[i + 1] : to;
        if (row) row[n] = (int32_t)i;
        if (run) run[n] = base + last - from;
    }
    return n;
}

/* p's runs of a block; row [n_runs] their rows of the file, the caller's. */
static flip_status make_runs(flip_packed_steps *p, const flip_data *data, int32_t block,
                             int32_t **row) {
    const int32_t from = flip_layout_first(data->layout, block);
    const int32_t steps = flip_layout_steps(data->layout, block), to = from + steps;
    int64_t n = 0;
    flip_free(p->index);
    flip_free(p->run);
    p->index = NULL;
    p->run = NULL;
    for (int64_t v = 0; v < data->n_own; v++)
        n += runs_of_node(data, v, from, to, NULL, NULL, 0);
    FLIP_TRY(flip_alloc(&p->index, (size_t)n, sizeof *p->index, "runs of packed features"));
    FLIP_TRY(flip_alloc(&p->run, (size_t)n + 1, sizeof *p->run, "runs of packed features"));
    FLIP_TRY(flip_alloc(row, (size_t)n, sizeof **row, "runs of packed features"));
    p->n_runs = n;
    p->run[0] = n = 0;
    for (int64_t v = 0; v < data->n_own; v++)
        n += runs_of_node(data, v, from, to, *row + n, p->run + n + 1, v * steps);
    return FLIP_OK;
}

/* ---- what the device has ---- */

static flip_status table_alloc(table *t, const flip_data *data, int64_t n) {
    const flip_packing *packing = data->packed.packing;
    t->n = n;
    FLIP_TRY(flip_alloc(&t->row, (size_t)n, sizeof *t->row, "packed features of a block"));
    FLIP_TRY(flip_alloc(&t->codes, (size_t)n, packing->stride, "packed features of a block"));
    if (!packing->dither) return FLIP_OK;
    return flip_alloc(&t->key, (size_t)n, sizeof *t->key, "packed features of a block");
}

/* Row `row` of the host's codes, of own node v, to place i. */
static void send_row(table *t, int64_t i, const flip_data *data, int64_t row) {
    size_t stride = data->packed.packing->stride;
    t->row[i] = (int32_t)row;
    memcpy(t->codes + (size_t)i * stride, data->packed.codes + (size_t)row * stride, stride);
}

static void count_bytes(const flip_data *data, int64_t bytes) {
    flip_comm_meter(data->comm)->bytes[FLIP_BYTES_FEATURES_TO_DEVICE] += (uint64_t)bytes;
}

/* Every row of the file. */
static flip_status send_all(flip_packed_steps *p, const flip_data *data) {
    int64_t first, n = 0;
    if (data->n_own > 0) rows_of_node(data, data->n_own - 1, &first, &n);
    FLIP_TRY(table_alloc(&p->has, data, n));
    for (int64_t i = 0; i < n; i++)
        send_row(&p->has, i, data, i);
    count_bytes(data, n * ((int64_t)data->packed.packing->stride + PLACE_BYTES));
    return FLIP_OK;
}

/* Every step's rows of the block, whose runs have the file's rows row [n_runs]. */
static flip_status send_steps(flip_packed_steps *p, const flip_data *data, const int32_t *row) {
    int64_t n = p->n_runs > 0 ? p->run[p->n_runs] : 0;
    drop(&p->has);
    FLIP_TRY(table_alloc(&p->has, data, n));
    for (int64_t k = 0; k < p->n_runs; k++)
        for (int64_t i = p->run[k]; i < p->run[k + 1]; i++)
            send_row(&p->has, i, data, row[k]);
    count_bytes(data, n * (int64_t)data->packed.packing->stride);
    return FLIP_OK;
}

/* The block's rows that the device does not have; the others stay there. */
static flip_status send_difference(flip_packed_steps *p, const flip_data *data,
                                   const int32_t *row) {
    const int64_t stride = (int64_t)data->packed.packing->stride;
    const bool afresh = !p->has.codes;
    int64_t sent = 0, at = 0;
    table next = {0};
    flip_status status = table_alloc(&next, data, p->n_runs);
    for (int64_t k = 0; k < p->n_runs && status == FLIP_OK; k++) {
        while (at < p->has.n && p->has.row[at] < row[k])
            at++;
        if (at == p->has.n || p->has.row[at] != row[k]) {
            send_row(&next, k, data, row[k]);
            sent++;
            continue;
        }
        next.row[k] = row[k];
        memcpy(next.codes + k * stride, p->has.codes + at * stride, (size_t)stride);
    }
    drop(&p->has);
    p->has = next;
    /* in the order of nodes the first step's rows need no places */
    count_bytes(data, sent * (stride + PLACE_BYTES) - (afresh ? data->n_own * PLACE_BYTES : 0));
    return status;
}

/* The runs' rows of the table. */
static void point(flip_packed_steps *p, const flip_data *data, const int32_t *row) {
    for (int64_t k = 0; k < p->n_runs; k++)
        p->index[k] = data->s.transfer == FLIP_TRANSFER_RESIDENT ? row[k]
                      : data->s.transfer == FLIP_TRANSFER_FULL   ? (int32_t)p->run[k]
                                                                 : (int32_t)k;
}

static void fill_keys(flip_packed_steps *p, const flip_data *data) {
    int64_t first, end, v = 0;
    if (!p->has.key) return;
    for (int64_t i = 0; i < p->has.n; i++) {
        rows_of_node(data, v, &first, &end);
        while (p->has.row[i] >= end)
            rows_of_node(data, ++v, &first, &end);
        p->has.key[i] = data->original[v];
    }
}

/* What the device lacks of a block, whose runs have the file's rows row [n_runs]. */
static flip_status send(flip_packed_steps *p, const flip_data *data, const int32_t *row) {
    const int how = data->s.transfer;
    if (how == FLIP_TRANSFER_RESIDENT && p->has.codes) return FLIP_OK;
    FLIP_TRY(how == FLIP_TRANSFER_RESIDENT ? send_all(p, data)
             : how == FLIP_TRANSFER_FULL   ? send_steps(p, data, row)
                                           : send_difference(p, data, row));
    fill_keys(p, data);
    return FLIP_OK;
}

static flip_status enter(flip_packed_steps *p, const flip_data *data, int32_t block) {
    int32_t *row = NULL;
    flip_status status = make_runs(p, data, block, &row);
    if (status == FLIP_OK) status = send(p, data, row);
    if (status == FLIP_OK) point(p, data, row);
    flip_free(row);
    return status;
}

flip_status flip_data_packed(flip_data *data, int32_t block, flip_packed_rows *rows) {
    flip_packed_steps *p = data->packed_steps;
    *rows = data->packed;
    if (data->steps == 1) return FLIP_OK;
    if (!p) {
        FLIP_TRY(flip_alloc_zero(&p, 1, sizeof *p, "packed features"));
        data->packed_steps = p;
        p->block = -1;
    }
    if (p->block != block) {
        p->block = -1;
        FLIP_TRY(enter(p, data, block));
        p->block = block;
    }
    rows->codes = p->has.codes;
    rows->key = p->has.key;
    rows->index = p->index;
    rows->steps = flip_layout_steps(data->layout, block);
    rows->n_runs = p->n_runs;
    rows->run = p->run;
    return FLIP_OK;
}

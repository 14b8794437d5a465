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
 * On the CPU the device's memory is a separate allocation.
 *
 * Where time is distributed a rank has the rows that its own steps read, of all nodes of its part:
 * they were dealt out once, as codes (layout.h). A layer that works on all steps of the rank's own
 * nodes (CD-GCN's skip, redistributed) reads those nodes' rows too, from where the file's reader
 * left them: a second table of the same kind, counted alike. Local but for the dealing. */
#include "train/internal.h"

#include <string.h>

/* Rows of codes that the host has, by node and step; nodes in the node layout or in the time
 * layout. */
typedef struct source {
    int64_t n;            /* nodes */
    const int64_t *first; /* [n + 1], NULL: one row a node */
    const int32_t *step;  /* of rows; NULL: 0 */
    const uint8_t *codes;
    const int64_t *original; /* [n] */
} source;

/* Rows of codes on the device, by the numbers that they have on the host. */
typedef struct table {
    int64_t n;
    int32_t *row;   /* [n] ascending; full: of every step, with repetitions */
    uint8_t *codes; /* [n, stride] */
    int64_t *key;   /* [n] original ids, where rows are dithered */
} table;

/* Nodes' rows in some steps of a block. */
typedef struct view {
    source of;
    table has;         /* on the device; n = 0: nothing */
    int32_t from, end; /* steps that the runs are of */
    int64_t n_runs;
    int32_t *index; /* [n_runs] row of the table */
    int64_t *run;   /* [n_runs + 1] */
} view;

struct flip_packed_steps {
    int32_t block;           /* that the runs are of; -1 = none */
    flip_lasting_rows dealt; /* owned: in the time layout; rows NULL: the node layout's serve */
    view here, nodes;        /* nodes: n = 0 where nobody asks */
    flip_packed_rows rows_of_nodes;
};

enum { PLACE_BYTES = 8 }; /* node and step of a row, 32 bits each */

static void drop(table *t) {
    flip_free(t->row);
    flip_free(t->codes);
    flip_free(t->key);
    *t = (table){0};
}

static void finish_view(view *v) {
    drop(&v->has);
    flip_free(v->index);
    flip_free(v->run);
}

void flip_data_packed_finish(flip_data *data) {
    flip_packed_steps *p = data->packed_steps;
    if (!p) return;
    finish_view(&p->here);
    finish_view(&p->nodes);
    flip_free((void *)p->dealt.first);
    flip_free((void *)p->dealt.step);
    flip_free((void *)p->dealt.rows);
    flip_free(p);
    data->packed_steps = NULL;
}

void flip_data_packed_begin(flip_data *data) {
    flip_packed_steps *p = data->packed_steps;
    if (!p || data->s.transfer == FLIP_TRANSFER_RESIDENT) return;
    drop(&p->here.has);
    drop(&p->nodes.has);
    p->block = -1;
}

/* ---- where rows are ---- */

static source file_rows(const flip_data *data) {
    return (source){.n = data->n_own,
                    .first = flip_graph_code_first(data->graph),
                    .step = flip_graph_code_steps(data->graph),
                    .codes = data->packed.codes,
                    .original = data->original};
}

/* Does a layer work on all steps of own nodes while others see some steps of a part? */
static bool reads_nodes(const flip_data *data) {
    return data->s.model == FLIP_MODEL_CDGCN && data->exchange == FLIP_EXCHANGE_REDISTRIBUTE;
}

static flip_status deal_out(flip_packed_steps *p, const flip_data *data) {
    const flip_layout *l = data->layout;
    const source own = file_rows(data);
    const size_t stride = data->packed.packing->stride;
    const flip_lasting_rows rows = {.first = own.first, .step = own.step, .rows = own.codes};
    uint8_t *codes;
    if (own.first) return flip_layout_deal_lasting(l, &rows, stride, &p->dealt);
    flip_status status = flip_alloc(&codes, (size_t)l->n_rows, stride, "packed features");
    p->dealt.rows = codes;
    FLIP_TRY(flip_comm_agree(l->time, status));
    return flip_layout_deal_rows(l, own.codes, stride, true, codes);
}

flip_status flip_data_place_packed(flip_data *data) {
    flip_packed_steps *p;
    if (!data->packed.packing || data->steps == 1) return FLIP_OK;
    FLIP_TRY(flip_alloc_zero(&p, 1, sizeof *p, "packed features"));
    data->packed_steps = p;
    p->block = -1;
    p->here.of = file_rows(data);
    if (data->layout->n_time == 1) return FLIP_OK;
    FLIP_TRY(deal_out(p, data));
    p->here.of = (source){.n = data->layout->n_rows,
                          .first = p->dealt.first,
                          .step = p->dealt.step,
                          .codes = p->dealt.rows,
                          .original = data->layout->original};
    if (reads_nodes(data)) {
        p->nodes.of = file_rows(data);
        return FLIP_OK;
    }
    data->packed.codes = NULL;
    flip_graph_release_features(data->graph);
    return FLIP_OK;
}

/* ---- runs ---- */

/* Rows of codes of node v: first … end-1. */
static void rows_of_node(const source *of, int64_t v, int64_t *first, int64_t *end) {
    *first = of->first ? of->first[v] : v;
    *end = of->first ? of->first[v + 1] : v + 1;
}

flip_runs flip_data_code_runs(const flip_data *data) {
    return (flip_runs){.first = flip_graph_code_first(data->graph),
                       .step = flip_graph_code_steps(data->graph)};
}

/* Runs of node v in steps from … to-1, its rows' numbers to row [..] and ends behind `base` to
 * run; both may be NULL. Returns how many. */
static int64_t runs_of_node(const source *of, int64_t v, int32_t from, int32_t to, int32_t *row,
                            int64_t *run, int64_t base) {
    const int32_t *step = of->step;
    int64_t first, end, n = 0;
    if (from == to) return 0;
    rows_of_node(of, v, &first, &end);
    while (step && first + 1 < end && step[first + 1] <= from)
        first++;
    for (int64_t i = first; i < end && (i == first || step[i] < to); i++, n++) {
        int32_t last = step && i + 1 < end && step[i + 1] < to ? step[i + 1] : to;
        if (row) row[n] = (int32_t)i;
        if (run) run[n] = base + last - from;
    }
    return n;
}

/* The view's runs of its steps; row [n_runs] their rows on the host, the caller's. */
static flip_status make_runs(view *w, int32_t **row) {
    const int32_t from = w->from, to = w->end;
    int64_t n = 0;
    flip_free(w->index);
    flip_free(w->run);
    w->index = NULL;
    w->run = NULL;
    for (int64_t v = 0; v < w->of.n; v++)
        n += runs_of_node(&w->of, v, from, to, NULL, NULL, 0);
    FLIP_TRY(flip_alloc(&w->index, (size_t)n, sizeof *w->index, "runs of packed features"));
    FLIP_TRY(flip_alloc(&w->run, (size_t)n + 1, sizeof *w->run, "runs of packed features"));
    FLIP_TRY(flip_alloc(row, (size_t)n, sizeof **row, "runs of packed features"));
    w->n_runs = n;
    w->run[0] = n = 0;
    for (int64_t v = 0; v < w->of.n; v++)
        n += runs_of_node(&w->of, v, from, to, *row + n, w->run + n + 1, v * (to - from));
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

/* Row `row` of the host's codes to place i. */
static void send_row(table *t, int64_t i, const source *of, size_t stride, int64_t row) {
    t->row[i] = (int32_t)row;
    memcpy(t->codes + (size_t)i * stride, of->codes + (size_t)row * stride, stride);
}

static void count_bytes(const flip_data *data, int64_t bytes) {
    flip_comm_meter(data->comm)->bytes[FLIP_BYTES_FEATURES_TO_DEVICE] += (uint64_t)bytes;
}

/* Every row of the host's. */
static flip_status send_all(view *w, const flip_data *data) {
    const size_t stride = data->packed.packing->stride;
    int64_t first, n = 0;
    if (w->of.n > 0) rows_of_node(&w->of, w->of.n - 1, &first, &n);
    FLIP_TRY(table_alloc(&w->has, data, n));
    for (int64_t i = 0; i < n; i++)
        send_row(&w->has, i, &w->of, stride, i);
    count_bytes(data, n * ((int64_t)stride + PLACE_BYTES));
    return FLIP_OK;
}

/* Every step's rows, whose runs have the host's rows row [n_runs]. */
static flip_status send_steps(view *w, const flip_data *data, const int32_t *row) {
    const size_t stride = data->packed.packing->stride;
    int64_t n = w->run[w->n_runs];
    int32_t rows; /* are asked for by number */
    drop(&w->has);
    FLIP_TRY(flip_narrow(&rows, n, "packed rows of a block's steps (use --transfer delta)"));
    FLIP_TRY(table_alloc(&w->has, data, n));
    for (int64_t k = 0; k < w->n_runs; k++)
        for (int64_t i = w->run[k]; i < w->run[k + 1]; i++)
            send_row(&w->has, i, &w->of, stride, row[k]);
    count_bytes(data, n * (int64_t)stride);
    return FLIP_OK;
}

/* The block's rows that the device does not have; the others stay there. */
static flip_status send_difference(view *w, const flip_data *data, const int32_t *row) {
    const int64_t stride = (int64_t)data->packed.packing->stride;
    const bool afresh = !w->has.codes;
    int64_t sent = 0, at = 0;
    table next = {0};
    if (w->n_runs == 0) return FLIP_OK; /* no own steps: what is there may serve the next block */
    flip_status status = table_alloc(&next, data, w->n_runs);
    for (int64_t k = 0; k < w->n_runs && status == FLIP_OK; k++) {
        while (at < w->has.n && w->has.row[at] < row[k])
            at++;
        if (at == w->has.n || w->has.row[at] != row[k]) {
            send_row(&next, k, &w->of, (size_t)stride, row[k]);
            sent++;
            continue;
        }
        next.row[k] = row[k];
        memcpy(next.codes + k * stride, w->has.codes + at * stride, (size_t)stride);
    }
    drop(&w->has);
    w->has = next;
    /* in the order of nodes the first step's rows need no places */
    count_bytes(data, sent * (stride + PLACE_BYTES) - (afresh ? w->of.n * PLACE_BYTES : 0));
    return status;
}

/* The runs' rows of the table. */
static void point(view *w, int how, const int32_t *row) {
    for (int64_t k = 0; k < w->n_runs; k++)
        w->index[k] = how == FLIP_TRANSFER_RESIDENT ? row[k]
                      : how == FLIP_TRANSFER_FULL   ? (int32_t)w->run[k]
                                                    : (int32_t)k;
}

static void fill_keys(view *w) {
    int64_t first, end, v = 0;
    if (!w->has.key) return;
    for (int64_t i = 0; i < w->has.n; i++) {
        rows_of_node(&w->of, v, &first, &end);
        while (w->has.row[i] >= end)
            rows_of_node(&w->of, ++v, &first, &end);
        w->has.key[i] = w->of.original[v];
    }
}

/* What the device lacks of a block, whose runs have the host's rows row [n_runs]. */
static flip_status send(view *w, const flip_data *data, const int32_t *row) {
    const int how = data->s.transfer;
    if (how == FLIP_TRANSFER_RESIDENT && w->has.codes) return FLIP_OK;
    FLIP_TRY(how == FLIP_TRANSFER_RESIDENT ? send_all(w, data)
             : how == FLIP_TRANSFER_FULL   ? send_steps(w, data, row)
                                           : send_difference(w, data, row));
    fill_keys(w);
    return FLIP_OK;
}

static flip_status enter(view *w, const flip_data *data, int32_t from, int32_t end) {
    int32_t *row = NULL;
    w->from = from;
    w->end = end;
    flip_status status = make_runs(w, &row);
    if (status == FLIP_OK) status = send(w, data, row);
    if (status == FLIP_OK) point(w, data->s.transfer, row);
    flip_free(row);
    return status;
}

static flip_status enter_block(flip_packed_steps *p, const flip_data *data, int32_t block) {
    const flip_layout *l = data->layout;
    const int32_t from = flip_layout_first(l, block);
    FLIP_TRY(enter(&p->here, data, from, from + flip_layout_steps(l, block)));
    return p->nodes.of.codes
               ? enter(&p->nodes, data, l->block_first[block], l->block_first[block + 1])
               : FLIP_OK;
}

static void fill_rows(const view *w, flip_packed_rows *rows) {
    rows->codes = w->has.codes;
    rows->key = w->has.key;
    rows->index = w->index;
    rows->steps = w->end - w->from;
    rows->n_runs = w->n_runs;
    rows->run = w->run;
}

flip_status flip_data_packed(flip_data *data, int32_t block, flip_packed_rows *rows) {
    flip_packed_steps *p = data->packed_steps;
    *rows = data->packed;
    if (data->steps == 1) return FLIP_OK;
    if (p->block != block) {
        p->block = -1;
        FLIP_TRY(enter_block(p, data, block));
        p->block = block;
    }
    fill_rows(&p->here, rows);
    if (!p->nodes.of.codes) return FLIP_OK;
    p->rows_of_nodes = data->packed;
    fill_rows(&p->nodes, &p->rows_of_nodes);
    rows->nodes = &p->rows_of_nodes;
    return FLIP_OK;
}

/* Rows beside the means of their neighbours' rows, which near:B learns from; rank 0 alone reads
 * them, in the order of the file, so that nothing depends on the number of ranks. */
#include "store/compress.h"

#include <string.h>

/* Where more rows than `most` would have to be held, FEW of them are taken, evenly apart, and of
 * their neighbours the first NEIGHBOURS each. */
enum { FEW = 8192, NEIGHBOURS = 8, BLOCK = 4096, MOST_BYTES = 64 << 20 };

typedef struct gathering {
    const flip_feature_rows *rows;
    flip_neighbour_rows *out;
    float *all;   /* [n_nodes, dim] where they are held, else NULL */
    float *row;   /* [dim] where not */
    int64_t *ptr; /* [BLOCK + 1] */
    int64_t *src; /* [room] */
    size_t room;  /* of src */
} gathering;

static flip_status row_of(gathering *g, int64_t node, const float **row) {
    *row = g->all ? g->all + node * g->rows->dim : g->row;
    if (node < 0 || node >= g->rows->n_nodes)
        return FLIP_FAIL(
            FLIP_ERROR_INPUT, "'%s' events/src: node %lld of %lld; flipbook check tells more",
            flip_reader_path(g->rows->reader), (long long)node, (long long)g->rows->n_nodes);
    return g->all ? FLIP_OK : flip_feature_rows_read(g->rows, node, 1, g->row);
}

/* A node, unless it has no neighbour but itself. */
static flip_status add(gathering *g, int64_t node, int64_t n, const int64_t *src) {
    flip_neighbour_rows *out = g->out;
    int32_t dim = g->rows->dim;
    float *mean = out->beside + out->n * dim;
    const float *row;
    int64_t taken = 0;
    memset(mean, 0, (size_t)dim * sizeof *mean);
    for (int64_t i = 0; i < n && (g->all || taken < NEIGHBOURS); i++) {
        if (src[i] == node) continue;
        FLIP_TRY(row_of(g, src[i], &row));
        for (int32_t j = 0; j < dim; j++)
            mean[j] += row[j];
        taken++;
    }
    if (taken == 0) return FLIP_OK;
    for (int32_t j = 0; j < dim; j++)
        mean[j] /= (float)taken;
    FLIP_TRY(row_of(g, node, &row));
    memcpy(out->x + out->n * dim, row, (size_t)dim * sizeof *row);
    out->n++;
    out->spread += 1 / (double)taken;
    return FLIP_OK;
}

/* Nodes first … first+count-1, which lie together in the file. */
static flip_status add_block(gathering *g, int64_t first, int64_t count) {
    const flip_reader *r = g->rows->reader;
    FLIP_TRY(flip_reader_rows(r, "events/indptr", FLIP_TYPE_I64, first, count + 1, g->ptr));
    int64_t n = g->ptr[count] - g->ptr[0];
    for (int64_t i = 0; i < count && n >= 0; i++)
        if (g->ptr[i + 1] < g->ptr[i]) n = -1;
    if (n < 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' events/indptr falls; flipbook check tells more",
                         flip_reader_path(r));
    if (!g->all && n > NEIGHBOURS + 1) n = NEIGHBOURS + 1; /* one of them may be itself */
    if ((size_t)n > g->room) {
        FLIP_TRY(flip_grow(&g->src, 0, (size_t)n, sizeof *g->src, "neighbours"));
        g->room = (size_t)n;
    }
    if (n > 0) FLIP_TRY(flip_reader_rows(r, "events/src", FLIP_TYPE_I64, g->ptr[0], n, g->src));
    for (int64_t i = 0; i < count; i++) {
        int64_t begin = g->ptr[i] - g->ptr[0], end = g->ptr[i + 1] - g->ptr[0];
        FLIP_TRY(add(g, first + i, (end < n ? end : n) - begin, g->src + begin));
    }
    return FLIP_OK;
}

flip_status flip_neighbour_rows_read(flip_neighbour_rows *out, const flip_feature_rows *rows,
                                     int64_t most) {
    flip_status status;
    size_t dim = (size_t)rows->dim;
    bool whole = rows->n_nodes <= most && rows->n_nodes * rows->dim * 4 <= MOST_BYTES;
    int64_t n = whole || rows->n_nodes < FEW ? rows->n_nodes : FEW, step = whole ? BLOCK : 1;
    gathering g = {.rows = rows, .out = out};
    *out = (flip_neighbour_rows){0};
    if (!flip_reader_has(rows->reader, "events/src")) return FLIP_OK;
    FLIP_TRY_GOTO(flip_alloc(&out->x, (size_t)n * dim, sizeof(float), "rows with neighbours"));
    FLIP_TRY_GOTO(flip_alloc(&out->beside, (size_t)n * dim, sizeof(float), "neighbours' means"));
    FLIP_TRY_GOTO(flip_alloc(&g.ptr, BLOCK + 1, sizeof *g.ptr, "neighbours"));
    FLIP_TRY_GOTO(flip_alloc(&g.row, dim, sizeof *g.row, "a row"));
    if (whole) {
        FLIP_TRY_GOTO(flip_alloc(&g.all, (size_t)n * dim, sizeof *g.all, "rows"));
        FLIP_TRY_GOTO(flip_feature_rows_read(rows, 0, n, g.all));
    }
    for (int64_t i = 0; i < n; i += step) {
        int64_t first = whole ? i : i * (rows->n_nodes / n) + i * (rows->n_nodes % n) / n;
        FLIP_TRY_GOTO(add_block(&g, first, step < n - i ? step : n - i));
    }
done:
    flip_free(g.all);
    flip_free(g.row);
    flip_free(g.ptr);
    flip_free(g.src);
    if (status != FLIP_OK) flip_neighbour_rows_finish(out);
    return status;
}

void flip_neighbour_rows_finish(flip_neighbour_rows *rows) {
    flip_free(rows->x);
    flip_free(rows->beside);
    *rows = (flip_neighbour_rows){0};
}

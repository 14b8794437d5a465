/* flipbook bench kernels, second part: neighbours' rows gathered and summed from a table larger
 * than the last cache, fp32 by spmm and packed by spmm_packed, which decodes on the way. The table
 * and the neighbours are drawn; rate: million rows gathered a second. */
#include "cli/bench.h"

#include <stdio.h>
#include <string.h>

enum { DIM = 128, FAN_IN = 15, CHUNK = 1024, GATHERS = 200 * CHUNK };

typedef struct packed_row {
    const char *name;
    flip_packing_kind kind;
    int bits, width, length;
    bool shared, column, dither, whole;
} packed_row;

/* "any": of levels or entries that are not whole numbers. */
static const packed_row packings[] = {
    {"fp16", FLIP_PACKING_HALF, .bits = 16},
    {"bf16", FLIP_PACKING_BFLOAT, .bits = 16},
    {"uniform:8", FLIP_PACKING_SCALAR, .bits = 8},
    {"dither:8", FLIP_PACKING_SCALAR, .bits = 8, .dither = true},
    {"uniform:4", FLIP_PACKING_SCALAR, .bits = 4},
    {"lloyd:4:shared", FLIP_PACKING_SCALAR, .bits = 4, .shared = true, .whole = true},
    {"4 bits, any", FLIP_PACKING_SCALAR, .bits = 4, .shared = true},
    {"lloyd:4", FLIP_PACKING_SCALAR, .bits = 4, .shared = true, .column = true},
    {"lloyd:2:shared", FLIP_PACKING_SCALAR, .bits = 2, .shared = true},
    {"dither:2", FLIP_PACKING_SCALAR, .bits = 2, .dither = true},
    {"lloyd:1", FLIP_PACKING_SCALAR, .bits = 1, .shared = true, .column = true},
    {"pq:8x256", FLIP_PACKING_PRODUCT, .bits = 8, .width = 8, .length = 256},
    {"pq:16x256", FLIP_PACKING_PRODUCT, .bits = 8, .width = 16, .length = 256, .whole = true},
    {"16x256, any", FLIP_PACKING_PRODUCT, .bits = 8, .width = 16, .length = 256},
};
enum { N_PACKINGS = sizeof packings / sizeof *packings };

typedef struct gather {
    const flip_kernels *table;
    flip_csr graph;
    flip_packing packing;
    flip_real *rows, *y;
    uint8_t *codes;
    float *numbers; /* offsets, scales, levels, codebooks */
    int8_t *whole;  /* a codebook of bytes */
} gather;

/* ---- operands ------------------------------------------------------------------------------- */

/* Every row has FAN_IN neighbours, any of n. */
static flip_status neighbours(flip_csr *graph, int64_t n) {
    int64_t *row_ptr = NULL;
    int32_t *col = NULL;
    FLIP_TRY(flip_alloc(&row_ptr, GATHERS + 1, sizeof *row_ptr, "row starts"));
    *graph = (flip_csr){.n_rows = GATHERS, .n_steps = 1, .row_ptr = row_ptr};
    FLIP_TRY(flip_narrow(&graph->n_cols, n, "rows of the packed table"));
    FLIP_TRY(flip_alloc(&col, (size_t)GATHERS * FAN_IN, sizeof *col, "columns"));
    graph->col = col;
    for (int64_t v = 0; v <= GATHERS; v++)
        row_ptr[v] = v * FAN_IN;
    for (int64_t e = 0; e < (int64_t)GATHERS * FAN_IN; e++)
        col[e] = (int32_t)flip_random_below(1, FLIP_STREAM_TEST, 2, (uint64_t)e, (uint64_t)n);
    graph->n_own = graph->n_cols;
    graph->n_entries = graph->n_values = (int64_t)GATHERS * FAN_IN;
    return FLIP_OK;
}

/* Bytes without order; of 16-bit floats, those of numbers between 2^-63 and 2: none that processors
 * treat apart. */
static void fill_codes(uint8_t *codes, size_t bytes, bool floats) {
    const uint64_t clear = floats ? 0x4000400040004000u : 0, set = clear >> 1;
    uint64_t x = 1;
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        uint64_t z = x += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = ((z ^ z >> 27) & ~clear) | set;
        memcpy(codes + i, &z, sizeof z);
    }
}

static flip_status operands(gather *g, int64_t n) {
    size_t numbers = (size_t)DIM / 8 * 256 * 8 + 2 * DIM + 256;
    FLIP_TRY(neighbours(&g->graph, n));
    FLIP_TRY(flip_alloc(&g->y, (size_t)CHUNK * DIM, sizeof *g->y, "sums"));
    FLIP_TRY(flip_alloc(&g->rows, (size_t)n * DIM, sizeof *g->rows, "fp32 rows"));
    FLIP_TRY(flip_alloc(&g->codes, (size_t)n * DIM * 2, 1, "packed rows"));
    FLIP_TRY(flip_alloc(&g->numbers, numbers, sizeof *g->numbers, "tables"));
    for (size_t i = 0; i < (size_t)n * DIM; i++)
        g->rows[i] = (flip_real)(i % 251) / 251;
    FLIP_TRY(flip_alloc(&g->whole, numbers, 1, "tables"));
    for (size_t i = 0; i < numbers; i++) {
        g->whole[i] = (int8_t)(i * 37 % 256 - 128);
        g->numbers[i] = (float)(i % 17) / 17;
    }
    return FLIP_OK;
}

static void free_operands(gather *g) {
    flip_free((void *)g->graph.row_ptr);
    flip_free((void *)g->graph.col);
    flip_free(g->y);
    flip_free(g->rows);
    flip_free(g->codes);
    flip_free(g->numbers);
    flip_free(g->whole);
}

static void choose(gather *g, const packed_row *row) {
    bool scalar = row->kind == FLIP_PACKING_SCALAR, product = row->kind == FLIP_PACKING_PRODUCT;
    int32_t blocks = product ? DIM / row->width : 0;
    static const float whole_levels[16] = {0,  17, 29, 38, 45, 51, 57,  62,
                                           66, 71, 77, 82, 89, 98, 109, 127};
    float *tables = g->numbers + 2 * DIM;
    g->packing = (flip_packing){.kind = row->kind,
                                .dim = DIM,
                                .bits = row->bits,
                                .stride = (size_t)(product ? blocks : DIM) * (size_t)row->bits / 8,
                                .offset = scalar ? g->numbers : NULL,
                                .scale = scalar ? g->numbers + DIM : NULL,
                                .level = !row->shared ? NULL
                                         : row->whole ? whole_levels
                                                      : tables,
                                .column_levels = row->column,
                                .dither = row->dither,
                                .width = row->width,
                                .length = row->length,
                                .blocks = blocks,
                                .codebook = product ? tables : NULL,
                                .codebook8 = product && row->whole ? g->whole : NULL};
}

/* ---- lines ---------------------------------------------------------------------------------- */

/* Rows first … of the graph, summed into the same CHUNK rows, as a layer takes them: the product
 * that follows finds them in the cache. */
static flip_csr chunk_of(const gather *g, int32_t first) {
    flip_csr part = g->graph;
    part.n_rows = CHUNK;
    part.row_ptr += first;
    return part;
}

static void run_plain(void *argument) {
    gather *g = argument;
    for (int32_t v = 0; v < GATHERS; v += CHUNK) {
        flip_csr part = chunk_of(g, v);
        g->table->spmm(&part, NULL, CHUNK, DIM, g->y, g->rows, NULL, false);
    }
}

static void run_packed(void *argument) {
    gather *g = argument;
    for (int32_t v = 0; v < GATHERS; v += CHUNK) {
        flip_csr part = chunk_of(g, v);
        g->table->spmm_packed(&part, &g->packing, g->codes, NULL, NULL, g->y, DIM, false);
    }
}

static void tell(const flip_bench *b, const gather *g, const char *name, size_t stride,
                 double seconds, double plain) {
    double gathered = (double)g->graph.n_entries, rate = gathered / seconds * 1e-6;
    double gbs = gathered * (double)stride / seconds * 1e-9;
    if (b->json)
        printf("{\"bench\": \"gather\", \"codec\": \"%s\", \"table\": \"%s\", \"rows\": %d, "
               "\"dim\": %d, \"fan_in\": %d, \"row_bytes\": %zu, \"threads\": %d, \"seconds\": "
               "%.4e, \"million_rows_per_second\": %.2f, \"gb_per_second\": %.2f, \"times_fp32\": "
               "%.2f}\n",
               name, g->table->name, g->graph.n_cols, DIM, FAN_IN, stride, b->threads, seconds,
               rate, gbs, plain / seconds);
    else
        printf("%-15s %-12s %9zu %10.4f %12.2f %9.2f %9.2f x\n", name, g->table->name, stride,
               seconds, rate, gbs, plain / seconds);
}

/* Does this table gather by functions of its own? The plain C definition is too slow to compare. */
static bool own_entry(const flip_kernels *const *tables, int t) {
    return t > 0 && tables[t]->spmm_packed != tables[t - 1]->spmm_packed;
}

static void measure_table(const flip_bench *b, gather *g) {
    double plain = flip_bench_time(b, run_plain, g);
    tell(b, g, "fp32", DIM * sizeof(flip_real), plain, plain);
    for (int i = 0; i < N_PACKINGS; i++) {
        bool floats = packings[i].bits == 16,
             filled = i > 0 && floats == (packings[i - 1].bits == 16);
        if (!filled) fill_codes(g->codes, (size_t)g->graph.n_cols * DIM * 2, floats);
        choose(g, &packings[i]);
        tell(b, g, packings[i].name, g->packing.stride, flip_bench_time(b, run_packed, g), plain);
    }
}

/* Half the memory at most. */
static int64_t rows_that_fit(int64_t wished) {
    size_t row = DIM * (sizeof(flip_real) + 2), room = flip_memory_available() / 2;
    return (size_t)wished * row <= room ? wished : (int64_t)(room / row);
}

flip_status flip_bench_packed(const flip_bench *b) {
    const flip_kernels *tables[FLIP_KERNEL_TABLES];
    int n_tables = flip_kernels_list(tables), own = 0;
    gather g = {0};
    for (int t = 0; t < n_tables; t++)
        own += own_entry(tables, t);
    if (own == 0) return FLIP_OK;
    flip_status status = operands(&g, rows_that_fit(b->table_rows));
    if (status == FLIP_OK && !b->json)
        printf("\ngather: sums of %d rows of a table of %d x %d (fp32: %.1f GB), rows anywhere\n"
               "%-15s %-12s %9s %10s %12s %9s %11s\n",
               FAN_IN, g.graph.n_cols, DIM, (double)g.graph.n_cols * DIM * sizeof(flip_real) * 1e-9,
               "codec", "table", "row bytes", "seconds", "M rows/s", "GB/s", "to fp32");
    for (int t = 0; status == FLIP_OK && t < n_tables; t++) {
        g.table = tables[t];
        if (own_entry(tables, t)) measure_table(b, &g);
    }
    free_operands(&g);
    return status;
}

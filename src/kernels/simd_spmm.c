/* Sparse times dense in vectors. Gathering rows of x is what costs: a row's sums stay in registers,
 * and the rows of x that come AHEAD entries later are asked for early, as far as the second-level
 * cache: it has about twice as many reads under way as the first. */
#include "kernels/simd.h"

enum {
    AHEAD = 24,      /* entries asked for early … */
    AHEAD_LINE = 48, /* … where a row of x is one cache line */
    MOST = 16,       /* vectors of a row summed at once */
    AHEAD_RUNS = 8,  /* entries, where a run may be many lines */
    MOST_LINES = 64, /* of a run asked for */
    CHUNK = 64,      /* rows a thread takes at once */
    LINE = 16        /* floats in a cache line */
};

typedef struct gather {
    const flip_csr *a;
    const float *own, *halo; /* halo moved back by n_own rows: indexed by column */
    int64_t dim, width;      /* floats in a row of x: of one step, of all */
    /* For dim < LANES: which step lane l belongs to, the first lane being column c of step 0 */
    int32_t lane_step[LANES][LANES]; /* [c][l] */
} gather;

INLINE const float *gather_row(const gather *g, int64_t e) {
    int64_t col = g->a->col[e];
    return (col < g->a->n_own ? g->own : g->halo) + col * g->width;
}

/* Vectors first … of columns [j, j + columns) of one row; `count` is known when compiling. */
INLINE void row_part(const int count, const gather *g, int64_t v, int64_t j, int64_t columns,
                     float *y, bool accumulate) {
    const flip_csr *a = g->a;
    lanes_mask some = v_first(columns - (count - 1) * LANES);
    const int lines = (count * LANES + LINE - 1) / LINE, ahead = lines == 1 ? AHEAD_LINE : AHEAD;
    vec sum[MOST];
    UNROLL for (int c = 0; c < count; c++) sum[c] = v_zero();
    int64_t last = a->row_ptr[v + 1], end = a->row_ptr[a->n_rows] - 1;
    for (int64_t e = a->row_ptr[v]; e < last; e++) {
        const float *next = gather_row(g, e + ahead < end ? e + ahead : end) + j;
        UNROLL for (int c = 0; c < lines; c++)
            _mm_prefetch((const char *)(next + c * LINE), _MM_HINT_T1);
        const float *x = gather_row(g, e) + j;
        float weight = a->value ? a->value[e] : 1;
        if (a->col_scale) weight *= a->col_scale[a->col[e]];
        vec w = v_set(weight);
        UNROLL for (int c = 0; c < count - 1; c++) sum[c] = v_fma(w, v_load(x + c * LANES), sum[c]);
        sum[count - 1] = v_fma(w, v_load_some(x + (count - 1) * LANES, some), sum[count - 1]);
    }
    vec scale = v_set(a->row_scale ? a->row_scale[v] : 1);
    float *out = y + v * g->width + j;
    UNROLL for (int c = 0; c < count; c++) {
        bool whole = c < count - 1;
        vec old = !accumulate ? v_zero()
                  : whole     ? v_load(out + c * LANES)
                              : v_load_some(out + c * LANES, some);
        vec result = v_fma(scale, sum[c], old);
        if (whole)
            v_store(out + c * LANES, result);
        else
            v_store_some(out + c * LANES, some, result);
    }
}

#define PART(count)                                                                                \
    static void part_##count(const gather *g, int64_t v, int64_t j, int64_t columns, float *y,     \
                             bool accumulate) {                                                    \
        row_part(count, g, v, j, columns, y, accumulate);                                          \
    }
PART(1)
PART(2)
PART(3)
PART(4)
PART(5)
PART(6)
PART(7)
PART(8)
PART(12)
PART(16)

typedef void (*part)(const gather *, int64_t, int64_t, int64_t, float *, bool);

/* The narrowest part that covers `vectors`, or the widest; its width in vectors. */
static part choose_part(int64_t vectors, int64_t *width) {
    static const part exact[] = {part_1, part_1, part_2, part_3, part_4,
                                 part_5, part_6, part_7, part_8};
    *width = vectors >= MOST ? MOST : vectors >= 12 ? 12 : vectors > 8 ? 8 : vectors;
    return *width == MOST ? part_16 : *width == 12 ? part_12 : exact[*width];
}

static void row_static(const gather *g, int64_t v, float *y, bool accumulate) {
    int64_t width;
    for (int64_t j = 0; j < g->width; j += width * LANES) {
        part run = choose_part((g->width - j + LANES - 1) / LANES, &width);
        run(g, v, j, flip_min64(g->width - j, width * LANES), y, accumulate);
    }
}

/* out[i] += weight * x[i] */
INLINE void add_scaled(int64_t n, float weight, const float *x, float *out) {
    vec w = v_set(weight);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        v_store(out + i, v_fma(w, v_load(x + i), v_load(out + i)));
    if (i < n) {
        lanes_mask some = v_first(n - i);
        v_store_some(out + i, some, v_fma(w, v_load_some(x + i, some), v_load_some(out + i, some)));
    }
}

/* A run's steps stand side by side: out[0 … steps * dim) += weight[i / dim] * x[i]; `count` vectors
 * a step, known when compiling. */
INLINE void add_steps(const int count, int64_t steps, const float *weight, const float *x,
                      float *out) {
    for (int64_t t = 0; t < steps; t++, x += count * LANES, out += count * LANES) {
        vec w = v_set(weight ? weight[t] : 1);
        UNROLL for (int c = 0; c < count; c++)
            v_store(out + c * LANES, v_fma(w, v_load(x + c * LANES), v_load(out + c * LANES)));
    }
}

INLINE void add_run(const gather *g, int64_t steps, const float *weight, const float *x,
                    float *out) {
    if (g->dim == LANES)
        add_steps(1, steps, weight, x, out);
    else if (g->dim == 2 * LANES)
        add_steps(2, steps, weight, x, out);
    else if (g->dim == 4 * LANES)
        add_steps(4, steps, weight, x, out);
    else
        for (int64_t t = 0; t < steps; t++)
            add_scaled(g->dim, weight ? weight[t] : 1, x + t * g->dim, out + t * g->dim);
}

/* Rows narrower than a vector: a vector holds several steps, each lane picks its step's weight. */
INLINE void add_narrow_run(const gather *g, int64_t steps, const float *weight, const float *x,
                           float *out) {
    int64_t n = steps * g->dim, step = 0, inside = 0; /* of the vector's first lane */
    for (int64_t i = 0; i < n; i += LANES) {
        lanes_mask some = v_first(flip_min64(LANES, n - i));
        vec w = v_set(1);
        if (weight)
            w = v_pick(v_load_some(weight + step, v_first(flip_min64(LANES, steps - step))),
                       g->lane_step[inside]);
        v_store_some(out + i, some, v_fma(w, v_load_some(x + i, some), v_load_some(out + i, some)));
        step += (inside + LANES) / g->dim;
        inside = (inside + LANES) % g->dim;
    }
}

/* Ask for the rows of entry e's first run, up to MOST_LINES. */
INLINE void ask_run(const gather *g, int64_t e) {
    const flip_csr *a = g->a;
    int64_t r = a->run_ptr[e];
    if (r == a->run_ptr[e + 1]) return;
    const float *x = gather_row(g, e) + (int64_t)a->run_first[r] * g->dim;
    int64_t lines = (a->value_ptr[r + 1] - a->value_ptr[r]) * g->dim / LINE + 1;
    for (int64_t c = 0; c < flip_min64(lines, MOST_LINES); c++)
        _mm_prefetch((const char *)(x + c * LINE), _MM_HINT_T1);
}

/* One gather of a neighbour's row serves all its steps. */
static void row_steps(const gather *g, int64_t v, float *y, bool accumulate) {
    const flip_csr *a = g->a;
    float *out = y + v * g->width;
    if (!accumulate) memset(out, 0, (size_t)g->width * sizeof *out);
    int64_t end = a->row_ptr[a->n_rows] - 1;
    for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
        if (e + AHEAD_RUNS <= end) ask_run(g, e + AHEAD_RUNS);
        const float *x = gather_row(g, e);
        for (int64_t r = a->run_ptr[e]; r < a->run_ptr[e + 1]; r++) {
            int64_t at = (int64_t)a->run_first[r] * g->dim, first = a->value_ptr[r];
            int64_t steps = a->value_ptr[r + 1] - first;
            const float *weight = a->value ? a->value + first : NULL;
            if (g->dim < LANES)
                add_narrow_run(g, steps, weight, x + at, out + at);
            else
                add_run(g, steps, weight, x + at, out + at);
        }
    }
}

static void spmm(const flip_csr *a, const int32_t *rows, int32_t n_rows, int32_t dim, float *y,
                 const float *x_own, const float *x_halo, bool accumulate) {
    gather g = {.a = a, .own = x_own, .dim = dim, .width = (int64_t)a->n_steps * dim};
    for (int c = 0; c < dim && dim < LANES; c++)
        for (int l = 0; l < LANES; l++)
            g.lane_step[c][l] = (c + l) / dim;
    g.halo = x_halo ? x_halo - a->n_own * g.width : x_own;
#pragma omp parallel for schedule(dynamic, CHUNK)
    for (int32_t i = 0; i < n_rows; i++) {
        int64_t v = rows ? rows[i] : i;
        if (a->run_ptr)
            row_steps(&g, v, y, accumulate);
        else
            row_static(&g, v, y, accumulate);
    }
}

void SIMD_NAME(flip_use_spmm)(flip_kernels *table) {
    table->spmm = spmm;
}

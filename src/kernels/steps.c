/* Rows along time in plain C: the definition. */
#include "kernels/internal.h"

#include <omp.h>

/* ---- blocks moved ---- */

/* m rows of one step; d values each. */
static void move_rows(int64_t m, int64_t d, flip_real *y, int64_t y_row, const flip_real *x,
                      int64_t x_row, bool accumulate) {
    for (int64_t i = 0; i < m; i++) {
        flip_real *to = y + i * y_row;
        if (!x && !accumulate)
            memset(to, 0, (size_t)d * sizeof *to);
        else if (x && !accumulate)
            memcpy(to, x + i * x_row, (size_t)d * sizeof *to);
        else if (x)
            for (int64_t j = 0; j < d; j++)
                to[j] += x[i * x_row + j];
    }
}

static void move(int64_t m, int64_t n, int64_t d, flip_real *y, int64_t y_row, int64_t y_step,
                 const flip_real *x, int64_t x_row, int64_t x_step, bool accumulate) {
    enum { FEW = 1 << 14 }; /* threads cost more than they save; a caller's own are enough */
    if (y_step == d && (!x || x_step == d)) { /* a row's steps are one stretch */
        d *= n;
        n = 1;
    }
    if (n == 1 && (m * d < FEW || omp_in_parallel())) {
        move_rows(m, d, y, y_row, x, x_row, accumulate);
        return;
    }
#pragma omp parallel for schedule(static) if (m * n * d >= FEW && !omp_in_parallel())
    for (int64_t i = 0; i < m; i++)
        move_rows(n, d, y + i * y_row, y_step, x ? x + i * x_row : NULL, x_step, accumulate);
}

static void add_doubles(int64_t n, double *y, const double *x) {
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void add_rounded(int64_t n, flip_real *y, const double *x) {
    for (int64_t i = 0; i < n; i++)
        y[i] += (flip_real)x[i];
}

/* ---- TM-GCN's band ---- */

enum { COLUMNS = 64 }; /* whose rests are held at once */

/* A row's band. */
typedef struct row {
    const flip_band_steps *band;
    const flip_real *before, *x;
    flip_real *y;
} row;

static const flip_real *step_of(const row *r, int32_t t) {
    const flip_band_steps *b = r->band;
    int32_t at = t - b->first;
    return at < 0 ? r->before + (int64_t)(at + b->earlier) * b->dim : r->x + (int64_t)at * b->dim;
}

static void add(int32_t n, flip_real *to, const flip_real *from) {
    for (int32_t j = 0; j < n; j++)
        to[j] += from[j];
}

/* y_t = x_cut + … + x_t for t = begin … end-1 of the piece that begins at cut. */
static void sum_heads(const row *r, int32_t cut, int32_t begin, int32_t end) {
    const int32_t dim = r->band->dim;
    flip_real *y = r->y + (int64_t)(begin - r->band->first) * dim;
    memset(y, 0, (size_t)dim * sizeof *y);
    for (int32_t k = cut; k <= begin; k++)
        add(dim, y, step_of(r, k));
    for (int32_t t = begin + 1; t < end; t++, y += dim) {
        const flip_real *x = step_of(r, t);
        for (int32_t j = 0; j < dim; j++)
            y[dim + j] = y[j] + x[j];
    }
}

/* The rests of the piece before, which grow as t descends, are added to columns from … from+n-1. */
static void add_rests(const row *r, int32_t cut, int32_t begin, int32_t end, int32_t from,
                      int32_t n) {
    const int32_t w = r->band->window;
    flip_real rest[COLUMNS];
    int32_t at = cut; /* rest = x_at + … + x_(cut-1) */
    for (int32_t t = end - 1; t >= begin; t--) {
        const int32_t low = t - w + 1 > 0 ? t - w + 1 : 0;
        flip_real *y = r->y + (int64_t)(t - r->band->first) * r->band->dim + from;
        flip_real scale = 1 / (flip_real)(w < t + 1 ? w : t + 1);
        for (; at > low; at--) {
            const flip_real *x = step_of(r, at - 1) + from;
            for (int32_t j = 0; j < n; j++)
                rest[j] = at == cut ? x[j] : x[j] + rest[j];
        }
        for (int32_t j = 0; j < n; j++)
            y[j] = scale * (at < cut ? rest[j] + y[j] : y[j]);
    }
}

/* No subtraction, three additions a value. Cuts are the timeline's, so that blocks and chunks do
 * not change a bit. */
static void band_row(const row *r) {
    const flip_band_steps *b = r->band;
    const int32_t last = b->first + b->steps;
    for (int32_t begin = b->first; begin < last;) {
        int32_t cut = begin / b->window * b->window;
        int32_t end = cut + b->window < last ? cut + b->window : last;
        sum_heads(r, cut, begin, end);
        for (int32_t from = 0; from < b->dim; from += COLUMNS)
            add_rests(r, cut, begin, end, from, b->dim - from < COLUMNS ? b->dim - from : COLUMNS);
        begin = end;
    }
}

static void band_sums(const flip_band_steps *b, flip_real *y, const flip_real *before,
                      const flip_real *x) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < b->rows; i++) {
        int64_t at = i * b->steps * b->dim;
        row r = {b, before ? before + i * b->earlier * b->dim : NULL, x + at, y + at};
        band_row(&r);
    }
}

/* Gradient of step k, which may be an earlier one: from these steps. */
static void gradient_of_step(const flip_band_steps *b, const flip_real *dy, int32_t k,
                             flip_real *dx) {
    int32_t last = b->first + b->steps - 1;
    for (int32_t t = k < b->first ? b->first : k; t <= last && t < k + b->window; t++) {
        flip_real m = 1 / (flip_real)(b->window < t + 1 ? b->window : t + 1);
        const flip_real *from = dy + (int64_t)(t - b->first) * b->dim;
        for (int32_t j = 0; j < b->dim; j++)
            dx[j] += m * from[j];
    }
}

static void band_sums_back(const flip_band_steps *b, const flip_real *dy, flip_real *dbefore,
                           flip_real *dx, bool accumulate) {
    size_t bytes = (size_t)b->dim * sizeof *dx;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < b->rows; i++) {
        const flip_real *from = dy + i * b->steps * b->dim;
        for (int32_t k = -b->earlier; k < b->steps; k++) {
            flip_real *to = k < 0 ? dbefore + (i * b->earlier + k + b->earlier) * b->dim
                                  : dx + (i * b->steps + k) * b->dim;
            if (k < 0 || !accumulate) memset(to, 0, bytes);
            gradient_of_step(b, from, b->first + k, to);
        }
    }
}

/* ---- rows by number ---- */

enum {
    AHEAD = 16,
    LINE = 64 /* bytes */
};            /* rows asked for early: where they lie is not to guess */

static inline void ask_for(const flip_real *row, int64_t dim) {
    for (int64_t j = 0; j < dim; j += LINE / (int64_t)sizeof *row)
        __builtin_prefetch(row + j);
}

static inline const flip_real *row_of(int32_t at, int64_t dim, const flip_real *x,
                                      const flip_real *halo) {
    return at < 0 ? halo + (-1 - (int64_t)at) * dim : x + at * dim;
}

static void gather_rows(int64_t n, int64_t dim, flip_real *z, int64_t ldz, const int32_t *index,
                        const flip_real *x, const flip_real *halo) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < n) ask_for(row_of(index[i + AHEAD], dim, x, halo), dim);
        memcpy(z + i * ldz, row_of(index[i], dim, x, halo), (size_t)dim * sizeof *z);
    }
}

static void add_to_rows(int64_t n, int64_t dim, flip_real *y, const int32_t *to, const int32_t *ptr,
                        const int32_t *index, const flip_real *x) {
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < n; i++)
        for (int32_t k = ptr[i]; k < ptr[i + 1]; k++) {
            if (k + AHEAD < ptr[n]) ask_for(x + index[k + AHEAD] * dim, dim);
            flip_real *sum = y + to[i] * dim;
            const flip_real *from = x + index[k] * dim;
            for (int64_t j = 0; j < dim; j++)
                sum[j] += from[j];
        }
}

static void pair_dot(int64_t m, int64_t d, const flip_real *z, flip_real *s) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        const flip_real *u = z + i * 2 * d, *v = u + d;
        flip_real sum = 0;
        for (int64_t j = 0; j < d; j++)
            sum += u[j] * v[j];
        s[i] = sum;
    }
}

static void pair_dot_back(int64_t m, int64_t d, const flip_real *z, const flip_real *ds,
                          flip_real *dz, bool accumulate) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < 2 * d; j++) {
            flip_real other = z[i * 2 * d + (j < d ? j + d : j - d)];
            flip_real *to = dz + i * 2 * d + j;
            *to = (accumulate ? *to : 0) + ds[i] * other;
        }
}

void flip_kernels_use_steps(flip_kernels *table) {
    table->move = move;
    table->add_doubles = add_doubles;
    table->add_rounded = add_rounded;
    table->band_sums = band_sums;
    table->band_sums_back = band_sums_back;
    table->gather_rows = gather_rows;
    table->add_to_rows = add_to_rows;
    table->pair_dot = pair_dot;
    table->pair_dot_back = pair_dot_back;
}

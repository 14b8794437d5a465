/* Tables of least squared error (Lloyd 1982; Max 1960): a table a column, or columns brought to
 * mean 0 and deviation 1 and one table for all. */
#include "codec/internal.h"

enum {
    ROUNDS = 300,
    CHUNKS = 1024, /* of the first guess */
    POOL = 1 << 20 /* numbers that a shared table is learned from */
};

/* ---- one table ------------------------------------------------------------------------------
 * On sorted numbers a round is a few binary searches: levels' midpoints cut x into cells, and sums
 * of cells are differences of running sums. */

/* Fewer values than levels: they are the table, the last one repeated. */
static bool take_distinct(float *level, int32_t length, const float *x, int64_t n) {
    int32_t found = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i > 0 && x[i] == x[i - 1]) continue;
        if (found == length) return false;
        level[found++] = x[i];
    }
    for (int32_t l = found; l < length; l++)
        level[l] = x[n - 1];
    return true;
}

/* Levels as dense as the cube root of x's density (Panter and Dite 1951): chunks of equal count
 * get a share of width^(2/3). */
static void guess(double *level, int32_t length, const float *x, int64_t n) {
    double share[CHUNKS + 1];
    int32_t chunks = (int32_t)flip_codec_min(CHUNKS, n - 1);
    share[0] = 0;
    for (int32_t i = 0; i < chunks; i++) {
        double width = (double)x[(i + 1) * (n - 1) / chunks] - (double)x[i * (n - 1) / chunks];
        share[i + 1] = share[i] + cbrt(width * width);
    }
    int32_t at = 0;
    for (int32_t l = 0; l < length; l++) {
        double want = ((double)l + 0.5) / length * share[chunks];
        while (at < chunks - 1 && share[at + 1] < want)
            at++;
        double low = (double)x[at * (n - 1) / chunks],
               high = (double)x[(at + 1) * (n - 1) / chunks];
        double part = share[at + 1] - share[at];
        level[l] = low + (part > 0 ? (want - share[at]) / part * (high - low) : 0);
    }
}

/* How many of x are at most `limit`. */
static int64_t at_most(const float *x, int64_t n, double limit) {
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if ((double)x[middle] <= limit)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* One round; returns the farthest move. */
static double improve(double *level, int32_t length, const float *x, const double *sum, int64_t n) {
    double farthest = 0, before = level[0];
    int64_t first = 0;
    for (int32_t l = 0; l < length; l++) {
        double here = level[l];
        int64_t end = l + 1 < length ? at_most(x, n, (here + level[l + 1]) / 2) : n;
        if (end > first) level[l] = (sum[end] - sum[first]) / (double)(end - first);
        level[l] = fmax(level[l], l > 0 ? before : level[l]);
        farthest = fmax(farthest, fabs(level[l] - here));
        before = level[l];
        first = end > first ? end : first;
    }
    return farthest;
}

flip_status flip_lloyd(float *out, int32_t length, float *x, int64_t n) {
    double level[256], *sum;
    if (take_distinct(out, length, x, n)) return FLIP_OK;
    FLIP_TRY(flip_alloc(&sum, (size_t)n + 1, sizeof *sum, "running sums"));
    sum[0] = 0;
    for (int64_t i = 0; i < n; i++)
        sum[i + 1] = sum[i] + (double)x[i];
    guess(level, length, x, n);
    double still = 1e-7 * ((double)x[n - 1] - (double)x[0]);
    for (int round = 0; round < ROUNDS; round++)
        if (improve(level, length, x, sum, n) <= still) break;
    for (int32_t l = 0; l < length; l++)
        out[l] = (float)level[l];
    flip_free(sum);
    return FLIP_OK;
}

/* Squared error of sorted x under ascending levels start + step * level. */
static double table_error(const float *level, int32_t length, const float *x, int64_t n,
                          double start, double step) {
    double sum = 0;
    int32_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        double here = start + step * (double)level[at] - (double)x[i];
        while (at + 1 < length) {
            double next = start + step * (double)level[at + 1] - (double)x[i];
            if (fabs(next) > fabs(here)) break;
            here = next;
            at++;
        }
        sum += here * here;
    }
    return sum;
}

void flip_whole_levels(float *level, int32_t length, const float *x, int64_t n, double *start,
                       double *step) {
    enum { TOP = 127 };
    float whole[256];
    double low = (double)level[0], range = (double)level[length - 1] - low;
    *start = 0;
    *step = 1;
    if (range <= 0) return;
    for (int32_t l = 0; l < length; l++)
        whole[l] = (float)round(((double)level[l] - low) / range * TOP);
    double old = table_error(level, length, x, n, 0, 1);
    if (table_error(whole, length, x, n, low, range / TOP) > 1.05 * old) return;
    memcpy(level, whole, (size_t)length * sizeof *level);
    *start = low;
    *step = range / TOP;
}

/* ---- a table a column -----------------------------------------------------------------------
 */

static flip_status column_table(flip_codec *c, const flip_codec_sample *s, int32_t j) {
    float *x, *level = c->level + ((size_t)j << c->packing.bits);
    FLIP_TRY(flip_alloc(&x, (size_t)s->n * 2, sizeof *x, "a column"));
    for (int64_t i = 0; i < s->n; i++)
        x[i] = s->x[i * s->dim + j];
    flip_sort_floats(x, x + s->n, (size_t)s->n);
    flip_status status = flip_lloyd(level, 1 << c->packing.bits, x, s->n);
    flip_free(x);
    return status;
}

static flip_status column_tables(flip_codec *c, const flip_codec_sample *s) {
    size_t levels = (size_t)1 << c->packing.bits;
    flip_status status = FLIP_OK;
    c->packing.column_levels = true;
    FLIP_TRY(flip_alloc(&c->level, levels * (size_t)s->dim, sizeof(float), "levels"));
    flip_codec_tell(s, "tables", 0);
#pragma omp parallel for schedule(dynamic)
    for (int32_t j = 0; j < s->dim; j++) {
        flip_status mine = column_table(c, s, j);
#pragma omp critical
        if (mine != FLIP_OK) status = mine;
    }
    flip_halves(c->level, levels * (size_t)s->dim, levels);
    return status;
}

/* ---- one table for all ----------------------------------------------------------------------
 */

static void measure_column(flip_codec *c, const flip_codec_sample *s, int32_t j) {
    double mean = 0, square = 0;
    for (int64_t i = 0; i < s->n; i++)
        mean += (double)s->x[i * s->dim + j];
    mean /= (double)s->n;
    for (int64_t i = 0; i < s->n; i++) {
        double apart = (double)s->x[i * s->dim + j] - mean;
        square += apart * apart;
    }
    c->offset[j] = (float)mean;
    c->scale[j] = (float)sqrt(square / (double)s->n);
}

static flip_status shared_table(flip_codec *c, const flip_codec_sample *s) {
    float *pool;
    int64_t all = s->n * s->dim, step = (all + POOL - 1) / POOL, n = 0;
    if (step > 1 && s->dim % step == 0) step++; /* else a few columns alone */
    FLIP_TRY(flip_alloc(&c->offset, (size_t)s->dim, sizeof(float), "offsets"));
    FLIP_TRY(flip_alloc(&c->scale, (size_t)s->dim, sizeof(float), "scales"));
    FLIP_TRY(flip_alloc(&c->level, (size_t)1 << c->packing.bits, sizeof(float), "levels"));
    FLIP_TRY(flip_alloc(&pool, (size_t)(all / step + 1) * 2, sizeof *pool, "a pool of numbers"));
    flip_codec_tell(s, "deviations", 0);
#pragma omp parallel for schedule(dynamic)
    for (int32_t j = 0; j < s->dim; j++)
        measure_column(c, s, j);
    flip_codec_tell(s, "tables", 0.5);
    for (int64_t i = 0; i < all; i += step) {
        int64_t j = i % s->dim;
        if (c->scale[j] > 0) pool[n++] = (s->x[i] - c->offset[j]) / c->scale[j];
    }
    if (n == 0) pool[n++] = 0; /* every column is constant */
    flip_sort_floats(pool, pool + n, (size_t)n);
    flip_status status = flip_lloyd(c->level, 1 << c->packing.bits, pool, n);
    double start = 0, unit = 1;
    if (status == FLIP_OK && c->packing.bits <= 4)
        flip_whole_levels(c->level, 1 << c->packing.bits, pool, n, &start, &unit);
    else
        flip_halves(c->level, (size_t)1 << c->packing.bits, (size_t)1 << c->packing.bits);
    for (int32_t j = 0; j < s->dim; j++) {
        c->offset[j] = (float)((double)c->offset[j] + (double)c->scale[j] * start);
        c->scale[j] = (float)((double)c->scale[j] * unit);
    }
    flip_free(pool);
    return status;
}

flip_status flip_codec_make_lloyd(flip_codec **codec, const char *name, const flip_codec_spec *spec,
                                  const flip_codec_sample *s) {
    FLIP_TRY(flip_codec_create(codec, name, s->dim, FLIP_PACKING_SCALAR, FLIP_RULE_NEAREST));
    (*codec)->packing.bits = spec->bits;
    FLIP_TRY(spec->shared ? shared_table(*codec, s) : column_tables(*codec, s));
    return flip_codec_finish(*codec);
}

flip_status flip_codec_of_levels(flip_codec **codec, int32_t dim, int32_t bits,
                                 const float *level) {
    char name[FLIP_CODEC_NAME] = {'l', 'l', 'o', 'y', 'd', ':', (char)('0' + bits)};
    size_t bytes = ((size_t)dim << bits) * sizeof(float);
    FLIP_TRY(flip_codec_create(codec, name, dim, FLIP_PACKING_SCALAR, FLIP_RULE_NEAREST));
    (*codec)->packing.bits = bits;
    (*codec)->packing.column_levels = true;
    FLIP_TRY(flip_alloc(&(*codec)->level, bytes, 1, "levels"));
    memcpy((*codec)->level, level, bytes);
    return flip_codec_finish(*codec);
}

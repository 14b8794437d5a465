/* generators: the same bytes for 1 to 4 ranks and any window, and the statistics they promise. */
#include <flipbook/container.h>
#include <flipbook/generate.h>
#include <datasets/generate.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static flip_comm *world;
static char folder[64];

#define OK(call)                                                                                   \
    do {                                                                                           \
        flip_status status_ = (call);                                                              \
        if (status_ != FLIP_OK) fail_msg("%s: %s", #call, flip_error_message());                   \
    } while (0)

static void path_of(char out[128], const char *name) {
    snprintf(out, 128, "%s/%s.h5", folder, name);
}

/* ---- the file as plain arrays ---- */

typedef struct file {
    int64_t n, n_events, n_steps;
    int64_t *ptr, *src;
    int32_t *step, *label, *event_label;
    float *weight, *features;
    int64_t n_features;
} file;

static void *column(flip_reader *r, const char *name, flip_type type, int64_t *width) {
    int64_t dims[3];
    void *out = NULL;
    if (!flip_reader_has(r, name)) return NULL;
    OK(flip_reader_shape(r, name, dims, NULL));
    if (width) *width = dims[1];
    int64_t values = dims[0] * (dims[1] ? dims[1] : 1);
    OK(flip_alloc(&out, (size_t)values + 1, flip_type_size(type), name));
    OK(flip_reader_rows(r, name, type, 0, dims[0], out));
    return out;
}

static file file_read(const char *path) {
    file f = {0};
    flip_reader *r = NULL;
    int64_t dims[3];
    OK(flip_reader_open(&r, NULL, path, "graph"));
    OK(flip_reader_attribute_i64(r, "/", "n_nodes", &f.n));
    OK(flip_reader_attribute_i64(r, "/", "n_steps", &f.n_steps));
    OK(flip_reader_shape(r, "events/src", dims, NULL));
    f.n_events = dims[0];
    f.ptr = column(r, "events/indptr", FLIP_TYPE_I64, NULL);
    f.src = column(r, "events/src", FLIP_TYPE_I64, NULL);
    f.step = column(r, "events/step", FLIP_TYPE_I32, NULL);
    f.weight = column(r, "events/weight", FLIP_TYPE_F32, NULL);
    f.event_label = column(r, "events/label", FLIP_TYPE_I32, NULL);
    f.label = column(r, "labels/class", FLIP_TYPE_I32, NULL);
    f.features = column(r, "features/values", FLIP_TYPE_F32, &f.n_features);
    flip_reader_close(&r);
    return f;
}

static void file_free(file *f) {
    void *all[] = {f->ptr, f->src, f->step, f->weight, f->event_label, f->label, f->features};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        flip_free(all[i]);
}

/* Pointers whole, rows in order of (step, source), ids and steps in range, no self loops. */
static void check_order(const file *f, bool unique) {
    assert_int_equal(f->ptr[0], 0);
    assert_int_equal(f->ptr[f->n], f->n_events);
    for (int64_t v = 0; v < f->n; v++)
        for (int64_t e = f->ptr[v]; e < f->ptr[v + 1]; e++) {
            int32_t step = f->step ? f->step[e] : 0;
            assert_in_range(f->src[e], 0, f->n - 1);
            assert_in_range(step, 0, f->n_steps - 1);
            assert_int_not_equal(f->src[e], v);
            if (e == f->ptr[v]) continue;
            int32_t before = f->step ? f->step[e - 1] : 0;
            bool rises = step > before || (step == before && f->src[e] > f->src[e - 1]);
            assert_true(rises || (!unique && step == before && f->src[e] == f->src[e - 1]));
        }
}

static bool has_event(const file *f, int64_t dst, int32_t step, int64_t src) {
    int64_t low = f->ptr[dst], high = f->ptr[dst + 1];
    while (low < high) {
        int64_t middle = (low + high) / 2;
        int32_t at = f->step ? f->step[middle] : 0;
        if (at < step || (at == step && f->src[middle] < src))
            low = middle + 1;
        else
            high = middle;
    }
    return low < f->ptr[dst + 1] && f->src[low] == src && (!f->step || f->step[low] == step);
}

static void check_symmetric(const file *f) {
    for (int64_t v = 0; v < f->n; v++)
        for (int64_t e = f->ptr[v]; e < f->ptr[v + 1]; e++)
            assert_true(has_event(f, f->src[e], f->step ? f->step[e] : 0, v));
}

/* ---- same bytes ---- */

static void generate(int kind, flip_comm *comm, const char *path) {
    flip_generate_counts counts;
    if (kind == 0) {
        flip_payments_params p = FLIP_PAYMENTS_DEFAULTS;
        p.common.n_nodes = 1501;
        p.common.n_splits = 3;
        OK(flip_generate_payments(comm, path, &p, &counts));
    } else if (kind == 1) {
        flip_sbm_params p = FLIP_SBM_DEFAULTS;
        p.common.n_nodes = 997;
        p.common.n_steps = 5;
        p.drift = .1;
        p.labels_change = true;
        OK(flip_generate_sbm(comm, path, &p, &counts));
    } else {
        flip_rmat_params p = FLIP_RMAT_DEFAULTS;
        p.common.n_nodes = 3000;
        p.common.n_steps = kind == 2 ? 1 : 6;
        p.growth = kind == 2 ? 0 : .3;
        p.n_edges = 20000;
        OK(flip_generate_rmat(comm, path, &p, &counts));
    }
}

static char *bytes_of(const char *path, size_t *size) {
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    fseek(in, 0, SEEK_END);
    *size = (size_t)ftell(in);
    rewind(in);
    char *bytes = malloc(*size + 1);
    assert_int_equal(fread(bytes, 1, *size, in), *size);
    fclose(in);
    return bytes;
}

static void assert_same_file(const char *left, const char *right) {
    size_t n, m;
    char *a = bytes_of(left, &n), *b = bytes_of(right, &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
}

static void same_bytes_for_any_ranks(void **state) {
    (void)state;
    int rank = flip_comm_rank(world);
    char one[128], many[128];
    path_of(one, "one");
    path_of(many, "many");
    for (int kind = 0; kind < 4; kind++) {
        flip_generate_window = 5000; /* several windows */
        for (int size = 1; size <= flip_comm_size(world); size++) {
            MPI_Comm group;
            MPI_Comm_split(flip_comm_mpi(world), rank < size ? 0 : MPI_UNDEFINED, rank, &group);
            if (group != MPI_COMM_NULL) {
                flip_comm *comm = NULL;
                OK(flip_comm_create(&comm, group));
                generate(kind, comm, size == 1 ? one : many);
                flip_comm_destroy(&comm);
                MPI_Comm_free(&group);
            }
            if (rank == 0 && size > 1) assert_same_file(one, many);
        }
        flip_generate_window = 4 << 20;
        MPI_Barrier(flip_comm_mpi(world));
        if (rank != 0) continue;
        generate(kind, NULL, many); /* one window: the same contents, if not the same bytes */
        file a = file_read(one), b = file_read(many);
        assert_int_equal(a.n_events, b.n_events);
        assert_memory_equal(a.ptr, b.ptr, sizeof *a.ptr * (size_t)(a.n + 1));
        assert_memory_equal(a.src, b.src, sizeof *a.src * (size_t)a.n_events);
        check_order(&a, kind != 0);
        if (kind != 0) check_symmetric(&a);
        file_free(&a);
        file_free(&b);
    }
}

static void seeds_differ(void **state) {
    (void)state;
    if (flip_comm_rank(world) != 0) return;
    char path[128];
    int64_t events[2], first[2];
    flip_generate_counts counts;
    path_of(path, "seed");
    for (int seed = 0; seed < 2; seed++) {
        flip_sbm_params p = FLIP_SBM_DEFAULTS;
        p.common.seed = (uint64_t)seed;
        OK(flip_generate_sbm(NULL, path, &p, &counts));
        file f = file_read(path);
        events[seed] = f.n_events;
        first[seed] = f.src[0] * 31 + f.src[1] * 7 + f.src[2];
        file_free(&f);
    }
    assert_true(events[0] != events[1] || first[0] != first[1]);
}

/* ---- statistics ---- */

static void sbm_has_its_degrees(void **state) {
    (void)state;
    if (flip_comm_rank(world) != 0) return;
    char path[128];
    flip_sbm_params p = FLIP_SBM_DEFAULTS;
    flip_generate_counts counts;
    path_of(path, "sbm");
    OK(flip_generate_sbm(NULL, path, &p, &counts));
    file f = file_read(path);
    double inside = 0;
    for (int64_t v = 0; v < f.n; v++)
        for (int64_t e = f.ptr[v]; e < f.ptr[v + 1]; e++)
            inside += f.label[v] == f.label[f.src[e]];
    inside /= (double)f.n;
    double outside = (double)f.n_events / (double)f.n - inside;
    assert_true(fabs(inside - 8) < .1);
    assert_true(fabs(outside - 2) < .05);
    int64_t size[10] = {0};
    for (int64_t v = 0; v < f.n; v++)
        size[f.label[v]]++;
    for (int b = 0; b < 10; b++)
        assert_in_range(size[b], 850, 1150);
    file_free(&f);
}

static void sbm_drifts(void **state) {
    (void)state;
    if (flip_comm_rank(world) != 0) return;
    char path[128];
    flip_sbm_params p = FLIP_SBM_DEFAULTS;
    flip_generate_counts counts;
    int64_t dims[3];
    p.common.n_steps = 11;
    p.drift = .05;
    p.labels_change = true;
    path_of(path, "drift");
    OK(flip_generate_sbm(NULL, path, &p, &counts));
    flip_reader *r = NULL;
    OK(flip_reader_open(&r, NULL, path, "graph"));
    OK(flip_reader_shape(r, "labels/node", dims, NULL));
    /* one row a node and one for each of 10 chances of .05 to move */
    double moves = (double)(dims[0] - p.common.n_nodes) / (double)p.common.n_nodes;
    assert_true(fabs(moves - .5) < .03);
    flip_reader_close(&r);
}

static void rmat_is_skewed_and_grows(void **state) {
    (void)state;
    if (flip_comm_rank(world) != 0) return;
    char path[128];
    flip_rmat_params p = FLIP_RMAT_DEFAULTS;
    flip_generate_counts counts;
    p.common.n_steps = 4;
    p.growth = .5;
    path_of(path, "rmat");
    OK(flip_generate_rmat(NULL, path, &p, &counts));
    file f = file_read(path);
    int64_t most = 0, at[4] = {0}, alive = 0;
    char *seen = calloc((size_t)f.n, 1);
    for (int64_t v = 0; v < f.n; v++) {
        int64_t degree = f.ptr[v + 1] - f.ptr[v];
        most = degree > most ? degree : most;
        for (int64_t e = f.ptr[v]; e < f.ptr[v + 1]; e++) {
            at[f.step[e]]++;
            if (f.step[e] == 0) seen[v] = 1;
        }
    }
    for (int64_t v = 0; v < f.n; v++)
        alive += seen[v];
    assert_true((double)most > 20. * (double)f.n_events / (double)f.n);
    for (int t = 1; t < 4; t++)
        assert_true(fabs((double)at[t] / (double)at[t - 1] - 1.5) < .15);
    assert_true((double)alive < (double)f.n * pow(1.5, -3) + 1);
    free(seen);
    file_free(&f);
}

/* ---- payments: can be learned, but not from one column ---- */

typedef struct scored {
    double score;
    int32_t label;
} scored;

static int by_score(const void *left, const void *right) {
    double a = ((const scored *)left)->score, b = ((const scored *)right)->score;
    return (a > b) - (a < b);
}

/* Area under the ROC curve: the chance that a fraud account scores above a normal one. */
static double auc(const double *score, const int32_t *label, int64_t n) {
    scored *all = malloc(sizeof *all * (size_t)n);
    double ranks = 0, positive = 0;
    for (int64_t i = 0; i < n; i++)
        all[i] = (scored){score[i], label[i]};
    qsort(all, (size_t)n, sizeof *all, by_score);
    for (int64_t i = 0, j; i < n; i = j) {
        for (j = i; j < n && all[j].score == all[i].score; j++)
            ;
        for (int64_t k = i; k < j; k++)
            if (all[k].label) {
                ranks += (double)(i + j + 1) / 2;
                positive++;
            }
    }
    free(all);
    return (ranks - positive * (positive + 1) / 2) / (positive * ((double)n - positive));
}

/* Logistic regression by plain gradient descent on the even nodes; AUC on the odd ones. */
static double probe(const double *x, int64_t width, const int32_t *label, int64_t n) {
    double *w = calloc((size_t)width + 1, sizeof *w), *g = calloc((size_t)width + 1, sizeof *g);
    double *score = malloc(sizeof *score * (size_t)n);
    int32_t *odd = malloc(sizeof *odd * (size_t)n);
    int64_t m = 0;
    for (int pass = 0; pass < 150; pass++) {
        memset(g, 0, sizeof *g * (size_t)(width + 1));
        for (int64_t v = 0; v < n; v += 2) {
            double z = w[width];
            for (int64_t j = 0; j < width; j++)
                z += w[j] * x[v * width + j];
            double slope = (1 / (1 + exp(-z)) - label[v]) * (label[v] ? 10 : 1);
            for (int64_t j = 0; j < width; j++)
                g[j] += slope * x[v * width + j];
            g[width] += slope;
        }
        for (int64_t j = 0; j <= width; j++)
            w[j] -= 1. * g[j] / ((double)n / 2);
    }
    for (int64_t v = 1; v < n; v += 2, m++) {
        score[m] = 0;
        odd[m] = label[v];
        for (int64_t j = 0; j < width; j++)
            score[m] += w[j] * x[v * width + j];
    }
    double area = auc(score, odd, m);
    free(w);
    free(g);
    free(score);
    free(odd);
    return area;
}

/* own features, and the means over payers and over those payers' payers */
static double *with_neighbours(const file *f) {
    int64_t n = f->n, d = f->n_features, w = 3 * d;
    double *x = calloc((size_t)(n * w), sizeof *x);
    for (int64_t v = 0; v < n; v++)
        for (int64_t j = 0; j < d; j++)
            x[v * w + j] = f->features[v * d + j];
    for (int hop = 1; hop < 3; hop++)
        for (int64_t v = 0; v < n; v++)
            for (int64_t e = f->ptr[v]; e < f->ptr[v + 1]; e++)
                for (int64_t j = 0; j < d; j++)
                    x[v * w + hop * d + j] +=
                        x[f->src[e] * w + (hop - 1) * d + j] / (double)(f->ptr[v + 1] - f->ptr[v]);
    return x;
}

static void payments_can_be_learned(void **state) {
    (void)state;
    if (flip_comm_rank(world) != 0) return;
    char path[128];
    flip_payments_params p = FLIP_PAYMENTS_DEFAULTS;
    flip_generate_counts counts;
    path_of(path, "payments");
    OK(flip_generate_payments(NULL, path, &p, &counts));
    file f = file_read(path);
    check_order(&f, false);
    int64_t n = f.n, d = f.n_features, laundering = 0;
    double *one = malloc(sizeof *one * (size_t)n), *own = malloc(sizeof *own * (size_t)(n * d));
    double *x = with_neighbours(&f), best = 0, degree;
    for (int64_t j = 0; j < d; j++) {
        for (int64_t v = 0; v < n; v++)
            own[v * d + j] = one[v] = f.features[v * d + j];
        double area = auc(one, f.label, n);
        best = fmax(best, fmax(area, 1 - area));
    }
    for (int64_t v = 0; v < n; v++)
        one[v] = (double)(f.ptr[v + 1] - f.ptr[v]);
    degree = auc(one, f.label, n);
    for (int64_t e = 0; e < f.n_events; e++) {
        laundering += f.event_label[e];
        assert_true(f.weight[e] > 0 && f.weight[e] < 1000);
    }
    double alone = probe(own, d, f.label, n), together = probe(x, 3 * d, f.label, n);
    printf("# payments: %lld fraud of %lld accounts, %.1f %% of %lld events launder; AUC of the "
           "best column %.3f, in-degree %.3f, own columns %.3f, with two hops of payers %.3f\n",
           (long long)counts.n_fraud, (long long)n, 100. * (double)laundering / (double)f.n_events,
           (long long)f.n_events, best, degree, alone, together);
    assert_true(best < .7);
    assert_true(degree < .8);
    assert_true(alone < .82);
    assert_true(together > .85);
    assert_true(together - alone > .05);
    assert_in_range(counts.n_fraud, n / 40, n / 10);
    free(one);
    free(own);
    free(x);
    file_free(&f);
}

static void splits_have_their_shares(void **state) {
    (void)state;
    if (flip_comm_rank(world) != 0) return;
    char path[128];
    flip_sbm_params p = FLIP_SBM_DEFAULTS;
    flip_generate_counts counts;
    flip_reader *r = NULL;
    p.common.n_splits = 2;
    path_of(path, "splits");
    OK(flip_generate_sbm(NULL, path, &p, &counts));
    OK(flip_reader_open(&r, NULL, path, "graph"));
    int64_t width = 0, count[2][3] = {{0}}, both = 0;
    int8_t *split = column(r, "splits", FLIP_TYPE_I8, &width);
    assert_int_equal(width, p.common.n_nodes);
    for (int64_t v = 0; v < 2 * width; v++) {
        assert_in_range(split[v], 0, 2);
        count[v / width][split[v]]++;
        both += v < width && split[v] == 0 && split[v + width] == 0;
    }
    for (int k = 0; k < 2; k++) {
        assert_in_range(count[k][0], width / 5 - 200, width / 5 + 200);
        assert_in_range(count[k][1], width / 5 - 200, width / 5 + 200);
    }
    assert_in_range(both, width / 25 - 100, width / 25 + 100); /* independent */
    flip_free(split);
    flip_reader_close(&r);
}

/* With a spectrum, columns have variance 1 on average, are not independent, and the largest
 * principal axis (by power iteration) has the share it is to have; columns alone hardly differ. */
static void spectrum_is_drawn(void **state) {
    (void)state;
    enum { D = 24 };
    char path[128];
    double covariance[D][D] = {{0}}, axis[D], next[D], total = 0, wanted = 0, value = 0, most = 0;
    flip_generate_counts counts;
    path_of(path, "spectrum");
    flip_sbm_params p = FLIP_SBM_DEFAULTS;
    p.common.n_nodes = 20000;
    p.common.n_features = D;
    p.common.signal = 0;
    p.common.spectrum = 1;
    OK(flip_generate_sbm(world, path, &p, &counts));
    if (flip_comm_rank(world) != 0) return;
    file f = file_read(path);
    for (int64_t v = 0; v < f.n; v++)
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++)
                covariance[i][j] +=
                    (double)(f.features[v * D + i] * f.features[v * D + j]) / (double)f.n;
    for (int i = 0; i < D; i++) {
        total += covariance[i][i];
        wanted += 1.0 / (i + 1);
        axis[i] = 1 + i % 3;
        most = covariance[i][i] > most ? covariance[i][i] : most;
    }
    for (int k = 0; k < 200; k++) {
        value = 0;
        for (int i = 0; i < D; i++) {
            next[i] = 0;
            for (int j = 0; j < D; j++)
                next[i] += covariance[i][j] * axis[j];
            value += next[i] * next[i];
        }
        value = sqrt(value);
        for (int i = 0; i < D; i++)
            axis[i] = next[i] / value;
    }
    assert_true(fabs(total / D - 1) < 0.05);
    assert_true(fabs(value - D / wanted) < 0.06 * D / wanted);
    assert_true(most < 0.6 * value); /* no column is the axis */
    file_free(&f);
}

static void bad_parameters_are_named(void **state) {
    (void)state;
    if (flip_comm_rank(world) != 0) return;
    char path[128];
    flip_generate_counts counts;
    path_of(path, "bad");
    flip_sbm_params p = FLIP_SBM_DEFAULTS;
    p.drift = 1.5;
    assert_int_equal(flip_generate_sbm(NULL, path, &p, &counts), FLIP_ERROR_USAGE);
    assert_string_equal(flip_error_message(), "--drift is 1.5; it must be from 0 to 1");
    flip_error_clear();
    p = (flip_sbm_params)FLIP_SBM_DEFAULTS;
    p.common.train = .8;
    p.common.valid = .3;
    assert_int_equal(flip_generate_sbm(NULL, path, &p, &counts), FLIP_ERROR_USAGE);
    assert_string_equal(flip_error_message(), "--train 0.8 and --valid 0.3 add up to more than 1");
    flip_error_clear();
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    if (flip_comm_create(&world, MPI_COMM_WORLD) != FLIP_OK) return 1;
    if (flip_comm_rank(world) == 0) {
        snprintf(folder, sizeof folder, "/tmp/flip_t120_XXXXXX");
        if (!mkdtemp(folder)) return 1;
    }
    MPI_Bcast(folder, sizeof folder, MPI_BYTE, 0, MPI_COMM_WORLD);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes_for_any_ranks), cmocka_unit_test(seeds_differ),
        cmocka_unit_test(sbm_has_its_degrees),      cmocka_unit_test(sbm_drifts),
        cmocka_unit_test(rmat_is_skewed_and_grows), cmocka_unit_test(payments_can_be_learned),
        cmocka_unit_test(splits_have_their_shares), cmocka_unit_test(spectrum_is_drawn),
        cmocka_unit_test(bad_parameters_are_named)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[128];
    if (flip_comm_rank(world) == 0) {
        snprintf(command, sizeof command, "rm -rf '%s'", folder);
        if (system(command) != 0) failed++;
    }
    flip_comm_destroy(&world);
    MPI_Finalize();
    return failed;
}

/* Dense stand-ins for sparse features: the first columns of a principal component analysis.
 *
 *   project GRAPH.h5 OUT.npy COLUMNS [SEED]
 *
 * Rows of GRAPH, centred, times the leading axes of their covariance, in the order of the original
 * ids; float32. The axes come from orthogonal iteration on the covariance with a seeded start
 * (Golub and Van Loan, Matrix Computations, section 8.2.4). One process; needs room for the dense
 * features and a square of their columns. */
#include <flipbook.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ITERATIONS = 60 };

/* Columns of q [n, k] become orthonormal, one after the other, twice for the digits. */
static void orthonormalise(double *q, int n, int k) {
    for (int j = 0; j < k; j++)
        for (int again = 0; again < 2; again++) {
            for (int i = 0; i < j; i++) {
                double along = 0;
                for (int r = 0; r < n; r++)
                    along += q[r * k + i] * q[r * k + j];
                for (int r = 0; r < n; r++)
                    q[r * k + j] -= along * q[r * k + i];
            }
            double length = 0;
            for (int r = 0; r < n; r++)
                length += q[r * k + j] * q[r * k + j];
            for (int r = 0; r < n; r++)
                q[r * k + j] /= sqrt(length);
        }
}

/* out [n, k] = c [n, n] q [n, k] */
static void multiply(const double *c, const double *q, double *out, int n, int k) {
#pragma omp parallel for schedule(static)
    for (int r = 0; r < n; r++) {
        memset(out + r * k, 0, (size_t)k * sizeof *out);
        for (int i = 0; i < n; i++)
            for (int j = 0; j < k; j++)
                out[r * k + j] += c[r * n + i] * q[i * k + j];
    }
}

static void covariance(const flip_real *x, int64_t rows, int n, double *mean, double *c) {
    for (int64_t v = 0; v < rows; v++)
        for (int j = 0; j < n; j++)
            mean[j] += (double)x[v * n + j] / (double)rows;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < n; i++)
        for (int64_t v = 0; v < rows; v++) {
            double xi = (double)x[v * n + i];
            if (xi == 0) continue; /* bags of words: most are */
            for (int j = 0; j < n; j++)
                c[i * n + j] += xi * (double)x[v * n + j];
        }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            c[i * n + j] = c[i * n + j] / (double)rows - mean[i] * mean[j];
}

static int write_npy(const char *path, int64_t rows, int k, const float *values) {
    char header[128];
    FILE *f = fopen(path, "wb");
    if (!f) return 1;
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
    int n = snprintf(header + 10, 118,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %d), }",
                     (long long)rows, k);
    header[10 + n] = ' ';
    header[127] = '\n';
    size_t done = fwrite(header, sizeof header, 1, f) +
                  fwrite(values, sizeof *values * (size_t)k, (size_t)rows, f);
    return (fclose(f) != 0) | (done != 1 + (size_t)rows);
}

static flip_status project(const char *path, const char *to, int k, uint64_t seed) {
    flip_graph *graph = NULL;
    FLIP_TRY(flip_graph_open(&graph, NULL, path, NULL));
    const flip_graph_info *about = flip_graph_about(graph);
    const flip_real *x = flip_graph_features(graph);
    const int n = about->n_features;
    const int64_t rows = about->n_nodes, *original = flip_graph_original(graph);
    if (!x || about->features_change || k < 1 || k > n)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "'%s' has %d constant columns; %d are asked for", path,
                         n, k);
    double *mean = calloc((size_t)n, sizeof *mean), *c = calloc((size_t)n * (size_t)n, sizeof *c);
    double *q = calloc((size_t)n * (size_t)k, sizeof *q),
           *p = calloc((size_t)n * (size_t)k, sizeof *p);
    float *out = calloc((size_t)rows * (size_t)k, sizeof *out);
    if (!mean || !c || !q || !p || !out)
        return FLIP_FAIL(FLIP_ERROR_MEMORY, "no room for %d columns", n);
    covariance(x, rows, n, mean, c);
    for (int i = 0; i < n * k; i++)
        q[i] = flip_random_normal(seed, FLIP_STREAM_TEST, 0, (uint64_t)i);
    orthonormalise(q, n, k);
    for (int t = 0; t < ITERATIONS; t++) {
        multiply(c, q, p, n, k);
        memcpy(q, p, (size_t)n * (size_t)k * sizeof *q);
        orthonormalise(q, n, k);
    }
#pragma omp parallel for schedule(static)
    for (int64_t v = 0; v < rows; v++)
        for (int i = 0; i < n; i++)
            for (int j = 0; j < k; j++)
                out[original[v] * k + j] +=
                    (float)(((double)x[v * n + i] - mean[i]) * q[i * k + j]);
    int failed = write_npy(to, rows, k, out);
    flip_graph_close(&graph);
    free(mean);
    free(c);
    free(q);
    free(p);
    free(out);
    return failed ? FLIP_FAIL(FLIP_ERROR_IO, "cannot write '%s'", to) : FLIP_OK;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: project GRAPH.h5 OUT.npy COLUMNS [SEED]\n");
        return 2;
    }
    MPI_Init(&argc, &argv);
    flip_status status =
        project(argv[1], argv[2], atoi(argv[3]), argc > 4 ? strtoull(argv[4], NULL, 10) : 0);
    if (status != FLIP_OK) fprintf(stderr, "project: %s\n", flip_error_message());
    MPI_Finalize();
    return status == FLIP_OK ? 0 : 1;
}

/* flipbook bench kernels|transfer|exchange: what this machine reaches of its limits. */
#include "cli/bench.h"
#include "cli/commands.h"
#include "cli/options.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char flip_help_bench[] =
    "Usage: flipbook bench kernels|transfer|exchange [options]\n"
    "\n"
    "kernels    sparse and dense products, dropout, masks and Adam for every instruction set of\n"
    "           this machine, beside its copy and multiply limits; then neighbours' rows gathered\n"
    "           from tables of fp32 and of packed rows\n"
    "transfer   copies of blocks of several sizes to the device's memory; then the snapshots of a\n"
    "           payment network, each sent whole and as the difference from the one before\n"
    "exchange   rows between ranks' hosts by the exchange plan, both ways (under mpirun)\n"
    "\n"
    "  --threads N   default: OMP_NUM_THREADS, or one a core\n"
    "  --rows N      rows of the tall matrices (kernels: 200000) or of a rank (exchange: 100000)\n"
    "  --table N     rows of the gathered table (kernels: 4000000, 3 GB; 0 = leave it out)\n"
    "  --accounts N --steps T --life L   transfer: of the network; 20000 (0 = leave it out), 16, "
    "10\n"
    "  --payments X  transfer: an account and step; 0.25\n"
    "  --device D    transfer: cpu, or cuda (cuda:1 …)\n"
    "                kernels: cpu, or cuda (cuda:1 …): tall matrices of 2,000,000 rows and graphs\n"
    "                of 30 to 50 million entries in its memory, every result beside the CPU's\n"
    "  --seconds X   least time a measurement takes; 0.2\n"
    "  --json        one JSON object a line\n"
    "\n"
    "Example: kernels on one thread, then rows between two ranks\n"
    "  flipbook bench kernels --threads 1\n"
    "  mpirun -n 2 flipbook bench exchange --rows 100000\n";

static double clock_seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double flip_bench_time(const flip_bench *b, void (*run)(void *), void *argument) {
    clockid_t clock = b->threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    double best = 1e30, spent = 0;
    for (int runs = 0; runs < 3 || spent < b->seconds; runs++) {
        double start = clock_seconds(clock);
        run(argument);
        double taken = clock_seconds(clock) - start;
        spent += taken;
        if (taken < best) best = taken;
        if (spent > 10 * b->seconds && runs > 0) break; /* a slow one: two runs will do */
    }
    return best > 1e-9 ? best : 1e-9;
}

/* ---- exchange ---------------------------------------------------------------------------------
 */

enum { HALO_SHARE = 10 }; /* one row in HALO_SHARE of the other ranks' is needed */

/* Spread over every other rank's rows. */
static flip_status build_plan(flip_plan **plan, flip_comm *comm, flip_gid *first, int32_t *n_halo,
                              int64_t rows) {
    int rank = flip_comm_rank(comm), size = flip_comm_size(comm);
    flip_gid *need = NULL;
    int64_t n = 0;
    for (int r = 0; r <= size; r++)
        first[r] = r * rows;
    FLIP_TRY(flip_alloc(&need, (size_t)(size * (rows / HALO_SHARE + 1)), sizeof *need, "halo ids"));
    for (int r = 0; r < size; r++)
        for (int64_t i = 0; r != rank && i < rows; i += HALO_SHARE)
            need[n++] = first[r] + i;
    flip_status status = flip_narrow(n_halo, n, "halo rows");
    if (status == FLIP_OK)
        status = flip_plan_create(plan, comm, first, need, *n_halo, FLIP_BYTES_HALO);
    flip_free(need);
    return status;
}

/* Fastest of a few rounds of forward and backward at one width; checks a value on the way. */
static flip_status measure_exchange(flip_comm *comm, flip_plan *plan, int64_t rows, int32_t n_halo,
                                    size_t width, flip_real *own, flip_real *halo, double best[2]) {
    int rank = flip_comm_rank(comm);
    best[0] = best[1] = 1e30;
    for (int64_t i = 0; i < rows; i++)
        own[i * (int64_t)width] = (flip_real)(i % 1000);
    for (int round = 0; round < 8; round++) {
        MPI_Barrier(flip_comm_mpi(comm));
        double start = flip_seconds();
        FLIP_TRY(flip_plan_forward_begin(plan, own, width, halo));
        FLIP_TRY(flip_plan_forward_end(plan));
        double between = flip_seconds();
        for (int32_t h = 0; h < n_halo; h++) {
            int64_t row = h % ((rows + HALO_SHARE - 1) / HALO_SHARE) * HALO_SHARE;
            if (halo[h * (int64_t)width] != (flip_real)(row % 1000))
                return FLIP_FAIL(FLIP_ERROR_INTERNAL, "rank %d: halo row %d holds %g, not %g", rank,
                                 h, (double)halo[h * (int64_t)width], (double)(row % 1000));
        }
        MPI_Barrier(flip_comm_mpi(comm));
        double again = flip_seconds();
        memset(halo, 0, (size_t)n_halo * width * sizeof *halo);
        FLIP_TRY(flip_plan_backward_begin(plan, halo, width));
        FLIP_TRY(flip_plan_backward_end(plan, own));
        double end = flip_seconds();
        if (between - start < best[0]) best[0] = between - start;
        if (end - again < best[1]) best[1] = end - again;
    }
    return FLIP_OK;
}

static flip_status bench_exchange(const flip_bench *b, flip_comm *comm) {
    static const size_t widths[] = {1, 16, 64, 128, 256};
    int size = flip_comm_size(comm);
    bool speak = flip_comm_rank(comm) == 0;
    int64_t rows = b->rows ? b->rows : 100000;
    int32_t n_halo = 0;
    flip_plan *plan = NULL;
    flip_gid *first = NULL;
    flip_real *own = NULL, *halo = NULL;
    flip_status status;
    if (b->device)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "bench exchange measures rows of the hosts' memory: leave "
                         "--device out; `flipbook train --device cuda` tells how "
                         "rows go between GPUs, and how long they take");
    if (size == 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "bench exchange needs two ranks or more: mpirun -n 2 "
                                           "flipbook bench exchange");
    FLIP_TRY_GOTO(flip_alloc(&first, (size_t)size + 1, sizeof *first, "rank ranges"));
    FLIP_TRY_GOTO(build_plan(&plan, comm, first, &n_halo, rows));
    FLIP_TRY_GOTO(flip_alloc_zero(&own, (size_t)rows * 256, sizeof *own, "own rows"));
    FLIP_TRY_GOTO(flip_alloc_zero(&halo, (size_t)n_halo * 256 + 1, sizeof *halo, "halo rows"));
    if (speak && !b->json)
        printf("%d ranks, %lld own and %d halo rows each; copy limit of one rank %.1f GB/s\n%8s "
               "%14s %12s %10s %12s %10s\n",
               size, (long long)rows, n_halo, b->limits.copy_gbs, "width", "bytes a rank",
               "forward s", "GB/s", "backward s", "GB/s");
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        double best[2], bytes = (double)flip_plan_rows_sent(plan) * (double)widths[w];
        bytes *= sizeof(flip_real);
        FLIP_TRY_GOTO(measure_exchange(comm, plan, rows, n_halo, widths[w], own, halo, best));
        if (speak)
            printf(b->json ? "{\"bench\": \"exchange\", \"width\": %zu, \"bytes_per_rank\": %.0f, "
                             "\"forward_seconds\": %.3e, \"forward_gb_per_second\": %.3f, "
                             "\"backward_seconds\": %.3e, \"backward_gb_per_second\": %.3f}\n"
                           : "%8zu %14.0f %12.3e %10.2f %12.3e %10.2f\n",
                   widths[w], bytes, best[0], bytes / best[0] * 1e-9, best[1],
                   bytes / best[1] * 1e-9);
    }
done:
    flip_plan_destroy(&plan);
    flip_free(first);
    flip_free(own);
    flip_free(halo);
    return status;
}

/* ---- the command --------------------------------------------------------------------------------
 */

static flip_status run_kind(const flip_bench *b, const char *kind, flip_comm *comm) {
    static const char *const kinds[] = {"kernels", "transfer", "exchange"};
    if (strcmp(kind, "exchange") == 0) return bench_exchange(b, comm);
    bool kernels = strcmp(kind, "kernels") == 0;
    if (kernels || strcmp(kind, "transfer") == 0) {
        if (flip_comm_rank(comm) != 0) return FLIP_OK;
        if (!kernels) return flip_bench_transfer(b);
        if (b->device) return flip_bench_device(b);
        FLIP_TRY(flip_bench_kernels(b));
        return b->table_rows > 0 ? flip_bench_packed(b) : FLIP_OK;
    }
    const char *near = flip_suggest(kind, kinds, 3);
    if (near)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "flipbook bench does not know '%s'; did you mean '%s'?",
                         kind, near);
    return FLIP_FAIL(
        FLIP_ERROR_USAGE,
        "flipbook bench does not know '%s'; it measures kernels, transfer and exchange", kind);
}

static flip_status check_network(const flip_bench *b) {
    const double payments = (double)b->accounts * b->payments * b->steps;
    if (b->accounts >= 0 && b->accounts <= 100000000 && b->steps >= 1 && b->steps <= 100000 &&
        b->life >= 1 && b->payments >= 0 && payments < 0x1p31)
        return FLIP_OK;
    return FLIP_FAIL(
        FLIP_ERROR_USAGE,
        "--accounts %lld, --steps %d, --life %d, --payments %g: accounts must lie in 0 "
        "… 100000000, steps in 1 … 100000, life be at least 1, and all payments fewer "
        "than 2^31",
        (long long)b->accounts, b->steps, b->life, b->payments);
}

/* cpu, cuda or cuda:N */
static flip_status choose_device(const flip_kernels **device, const char *word) {
    int number = 0, end = 0;
    *device = NULL;
    if (!word || strcmp(word, "cpu") == 0) return FLIP_OK;
    if (strcmp(word, "cuda") == 0) return flip_kernels_cuda(device, 0);
    if (sscanf(word, "cuda:%d%n", &number, &end) == 1 && word[end] == 0 && number >= 0)
        return flip_kernels_cuda(device, number);
    return FLIP_FAIL(FLIP_ERROR_USAGE, "--device is '%s'; cpu, cuda or cuda:N is expected", word);
}

int flip_command_bench(int argc, char **argv) {
    static const char *const what[] = {"what to measure: kernels, transfer or exchange"};
    flip_bench b = {.threads = omp_get_max_threads(),
                    .table_rows = 4000000,
                    .seconds = 0.2,
                    .accounts = 20000,
                    .steps = 16,
                    .life = 10,
                    .payments = 0.25};
    flip_comm *comm = NULL;
    const char *kind = NULL, *device = NULL;
    const flip_option table[] = {{"--json", FLIP_OPTION_FLAG, &b.json},
                                 {"--threads", FLIP_OPTION_I32, &b.threads},
                                 {"--rows", FLIP_OPTION_I64, &b.rows},
                                 {"--table", FLIP_OPTION_I64, &b.table_rows},
                                 {"--seconds", FLIP_OPTION_REAL, &b.seconds},
                                 {"--accounts", FLIP_OPTION_I64, &b.accounts},
                                 {"--steps", FLIP_OPTION_I32, &b.steps},
                                 {"--life", FLIP_OPTION_I32, &b.life},
                                 {"--payments", FLIP_OPTION_REAL, &b.payments},
                                 {"--device", FLIP_OPTION_TEXT, &device},
                                 {NULL, FLIP_OPTION_END, NULL}};
    flip_status status = FLIP_OK;
    FLIP_TRY_GOTO(flip_options_parse("bench", argc, argv, table, &kind, what, 1));
    if (b.threads < 1 || b.threads > 4096 || b.rows < 0 || b.rows > 100000000) {
        status = FLIP_FAIL(FLIP_ERROR_USAGE,
                           "--threads is %d and --rows %lld; they must lie in 1 … 4096 and 1 … "
                           "100000000",
                           b.threads, (long long)b.rows);
        goto done;
    }
    if (b.table_rows < 0 || b.table_rows > 100000000) {
        status = FLIP_FAIL(FLIP_ERROR_USAGE,
                           "--table is %lld; it must lie in 0 … 100000000 (0 = leave it out)",
                           (long long)b.table_rows);
        goto done;
    }
    FLIP_TRY_GOTO(check_network(&b));
    omp_set_num_threads(b.threads);
    FLIP_TRY_GOTO(flip_comm_create(&comm, MPI_COMM_WORLD));
    FLIP_TRY_GOTO(choose_device(&b.device, device));
    b.limits = flip_kernels_limits();
    status = run_kind(&b, kind, comm);
done:
    flip_comm_destroy(&comm);
    return flip_command_end(status);
}

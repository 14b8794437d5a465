/* Collectives against plain calculations and plans against brute force, on 1-4 ranks, with whole
 * messages and with chunks of a few bytes. */
#include "ranks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int rank, size;

/* A communicator whose messages are at most `chunk` bytes ("" = 1 GiB). */
static flip_comm *open_comm(const char *chunk) {
    flip_comm *comm;
    if (*chunk)
        setenv("FLIP_CHUNK_BYTES", chunk, 1);
    else
        unsetenv("FLIP_CHUNK_BYTES");
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
    unsetenv("FLIP_CHUNK_BYTES");
    return comm;
}

static const char *const chunks[] = {"", "8", "1000"};
static void each_chunk(void (*check)(flip_comm *comm)) {
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        flip_comm *comm = open_comm(chunks[i]);
        check(comm);
        flip_comm_destroy(&comm);
        CHECK(comm == NULL, "destroyed");
    }
}

static double value(int r, size_t i) {
    return flip_random_normal(1, FLIP_STREAM_TEST, (uint64_t)r, i) * (i % 7 == 0 ? 1e12 : 1);
}

static void check_sum(flip_comm *comm, size_t count) {
    double *x = malloc((count + 1) * sizeof *x);
    uint64_t before = flip_comm_meter(comm)->bytes[FLIP_BYTES_ALLREDUCE];
    for (size_t i = 0; i < count; i++)
        x[i] = value(rank, i);
    CHECK_OK(flip_comm_sum_f64(comm, x, count));
    for (size_t i = 0; i < count; i++) {
        double sum = value(0, i);
        for (int r = 1; r < size; r++)
            sum += value(r, i);
        CHECK(memcmp(&sum, &x[i], sizeof sum) == 0, "sum %zu of %zu: %.17g, in rank order %.17g", i,
              count, x[i], sum);
    }
    uint64_t sent = flip_comm_meter(comm)->bytes[FLIP_BYTES_ALLREDUCE] - before;
    uint64_t share = count / (uint64_t)size + ((uint64_t)rank < count % (uint64_t)size);
    uint64_t want = count <= 2048 ? 8 * count * (uint64_t)(size - 1)
                                  : 8 * (count - share + share * (uint64_t)(size - 1));
    if (size == 1) want = 0;
    CHECK(sent == want, "%zu values: counted %llu bytes, formula %llu", count,
          (unsigned long long)sent, (unsigned long long)want);
    CHECK(sent == flip_comm_sum_bytes(comm, count), "flip_comm_sum_bytes");
    free(x);
}

static void check_sums_chunked(flip_comm *comm) {

    static const size_t counts[] = {0, 1, 3, 100, 2048, 2049, 5000};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        check_sum(comm, counts[i]);
    int64_t sum[300], most[300];
    uint64_t bits[300];
    for (int64_t i = 0; i < 300; i++) {
        sum[i] = most[i] = (rank + 1) * (i - 150) * ((int64_t)1 << 40);
        bits[i] = (uint64_t)1 << (i + rank * 5) % 64;
    }
    CHECK_OK(flip_comm_sum_i64(comm, sum, 300));
    CHECK_OK(flip_comm_max_i64(comm, most, 300));
    CHECK_OK(flip_comm_or_u64(comm, bits, 300));
    for (int64_t i = 0; i < 300; i++) {
        int64_t unit = (i - 150) * ((int64_t)1 << 40);
        CHECK(sum[i] == unit * size * (size + 1) / 2, "sum %lld", (long long)i);
        CHECK(most[i] == (unit > 0 ? unit * size : unit), "largest %lld", (long long)i);
        uint64_t all = 0;
        for (int r = 0; r < size; r++)
            all |= (uint64_t)1 << (i + r * 5) % 64;
        CHECK(bits[i] == all, "bits %lld", (long long)i);
    }
}

static void test_sums(void **state) {
    (void)state;
    each_chunk(check_sums_chunked);
}

static unsigned char byte(int r, size_t i) {
    return (unsigned char)(flip_random(2, FLIP_STREAM_TEST, (uint64_t)r, i).v[0]);
}

static void check_moving_chunked(flip_comm *comm) {

    for (size_t n = 0; n <= 301; n += 43) {
        unsigned char *mine = malloc(n + 1);
        unsigned char *all = malloc(n * (size_t)size + 1);
        for (size_t i = 0; i < n; i++)
            mine[i] = byte(rank, i);
        CHECK_OK(flip_comm_gather_all(comm, all, mine, n));
        for (int r = 0; r < size; r++)
            for (size_t i = 0; i < n; i++)
                CHECK(all[(size_t)r * n + i] == byte(r, i), "gathered %d %zu", r, i);
        for (int root = 0; root < size; root++) {
            for (size_t i = 0; i < n; i++)
                mine[i] = byte(rank, i);
            CHECK_OK(flip_comm_broadcast(comm, mine, n, root));
            for (size_t i = 0; i < n; i++)
                CHECK(mine[i] == byte(root, i), "broadcast %zu", i);
        }
        free(mine);
        free(all);
    }
}

static void test_moving(void **state) {
    (void)state;
    each_chunk(check_moving_chunked);
}

/* Rank r sends to rank s (3r + 5s + 1) % 11 items, some none. */
static int64_t items(int from, int to) {
    return (3 * from + 5 * to + 1) % 11 % 4 == 0 ? 0 : (3 * from + 5 * to + 1) % 11;
}

static void check_all_to_all_chunked(flip_comm *comm) {
    static const size_t widths[] = {1, 4, 24, 333};

    for (size_t w = 0; w < 4; w++) {
        const size_t item = widths[w];
        int64_t send_count[64], receive_count[64], sent = 0, received = 0;
        for (int r = 0; r < size; r++) {
            sent += send_count[r] = items(rank, r);
            received += receive_count[r] = items(r, rank);
        }
        unsigned char *out = malloc((size_t)sent * item + 1);
        unsigned char *in = malloc((size_t)received * item + 1);
        size_t at = 0;
        for (int r = 0; r < size; r++)
            for (size_t i = 0; i < (size_t)send_count[r] * item; i++)
                out[at++] = byte(rank * 100 + r, i);
        CHECK_OK(flip_comm_all_to_all(comm, out, send_count, in, receive_count, item));
        at = 0;
        for (int r = 0; r < size; r++)
            for (size_t i = 0; i < (size_t)receive_count[r] * item; i++)
                CHECK(in[at++] == byte(r * 100 + rank, i), "from %d byte %zu", r, i);
        /* the same without knowing what comes */
        unsigned char *dealt;
        int64_t n = -1, dealt_count[64];
        CHECK_OK(flip_comm_deal(comm, &dealt, &n, dealt_count, out, send_count, item));
        CHECK(n == received && memcmp(dealt, in, (size_t)n * item) == 0, "%lld items dealt",
              (long long)n);
        for (int r = 0; r < size; r++)
            CHECK(dealt_count[r] == receive_count[r], "%lld items of %d", (long long)dealt_count[r],
                  r);
        flip_free(dealt);
        free(out);
        free(in);
    }
}

static void test_all_to_all(void **state) {
    (void)state;
    each_chunk(check_all_to_all_chunked);
}

static void check_agree_chunked(flip_comm *comm) {

    CHECK_OK(flip_comm_agree(comm, FLIP_OK));
    int culprit = size - 1; /* and, if there are three, the one before too */
    flip_status mine = FLIP_OK;
    flip_error_clear();
    if (rank == culprit) mine = FLIP_FAIL(FLIP_ERROR_IO, "disk %d is full", rank);
    if (size >= 3 && rank == culprit - 1)
        mine = FLIP_FAIL(FLIP_ERROR_MEMORY, "disk %d is full", rank);
    int lowest = size >= 3 ? culprit - 1 : culprit;
    flip_status agreed = flip_comm_agree(comm, mine);
    char want[64];
    snprintf(want, sizeof want, rank == lowest ? "disk %d is full" : "rank %d: disk %d is full",
             lowest, lowest);
    CHECK(agreed == (size >= 3 ? FLIP_ERROR_MEMORY : FLIP_ERROR_IO), "agreed on %d", agreed);
    CHECK(strcmp(flip_error_message(), want) == 0, "message '%s', want '%s'", flip_error_message(),
          want);
    CHECK(strstr(flip_error_where(), "check_agree_chunked (t300_comm.c:"), "where: %s",
          flip_error_where());
    flip_error_clear();
}

static void test_agree(void **state) {
    (void)state;
    each_chunk(check_agree_chunked);
}

static void test_place(void **state) {
    (void)state;
    CHECK(flip_comm_rank(NULL) == 0 && flip_comm_size(NULL) == 1, "no communicator is one rank");
    CHECK(flip_comm_node_rank(NULL) == 0 && flip_comm_node_size(NULL) == 1, "node");
    double x = 3;
    CHECK_OK(flip_comm_sum_f64(NULL, &x, 1));
    CHECK(x == 3 && flip_comm_agree(NULL, FLIP_STOPPED) == FLIP_STOPPED, "one rank alone");
    flip_comm *comm = open_comm("");
    CHECK(flip_comm_rank(comm) == rank && flip_comm_size(comm) == size, "rank %d", rank);
    int64_t ranks = flip_comm_node_rank(comm), sizes = flip_comm_node_size(comm);
    CHECK(ranks >= 0 && ranks < sizes && sizes <= size, "place on the node");
    flip_comm_destroy(&comm);
}

/* Even and odd ranks, in descending order of their ranks: sums stay inside, bytes are the whole's.
 */
static void test_split(void **state) {
    (void)state;
    flip_comm *comm = open_comm("8"), *part;
    CHECK_OK(flip_comm_split(&part, NULL, 0, 0));
    CHECK(part == NULL, "a part of no communicator");
    CHECK_OK(flip_comm_split(&part, comm, rank % 2, -rank));
    int n = size / 2 + (rank % 2 == 0 ? size % 2 : 0), place = n - 1 - rank / 2;
    CHECK(flip_comm_size(part) == n && flip_comm_rank(part) == place, "%d of %d, expected %d of %d",
          flip_comm_rank(part), flip_comm_size(part), place, n);
    int node_rank = flip_comm_node_rank(part), node_size = flip_comm_node_size(part);
    CHECK(node_rank >= 0 && node_rank < node_size && node_size <= n, "place on the node");
    CHECK(flip_comm_meter(part) == flip_comm_meter(comm), "one meter");
    double x[3] = {rank, 1, 0.5}, sum = 0;
    for (int r = rank % 2; r < size; r += 2)
        sum += r;
    CHECK_OK(flip_comm_sum_f64(part, x, 3));
    CHECK(x[0] == sum && x[1] == n && x[2] == 0.5 * n, "sums %g %g %g", x[0], x[1], x[2]);
    uint64_t bytes = flip_comm_meter(comm)->bytes[FLIP_BYTES_ALLREDUCE];
    CHECK(bytes == (uint64_t)(8 * 3 * (n - 1)), "%llu bytes", (unsigned long long)bytes);
    /* an error names the rank of the whole */
    flip_error_clear();
    flip_status mine = rank < 2 ? FLIP_FAIL(FLIP_ERROR_INPUT, "broken") : FLIP_OK;
    CHECK(flip_comm_agree(part, mine) == FLIP_ERROR_INPUT, "agreed");
    char want[32];
    snprintf(want, sizeof want, rank < 2 ? "broken" : "rank %d: broken", rank % 2);
    CHECK(strcmp(flip_error_message(), want) == 0, "'%s'", flip_error_message());
    flip_error_clear();
    flip_comm_destroy(&part);
    flip_comm_destroy(&comm);
}

/* ---- plans ---- */

enum { N = 53 };
static flip_gid first[65];

static void split(void) {
    for (int r = 0; r <= size; r++)
        first[r] = N * r / size;
    if (size >= 3) first[2] = first[1]; /* rank 1 owns nothing */
}

static bool needs(int r, flip_gid id) {
    return !(id >= first[r] && id < first[r + 1]) &&
           flip_random_below(4, FLIP_STREAM_TEST, (uint64_t)r, (uint64_t)id, 3) == 0 &&
           !(size >= 4 && r == 3); /* rank 3 needs nothing */
}

/* Ids this rank needs, ascending or shuffled. */
static int32_t make_need(flip_gid *need, bool shuffled) {
    int32_t n = 0;
    for (flip_gid id = 0; id < N; id++)
        if (needs(rank, id)) need[n++] = id;
    for (int32_t i = n - 1; shuffled && i > 0; i--) {
        int32_t j = (int32_t)flip_random_below(5, FLIP_STREAM_TEST, (uint64_t)rank, (uint64_t)i,
                                               (uint64_t)i + 1);
        flip_gid swap = need[i];
        need[i] = need[j];
        need[j] = swap;
    }
    return n;
}

static flip_real cell(uint64_t what, flip_gid id, size_t j) {
    return (flip_real)flip_random_normal(6, FLIP_STREAM_TEST, what, (uint64_t)id * 10000 + j);
}

static void check_forward(flip_comm *comm, flip_plan *plan, const flip_gid *need, int32_t n,
                          size_t width) {
    size_t own_rows = (size_t)(first[rank + 1] - first[rank]);
    flip_real *own = malloc((own_rows * width + 1) * sizeof *own);
    flip_real *halo = malloc(((size_t)n * width + 1) * sizeof *halo);
    uint64_t before = flip_comm_meter(comm)->bytes[FLIP_BYTES_STATE];
    for (size_t v = 0; v < own_rows; v++)
        for (size_t j = 0; j < width; j++)
            own[v * width + j] = cell(1, first[rank] + (flip_gid)v, j);
    CHECK_OK(flip_plan_forward_begin(plan, own, width, halo));
    CHECK_OK(flip_plan_forward_end(plan));
    for (int32_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++)
            CHECK(halo[(size_t)i * width + j] == cell(1, need[i], j), "halo row %d", i);
    uint64_t rows = 0;
    for (int r = 0; r < size; r++)
        for (flip_gid id = first[rank]; id < first[rank + 1]; id++)
            rows += needs(r, id);
    CHECK((int64_t)rows == flip_plan_rows_sent(plan), "rows sent");
    CHECK(flip_comm_meter(comm)->bytes[FLIP_BYTES_STATE] - before ==
              rows * width * sizeof(flip_real),
          "forward bytes are not rows * width * sizeof(flip_real)");
    free(own);
    free(halo);
}

static void check_backward(flip_comm *comm, flip_plan *plan, const flip_gid *need, int32_t n,
                           size_t width) {
    size_t own_rows = (size_t)(first[rank + 1] - first[rank]);
    flip_real *own = malloc((own_rows * width + 1) * sizeof *own);
    flip_real *halo = malloc(((size_t)n * width + 1) * sizeof *halo);
    uint64_t before = flip_comm_meter(comm)->bytes[FLIP_BYTES_STATE];
    for (size_t v = 0; v < own_rows; v++)
        for (size_t j = 0; j < width; j++)
            own[v * width + j] = cell(1, first[rank] + (flip_gid)v, j);
    for (int32_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++)
            halo[(size_t)i * width + j] = cell(2 + (uint64_t)rank, need[i], j);
    CHECK_OK(flip_plan_backward_begin(plan, halo, width));
    CHECK_OK(flip_plan_backward_end(plan, own));
    for (size_t v = 0; v < own_rows; v++)
        for (size_t j = 0; j < width; j++) {
            flip_gid id = first[rank] + (flip_gid)v;
            flip_real sum = cell(1, id, j);
            for (int r = 0; r < size; r++) /* rank order: the same bits */
                if (needs(r, id)) sum += cell(2 + (uint64_t)r, id, j);
            CHECK(own[v * width + j] == sum, "own row %zu: %.9g, want %.9g", v,
                  (double)own[v * width + j], (double)sum);
        }
    CHECK(flip_comm_meter(comm)->bytes[FLIP_BYTES_STATE] - before ==
              (uint64_t)n * width * sizeof(flip_real),
          "backward bytes are not rows * width * sizeof(flip_real)");
    free(own);
    free(halo);
}

/* ---- a coded wire ---- */

/* Bytes of n numbers: what the formula in comm.h says. */
static uint64_t wire_bytes(flip_wire wire, uint64_t n) {
    uint64_t groups = (n + 255) / 256;
    switch (wire) {
    case FLIP_WIRE_BF16:
        return 2 * n;
    case FLIP_WIRE_INT8:
        return n + 4 * groups;
    case FLIP_WIRE_INT4:
        return (n + 1) / 2 + 4 * groups;
    case FLIP_WIRE_ADAPTIVE:
        return (n + 1) / 2 + 4 * groups + (groups + 3) / 4;
    default:
        return n * sizeof(flip_real);
    }
}

/* Own rows that rank r asks for. */
static uint64_t rows_for(int r) {
    uint64_t rows = 0;
    for (flip_gid id = first[rank]; id < first[rank + 1]; id++)
        rows += needs(r, id);
    return rows;
}

/* Rows arrive with a bounded error, and of many rows a typical one, in as many bytes as the formula
 * says; gradients of all ranks are added; the same epoch gives the same bits, another one others.
 */
static void check_wire(flip_comm *comm, flip_plan *plan, const flip_gid *need, int32_t n,
                       size_t width, flip_wire wire, double step, double typical) {
    size_t own_rows = (size_t)(first[rank + 1] - first[rank]);
    flip_real *own = malloc((own_rows * width + 1) * sizeof *own), *halo[3];
    uint64_t forward = 0, backward = 0, *bytes = &flip_comm_meter(comm)->bytes[FLIP_BYTES_STATE];
    for (size_t v = 0; v < own_rows; v++)
        for (size_t j = 0; j < width; j++)
            own[v * width + j] = cell(1, first[rank] + (flip_gid)v, j);
    for (int r = 0; r < size; r++) {
        uint64_t from_r = 0;
        for (int32_t i = 0; i < n; i++)
            from_r += need[i] >= first[r] && need[i] < first[r + 1];
        forward += wire_bytes(wire, rows_for(r) * width);
        backward += wire_bytes(wire, from_r * width);
    }
    for (int k = 0; k < 3; k++) {
        halo[k] = calloc((size_t)n * width + 1, sizeof **halo);
        flip_comm_wire(comm, wire, 9, k / 2);
        uint64_t before = *bytes;
        CHECK_OK(flip_plan_forward_begin(plan, own, width, halo[k]));
        CHECK_OK(flip_plan_forward_end(plan));
        CHECK(*bytes - before == forward, "wire %d: %llu bytes, formula %llu", wire,
              (unsigned long long)(*bytes - before), (unsigned long long)forward);
    }
    size_t all = (size_t)n * width;
    CHECK(memcmp(halo[0], halo[1], all * sizeof **halo) == 0, "wire %d: another draw", wire);
    CHECK(wire == FLIP_WIRE_BF16 || all < 500 || memcmp(halo[0], halo[2], all * sizeof **halo) != 0,
          "wire %d: the same draw in another epoch", wire);
    double square = 0;
    for (int32_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++) {
            double off = (double)(halo[0][(size_t)i * width + j] - cell(1, need[i], j));
            CHECK(off <= step && off >= -step, "wire %d: halo row %d is off by %g", wire, i, off);
            square += off * off / (double)all;
            halo[0][(size_t)i * width + j] = cell(2 + (uint64_t)rank, need[i], j);
        }
    CHECK(all < 500 || square <= typical * typical, "wire %d: halo rows are off by %g", wire,
          sqrt(square));
    uint64_t before = *bytes;
    CHECK_OK(flip_plan_backward_begin(plan, halo[0], width));
    CHECK_OK(flip_plan_backward_end(plan, own));
    CHECK(*bytes - before == backward, "wire %d: back %llu bytes, formula %llu", wire,
          (unsigned long long)(*bytes - before), (unsigned long long)backward);
    for (size_t v = 0; v < own_rows; v++)
        for (size_t j = 0; j < width; j++) {
            flip_gid id = first[rank] + (flip_gid)v;
            double sum = (double)cell(1, id, j), most = step * size;
            for (int r = 0; r < size; r++)
                if (needs(r, id)) sum += (double)cell(2 + (uint64_t)r, id, j);
            double off = (double)own[v * width + j] - sum;
            CHECK(off <= most && off >= -most, "wire %d: own row %zu is off by %g", wire, v, off);
        }
    flip_comm_wire(comm, FLIP_WIRE_EXACT, 0, 0);
    for (int k = 0; k < 3; k++)
        free(halo[k]);
    free(own);
}

static void check_wires(flip_comm *comm, flip_plan *plan, const flip_gid *need, int32_t n) {
    static const struct {
        flip_wire wire;
        double step;    /* of a group whose range is at most 12 */
        double typical; /* between even levels a mean square is at most that of half a step */
    } wires[] = {{FLIP_WIRE_BF16, 0.02, 0.01},
                 {FLIP_WIRE_INT8, 12.2 / 255, 6.1 / 255},
                 {FLIP_WIRE_INT4, 12.2 / 15, 6.1 / 15},
                 /* 2 bits: levels up to 14 sixteenths apart; in all no worse than 4 bits */
                 {FLIP_WIRE_ADAPTIVE, 12.2 * 14 / 16, 6.1 / 15}};
    for (size_t w = 0; w < sizeof wires / sizeof *wires; w++) {
        check_wire(comm, plan, need, n, 1, wires[w].wire, wires[w].step, wires[w].typical);
        check_wire(comm, plan, need, n, 501, wires[w].wire, wires[w].step, wires[w].typical);
    }
    flip_comm_wire(comm, FLIP_WIRE_INT4, 9, 1);
    flip_comm_wire_pause(comm, true);
    check_forward(comm, plan, need, n, 16);
    flip_comm_wire(comm, FLIP_WIRE_EXACT, 0, 0);
}

static void check_other(flip_plan *plan, const flip_gid *need, int32_t n) {
    int64_t own[N], halo[N];
    double sums[N * 2], back[N * 2];
    size_t own_rows = (size_t)(first[rank + 1] - first[rank]);
    for (size_t v = 0; v < own_rows; v++) {
        own[v] = 1000 + first[rank] + (flip_gid)v;
        sums[2 * v] = sums[2 * v + 1] = 0;
    }
    CHECK_OK(flip_plan_fetch(plan, own, sizeof *own, halo));
    for (int32_t i = 0; i < n; i++) {
        CHECK(halo[i] == 1000 + need[i], "fetched %d", i);
        back[2 * i] = 1;
        back[2 * i + 1] = rank;
    }
    CHECK_OK(flip_plan_reduce_f64(plan, back, 2, sums));
    for (size_t v = 0; v < own_rows; v++) {
        double count = 0, ranks = 0;
        for (int r = 0; r < size; r++)
            if (needs(r, first[rank] + (flip_gid)v)) {
                count++;
                ranks += r;
            }
        CHECK(sums[2 * v] == count && sums[2 * v + 1] == ranks, "reduced %zu", v);
    }
}

static void check_plans_chunked(flip_comm *comm) {
    split();

    for (int shuffled = 0; shuffled < 2; shuffled++) {
        flip_gid need[N];
        int32_t n = make_need(need, shuffled);
        flip_plan *plan;
        flip_plan *other; /* two plans, one exchange in flight in each */
        CHECK_OK(flip_plan_create(&plan, comm, first, need, n, FLIP_BYTES_STATE));
        CHECK_OK(flip_plan_create(&other, comm, first, need, n, FLIP_BYTES_STATE));
        CHECK(flip_plan_n_halo(plan) == n && flip_plan_rows_received(plan) == n, "halo rows");
        static const size_t widths[] = {1, 3, 16, 501};
        for (size_t w = 0; w < 4; w++) {
            check_forward(comm, plan, need, n, widths[w]);
            check_backward(comm, plan, need, n, widths[w]);
        }
        check_other(plan, need, n);
        check_wires(comm, plan, need, n);
        flip_real own[N], a[N], b[N];
        for (int i = 0; i < N; i++)
            own[i] = (flip_real)(rank * 1000 + i);
        CHECK_OK(flip_plan_forward_begin(plan, own, 1, a));
        CHECK_OK(flip_plan_forward_begin(other, own, 1, b));
        CHECK_OK(flip_plan_forward_end(other));
        CHECK_OK(flip_plan_forward_end(plan));
        CHECK(n == 0 || memcmp(a, b, (size_t)n * sizeof *a) == 0, "two plans in flight");
        flip_plan_destroy(&plan);
        flip_plan_destroy(&other);
        CHECK(plan == NULL, "destroyed");
    }
}

static void test_plans(void **state) {
    (void)state;
    each_chunk(check_plans_chunked);
}

static void test_plan_refusals(void **state) {
    (void)state;
    split();
    flip_comm *comm = open_comm("");
    flip_plan *plan = NULL;
    flip_gid need[1] = {first[size - 1]};
    flip_error_clear();
    CHECK(flip_plan_create(&plan, comm, first, need, rank == size - 1, FLIP_BYTES_HALO) ==
                  FLIP_ERROR_INTERNAL &&
              !plan && strstr(flip_error_message(), "plans to receive its own node"),
          "own id: %s", flip_error_message());
    flip_error_clear();
    need[0] = N;
    CHECK(flip_plan_create(&plan, comm, first, need, rank == 0, FLIP_BYTES_HALO) ==
                  FLIP_ERROR_INPUT &&
              strstr(flip_error_message(), "node 53 is needed; nodes are 0 to 52"),
          "id out of range: %s", flip_error_message());
    flip_error_clear();
    flip_real x[N] = {0};
    CHECK_OK(flip_plan_create(&plan, comm, first, need, 0, FLIP_BYTES_HALO));
    CHECK_OK(flip_plan_forward_begin(plan, x, 1, x));
    CHECK(flip_plan_forward_begin(plan, x, 1, x) == FLIP_ERROR_INTERNAL, "two at a time");
    flip_error_clear();
    CHECK(flip_plan_backward_end(plan, x) == FLIP_ERROR_INTERNAL, "the wrong end");
    flip_error_clear();
    CHECK_OK(flip_plan_forward_end(plan));
    flip_plan_destroy(&plan);
    flip_comm_destroy(&comm);
}

int main(int argc, char **argv) {
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_place),         cmocka_unit_test(test_sums),
        cmocka_unit_test(test_moving),        cmocka_unit_test(test_all_to_all),
        cmocka_unit_test(test_agree),         cmocka_unit_test(test_plans),
        cmocka_unit_test(test_plan_refusals), cmocka_unit_test(test_split),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}

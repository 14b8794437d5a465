/* Rows and sums that NCCL, and then an MPI that is given the device's memory, moves between devices
 * beside the same by MPI on the host, on 1-4 ranks: the same bits, the same bytes counted, on coded
 * wires too. On the emulated device, whose NCCL goes by way of MPI, and whose MPI is CUDA-aware
 * when asked to be. */
#include "device.h"
#include "ranks.h"

#include <flipbook/layout.h>

static const flip_kernels *kernels;
static flip_comm *host, *device; /* the same ranks; `device` is attached */
static flip_direct by;           /* who moves what lies on it */
static int rank, size;
static flip_wire wire; /* of both */

/* n values here, and in the device's memory. */
typedef struct array {
    flip_real *here, *there;
    size_t n;
} array;

static flip_real drawn(uint64_t what, size_t i) {
    return (flip_real)flip_random_normal(11, FLIP_STREAM_TEST, what, i);
}

static array draw(uint64_t what, size_t n) {
    array a = {.n = n};
    CHECK_OK(flip_alloc(&a.here, n, sizeof *a.here, "values"));
    CHECK_OK(kernels->take(&a.there, n * sizeof *a.there, "values of the device"));
    for (size_t i = 0; i < n; i++)
        a.here[i] = drawn(what, i);
    kernels->send(a.there, a.here, n * sizeof *a.here);
    return a;
}

/* The device's are those of the host, bit by bit. */
static void compare(const array *a, const char *what) {
    flip_real *found;
    CHECK_OK(flip_alloc(&found, a->n, sizeof *found, "values"));
    kernels->receive(found, a->there, a->n * sizeof *found);
    CHECK_OK(kernels->wait());
    for (size_t i = 0; i < a->n; i++)
        CHECK(memcmp(&found[i], &a->here[i], sizeof *found) == 0, "%s, value %zu: %.9g, host %.9g",
              what, i, (double)found[i], (double)a->here[i]);
    flip_free(found);
}

static void drop(array *a) {
    flip_free(a->here);
    kernels->give_back(a->there);
}

/* Every counter of both communicators stands where the other's does. */
static void compare_bytes(const char *what) {
    const flip_meter *a = flip_comm_meter(host), *b = flip_comm_meter(device);
    for (int i = 0; i < FLIP_BYTES_COUNT; i++)
        CHECK(a->bytes[i] == b->bytes[i], "%s, bytes of %d: %llu by MPI, %llu between devices",
              what, i, (unsigned long long)a->bytes[i], (unsigned long long)b->bytes[i]);
}

/* ---- sums ---- */

static void check_sum(size_t count) {
    double *x, *found, *there;
    CHECK_OK(flip_alloc(&x, 2 * count, sizeof *x, "values"));
    CHECK_OK(kernels->take(&there, count * sizeof *x, "values of the device"));
    found = x + count;
    for (size_t i = 0; i < count; i++)
        x[i] = flip_random_normal(12, FLIP_STREAM_TEST, (uint64_t)rank, i) * (i % 5 ? 1 : 1e9);
    kernels->send(there, x, count * sizeof *x);
    CHECK_OK(flip_comm_sum_f64(host, x, count));
    CHECK_OK(flip_comm_sum_placed(device, there, count));
    kernels->receive(found, there, count * sizeof *x);
    CHECK_OK(kernels->wait());
    CHECK(memcmp(x, found, count * sizeof *x) == 0, "a sum of %zu", count);
    compare_bytes("sums");
    kernels->give_back(there);
    flip_free(x);
}

static void test_sums(void **state) {
    static const size_t counts[] = {1, 7, 2048, 2049, 6001};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        check_sum(counts[i]);
}

/* ---- plans ---- */

enum { NODES = 61 };

/* About half of the others' ids, in ascending order or another one. */
static int32_t make_need(const flip_gid *first, bool shuffled, flip_gid *need) {
    int32_t n = 0;
    for (flip_gid id = 0; id < NODES; id++)
        if (!(id >= first[rank] && id < first[rank + 1]) &&
            flip_random_below(13, FLIP_STREAM_TEST, (uint64_t)rank, (uint64_t)id, 2) == 0)
            need[n++] = id;
    for (int32_t i = n - 1; shuffled && i > 0; i--) {
        const int32_t j = (int32_t)flip_random_below(14, FLIP_STREAM_TEST, (uint64_t)rank,
                                                     (uint64_t)i, (uint64_t)i + 1);
        const flip_gid swap = need[i];
        need[i] = need[j];
        need[j] = swap;
    }
    return n;
}

static void check_plans(flip_plan *by_mpi, flip_plan *direct, size_t own_rows, size_t n_halo,
                        size_t width) {
    array own = draw(100 + (uint64_t)rank, own_rows * width),
          halo = draw(200 + (uint64_t)rank, n_halo * width);
    CHECK_OK(flip_plan_forward_begin(by_mpi, own.here, width, halo.here));
    CHECK_OK(flip_plan_forward_end(by_mpi));
    CHECK_OK(flip_plan_forward_begin(direct, own.there, width, halo.there));
    CHECK_OK(flip_plan_forward_end(direct));
    compare(&halo, "halo rows");
    for (size_t i = 0; i < halo.n; i++)
        halo.here[i] = drawn(300 + (uint64_t)rank, i);
    kernels->send(halo.there, halo.here, halo.n * sizeof *halo.here);
    CHECK_OK(flip_plan_backward_begin(by_mpi, halo.here, width));
    CHECK_OK(flip_plan_backward_end(by_mpi, own.here));
    CHECK_OK(flip_plan_backward_begin(direct, halo.there, width));
    CHECK_OK(flip_plan_backward_end(direct, own.there));
    compare(&own, "own rows");
    compare_bytes("plans");
    drop(&own);
    drop(&halo);
}

static void test_plans(void **state) {
    static const size_t widths[] = {1, 5, 32};
    flip_gid first[65], need[NODES];
    (void)state;
    for (int r = 0; r <= size; r++)
        first[r] = (flip_gid)NODES * r / size;
    for (int shuffled = 0; shuffled < 2; shuffled++) {
        flip_plan *plan[2];
        const int32_t n = make_need(first, shuffled, need);
        CHECK_OK(flip_plan_create(&plan[0], host, first, need, n, FLIP_BYTES_HALO));
        CHECK_OK(flip_plan_create(&plan[1], device, first, need, n, FLIP_BYTES_HALO));
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
            check_plans(plan[0], plan[1], (size_t)(first[rank + 1] - first[rank]), (size_t)n,
                        widths[w]);
        /* rows of ids stay with the host */
        flip_gid own[NODES], halo[NODES];
        for (flip_gid id = first[rank]; id < first[rank + 1]; id++)
            own[id - first[rank]] = 7 * id;
        CHECK_OK(flip_plan_fetch(plan[1], own, sizeof *own, halo));
        for (int32_t i = 0; i < n; i++)
            CHECK(halo[i] == 7 * need[i], "id %d", i);
        flip_plan_destroy(&plan[0]);
        flip_plan_destroy(&plan[1]);
    }
}

/* ---- layouts ---- */

enum { STEPS = 9, DIM = 3, BLOCKS = 2, SLICES = 3, BEFORE = 3 };

static flip_layout *make_layout(flip_comm *comm, int n_time, flip_temporal_exchange exchange) {
    flip_gid first[65];
    flip_layout *layout;
    for (int r = 0; r <= size; r++)
        first[r] = (flip_gid)NODES * r / size;
    const flip_layout_params params = {.n_time = n_time,
                                       .n_steps = STEPS,
                                       .n_blocks = BLOCKS,
                                       .slices = SLICES,
                                       .exchange = exchange};
    CHECK_OK(flip_layout_create(&layout, comm, first, NULL, &params));
    if (comm == device) {
        CHECK_OK(flip_comm_attach(layout->space, by, kernels, device));
        CHECK_OK(flip_comm_attach(layout->time, by, kernels, device));
    }
    return layout;
}

/* To the node layout, two slices in flight, and back into other memory. */
static void move_block(flip_layout *l, int32_t block, const flip_real *x, flip_real *y,
                       flip_real *back) {
    CHECK_OK(flip_layout_to_nodes_begin(l, block, 0, DIM, x));
    for (int32_t s = 0; s < SLICES; s++) {
        if (s + 1 < SLICES) CHECK_OK(flip_layout_to_nodes_begin(l, block, s + 1, DIM, x));
        CHECK_OK(flip_layout_to_nodes_end(l, y));
        CHECK_OK(flip_layout_to_time_begin(l, block, s, DIM, y, back));
        if (s > 0) CHECK_OK(flip_layout_to_time_end(l));
    }
    CHECK_OK(flip_layout_to_time_end(l));
}

static void check_redistribution(flip_layout *a, flip_layout *b, int32_t block) {
    const size_t steps = (size_t)(a->block_first[block + 1] - a->block_first[block]);
    const size_t mine = (size_t)a->n_rows * (size_t)flip_layout_steps(a, block) * DIM;
    array x = draw(400 + (uint64_t)rank, mine), back = draw(500, mine),
          y = draw(600, (size_t)a->n_own * steps * DIM);
    move_block(a, block, x.here, y.here, back.here);
    move_block(b, block, x.there, y.there, back.there);
    compare(&y, "the node layout");
    compare(&back, "the time layout");
    compare(&x, "what was sent");
    CHECK(wire || memcmp(back.here, x.here, mine * sizeof *x.here) == 0, "there and back");
    compare_bytes("redistribution");
    drop(&x);
    drop(&y);
    drop(&back);
}

static void check_window(flip_layout *a, flip_layout *b, int32_t block) {
    const flip_window w = flip_layout_window_of(a, block, BEFORE);
    const size_t row = (size_t)a->n_rows * DIM;
    array x = draw(700 + (uint64_t)rank, row * (size_t)flip_layout_steps(a, block)),
          kept = draw(800 + (uint64_t)rank, row * (size_t)w.n_kept),
          earlier = draw(900, row * (size_t)w.n);
    CHECK_OK(flip_layout_window(a, block, BEFORE, DIM, kept.here, x.here, earlier.here));
    CHECK_OK(flip_layout_window(b, block, BEFORE, DIM, kept.there, x.there, earlier.there));
    compare(&earlier, "the window");
    CHECK_OK(flip_layout_window_back(a, block, BEFORE, DIM, earlier.here, kept.here, x.here));
    CHECK_OK(flip_layout_window_back(b, block, BEFORE, DIM, earlier.there, kept.there, x.there));
    compare(&x, "own steps' gradients");
    compare(&kept, "kept steps' gradients");
    compare_bytes("windows");
    drop(&x);
    drop(&kept);
    drop(&earlier);
}

/* States pass the chunks, slice by slice: each takes what comes, adds its own and hands it on. */
static void pass_states(flip_layout *l, bool forward, bool on_device, flip_real *came,
                        flip_real *own) {
    const int32_t step = forward ? 1 : -1, from = l->chunk - step, to = l->chunk + step;
    for (int32_t s = 0; s < SLICES; s++) {
        int32_t first, n;
        flip_layout_slice(l, s, l->n_rows, &first, &n);
        const size_t at = (size_t)first * DIM, values = (size_t)n * DIM;
        if (from >= 0 && from < l->n_time) {
            CHECK_OK(flip_layout_receive_state(l, from, forward, came + at, values));
            if (on_device)
                kernels->move(1, 1, (int64_t)values, own + at, 0, 0, came + at, 0, 0, true);
            for (size_t i = at; !on_device && i < at + values; i++)
                own[i] += came[i];
        }
        if (to >= 0 && to < l->n_time)
            CHECK_OK(flip_layout_send_state(l, to, forward, own + at, values));
    }
    CHECK_OK(flip_layout_state_end(l));
}

static void check_states(flip_layout *a, flip_layout *b, int32_t forward) {
    const size_t n = (size_t)a->n_rows * DIM;
    array own = draw(1000 + (uint64_t)rank, n), came = draw(1100, n);
    pass_states(a, forward, false, came.here, own.here);
    pass_states(b, forward, true, came.there, own.there);
    compare(&came, "states that came");
    compare(&own, "states");
    compare_bytes("states");
    drop(&own);
    drop(&came);
}

/* Of both blocks, or both ways; the layouts differ in who moves their values. */
static void check_layouts(int n_time, flip_temporal_exchange exchange,
                          void (*check)(flip_layout *, flip_layout *, int32_t)) {
    flip_layout *a = make_layout(host, n_time, exchange),
                *b = make_layout(device, n_time, exchange);
    CHECK(flip_comm_direct(b->time) && !flip_comm_direct(a->time), "attached");
    for (int32_t i = 0; i < 2; i++)
        check(a, b, i);
    flip_layout_destroy(&a);
    flip_layout_destroy(&b);
}

static void test_layouts(void **state) {
    (void)state;
    for (int n_time = 2; n_time <= size; n_time++) {
        if (size % n_time != 0) continue;
        check_layouts(n_time, FLIP_EXCHANGE_REDISTRIBUTE, check_redistribution);
        check_layouts(n_time, FLIP_EXCHANGE_WINDOW, check_window);
        check_layouts(n_time, FLIP_EXCHANGE_WAVEFRONT, check_states);
    }
}

/* ---- coded wires ---- */

static void test_wires(void **state) {
    for (wire = FLIP_WIRE_BF16; wire <= FLIP_WIRE_INT4; wire++) {
        flip_comm_wire(host, wire, 9, 2);
        flip_comm_wire(device, wire, 9, 2);
        test_plans(state);
        test_layouts(state);
    }
    wire = FLIP_WIRE_EXACT;
    flip_comm_wire(host, wire, 0, 0);
    flip_comm_wire(device, wire, 0, 0);
}

static int open_all(void **state) {
    (void)state;
    kernels = test_kernels();
    CHECK(kernels, "FLIP_TEST_DEVICE=cuda runs this test");
    CHECK_OK(flip_comm_create(&host, MPI_COMM_WORLD));
    CHECK_OK(flip_comm_create(&device, MPI_COMM_WORLD));
    CHECK_OK(flip_comm_attach(device, by, kernels, NULL));
    CHECK(flip_comm_direct(device) == (size > 1 ? by : FLIP_DIRECT_NONE),
          "attached where there is somebody");
    return 0;
}

static int close_all(void **state) {
    (void)state;
    flip_comm_destroy(&device);
    flip_comm_destroy(&host);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_wires),
    };
    const char *asked = getenv("FLIP_EMULATION");
    char words[256];
    snprintf(words, sizeof words, "%s,aware", asked ? asked : "");
    setenv("FLIP_EMULATION", words, 1);
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int failed = 0;
    for (by = FLIP_DIRECT_NCCL; by <= FLIP_DIRECT_MPI; by++)
        failed += cmocka_run_group_tests(tests, open_all, close_all);
    MPI_Finalize();
    return failed;
}

/* CUDA graphs on the emulated device, and the passes that the table records with them: nothing is
 * done while it is captured, a launch does it all with the numbers of the capture, what a capture
 * cannot hold makes it invalid, and the device's guards see into launches. Faults are planted, each
 * in a process of its own. Built with -Dcuda=emulated only. */
#include "emulated.h"

enum { N = 100, EPOCH = 8 /* bits of a draw within its epoch */ };

static int *numbers, *pinned;
static cudaStream_t other;

__global__ static void add(int n, int *x, int by) {
    FLIP_EACH(i, n) x[i] += by;
}

__global__ static void twice(int n, int *x) {
    FLIP_EACH(i, n) x[i] *= 2;
}

static void begin(void) {
    assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
}

static cudaGraphExec_t end(size_t nodes) {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    size_t n = 0;
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    assert_int_equal(cudaGraphGetNodes(graph, NULL, &n), cudaSuccess);
    assert_int_equal(n, nodes);
    assert_int_equal(cudaGraphInstantiateWithFlags(&exec, graph, 0), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    return exec;
}

static void expect(int first, int last) {
    int found[N];
    fetch(found, numbers, N);
    assert_int_equal(found[0], first);
    assert_int_equal(found[N - 1], last);
}

/* x = (2 (pinned + 5)) with the 5 of the capture and the pinned memory of the launch. */
static cudaGraphExec_t capture(void) {
    int by = 5;
    begin();
    cudaMemcpyAsync(numbers, pinned, N * sizeof(int), cudaMemcpyHostToDevice, stream);
    FLIP_LAUNCH_EACH(add, N, N, numbers, by);
    by = 1000;
    FLIP_LAUNCH_EACH(twice, N, N, numbers);
    return end(3);
}

static void launches(void **) {
    cudaMemsetAsync(numbers, 0, N * sizeof(int), stream);
    for (int i = 0; i < N; i++)
        pinned[i] = i;
    cudaGraphExec_t exec = capture();
    expect(0, 0); /* nothing was done */
    assert_int_equal(cudaGraphLaunch(exec, stream), cudaSuccess);
    expect(10, 2 * (N - 1 + 5));
    pinned[0] = 7;
    assert_int_equal(cudaGraphLaunch(exec, stream), cudaSuccess);
    FLIP_LAUNCH_EACH(add, N, N, numbers, 1); /* after it */
    assert_int_equal(cudaGraphExecDestroy(exec), cudaSuccess);
    expect(25, 2 * (N - 1 + 5) + 1);
}

/* ---- what a capture cannot hold ---- */

static cudaError_t refused(int which) {
    static int here[N];
    static cudaEvent_t outside;
    void *memory;
    if (!outside) {
        cudaEventCreateWithFlags(&outside, cudaEventDisableTiming);
        cudaEventRecord(outside, other);
    }
    begin();
    switch (which) {
    case 0:
        return cudaStreamSynchronize(stream);
    case 1:
        return cudaStreamQuery(stream);
    case 2:
        return cudaMalloc(&memory, 4);
    case 3:
        return cudaFree(numbers);
    case 4:
        return cudaMallocHost(&memory, 4);
    case 5:
        return cudaFreeHost(pinned);
    case 6:
        return cudaMemcpyAsync(numbers, here, sizeof here, cudaMemcpyHostToDevice, stream);
    case 7:
        return cudaMemcpyAsync(here, numbers, sizeof here, cudaMemcpyDeviceToHost, stream);
    case 8:
        return cudaStreamWaitEvent(stream, outside);
    case 9:
        return cudaStreamDestroy(stream);
    case 10:
        return cudaEventQuery(outside);
    }
    return cudaSuccess;
}

static void refusals(void **) {
    enum { CASES = 11 };
    cudaGraph_t graph;
    cudaEvent_t inside;
    for (int i = 0; i < CASES; i++) {
        const cudaError_t expected =
            i == 8 ? cudaErrorStreamCaptureIsolation : cudaErrorStreamCaptureUnsupported;
        assert_int_equal(refused(i), expected);
        assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
        assert_null(graph);
    }
    begin(); /* the default stream would wait for the captured one */
    cudaMemsetAsync(pinned, 0, sizeof(int));
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorIllegalState);
    assert_int_equal(cudaStreamBeginCapture(NULL, cudaStreamCaptureModeThreadLocal),
                     cudaErrorStreamCaptureUnsupported);
    cudaEventCreateWithFlags(&inside, cudaEventDisableTiming);
    begin();
    assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                     cudaErrorIllegalState);
    assert_int_equal(cudaEventRecord(inside, stream), cudaSuccess);
    assert_int_equal(cudaStreamWaitEvent(stream, inside), cudaSuccess);
    assert_int_equal(cudaEventQuery(inside), cudaErrorCapturedEvent);
    assert_int_equal(cudaStreamSynchronize(other), cudaSuccess);
    cudaGraphExecDestroy(end(0));
    cudaEventDestroy(inside);
    cudaStreamSynchronize(NULL);
}

/* ---- planted faults ---- */

static void plant_freed(void) {
    cudaGraphExec_t exec = capture();
    int *mine = device<int>(N);
    FLIP_NAME_MEMORY(mine, "taken after");
    begin();
    FLIP_LAUNCH_EACH(twice, N, N, mine);
    cudaGraphExec_t second = end(1);
    cudaFree(mine);
    cudaGraphLaunch(exec, stream);
    cudaGraphLaunch(second, stream);
}

static void plant_freed_copy(void) {
    cudaGraphExec_t exec = capture();
    cudaFreeHost(pinned);
    cudaGraphLaunch(exec, stream);
}

static void plant_no_wait(void) {
    cudaGraphExec_t exec = capture();
    cudaMemsetAsync(numbers, 0, N * sizeof(int), other);
    cudaGraphLaunch(exec, stream);
    cudaStreamSynchronize(stream);
}

/* Every thread counts what it sees of the others. */
__global__ static void threads_talk(int *x) {
    x[threadIdx.x + 1] = x[threadIdx.x] + 1;
}

static void plant_race(void) {
    begin();
    cudaMemsetAsync(numbers, 0, N * sizeof(int), stream);
    FLIP_LAUNCH(threads_talk, 1, 50, 0, numbers);
    cudaGraphLaunch(end(2), stream);
    cudaStreamSynchronize(stream);
}

static void plant_outside(void) {
    begin();
    FLIP_LAUNCH_EACH(add, 2000, 2000, numbers, 1);
    cudaGraphLaunch(end(1), stream);
    cudaStreamSynchronize(stream);
}

static void faults(void **) {
    cudaEvent_t event;
    caught(plant_freed, "launched again: 'taken after' was freed since");
    caught(plant_freed_copy, "copy host to device: 400 bytes at 0 of freed 'pinned'");
    caught(plant_no_wait, "memset (stream ");
    caught(plant_no_wait, "both use 'numbers' + 0 bytes with no event or wait between them");
    caught(plant_race, "results depend on the order of its threads");
    caught(plant_outside, "out of bounds");
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming); /* what plant_no_wait lacks */
    cudaGraphExec_t exec = capture();
    cudaMemsetAsync(numbers, 0, N * sizeof(int), other);
    cudaEventRecord(event, other);
    cudaStreamWaitEvent(stream, event);
    cudaGraphLaunch(exec, stream);
    cudaStreamSynchronize(stream);
    cudaGraphExecDestroy(exec);
    cudaEventDestroy(event);
}

/* ---- what the table records ---- */

static const flip_kernels *table;

/* Values of a small training: x dropped out, and a step of Adam. */
typedef struct state {
    flip_real *x, *y, *p, *m, *v;
    double *g;
} state;

static state make_state(void) {
    flip_real here[N];
    double slopes[N];
    state s = {device<flip_real>(N), device<flip_real>(N), device<flip_real>(N),
               device<flip_real>(N), device<flip_real>(N), device<double>(N)};
    for (int i = 0; i < N; i++) {
        here[i] = (flip_real)flip_random_normal(3, FLIP_STREAM_TEST, 1, (uint64_t)i);
        slopes[i] = flip_random_normal(3, FLIP_STREAM_TEST, 2, (uint64_t)i);
    }
    table->send(s.x, here, sizeof here);
    table->send(s.p, here, sizeof here);
    table->send(s.g, slopes, sizeof slopes);
    table->clear(s.m, sizeof here);
    table->clear(s.v, sizeof here);
    return s;
}

static flip_adam_step step_of(int t) {
    return flip_adam_step{0.01, 0.9, 0.999, 1e-8, 0.01, true, 1 - pow(0.9, t), 1 - pow(0.999, t),
                          1};
}

static void pass_of(const state *s, int epoch, const flip_adam_step *adam) {
    flip_epilogue e = {};
    e.dropout = 0.5;
    e.seed = 9;
    e.draw = (uint64_t)epoch << EPOCH | 1;
    table->dropout(10, N / 10, s->y, s->x, 0.3, 9, (uint64_t)epoch << EPOCH, NULL);
    table->epilogue(10, N / 10, s->y, N / 10, &e);
    table->adam(N, s->p, s->g, s->m, s->v, adam);
}

static void assert_same(const flip_real *a, const flip_real *b) {
    flip_real here[N], there[N];
    table->receive(here, a, sizeof here);
    table->receive(there, b, sizeof there);
    assert_memory_equal(here, there, sizeof here);
}

/* Recorded at step 2 of 6, it is what calls do. */
static void passes(void **) {
    const flip_device_counts before = table->counts();
    const state plain = make_state(), repeated = make_state();
    flip_real last[N], now[N];
    flip_recording *r = NULL;
    for (int t = 1; t <= 6; t++) {
        const flip_adam_step adam = step_of(t);
        pass_of(&plain, t, &adam);
        if (t == 1) pass_of(&repeated, t, &adam);
        if (t == 2) {
            assert_true(table->record());
            pass_of(&repeated, t, &adam);
            r = table->record_end();
            assert_non_null(r);
        }
        const uint64_t sent = table->counts().sent;
        if (t > 1) assert_true(table->replay(r, (uint64_t)(t - 2) << EPOCH, &adam));
        assert_true((table->counts().sent > sent) == (t > 1)); /* the moment */
        assert_same(plain.y, repeated.y);
        assert_same(plain.p, repeated.p);
        assert_same(plain.v, repeated.v);
        table->receive(now, repeated.y, sizeof now);
        if (t > 1) assert_true(memcmp(now, last, sizeof now) != 0);
        memcpy(last, now, sizeof now);
    }
    assert_int_equal(table->counts().replays - before.replays, 5);
    assert_int_equal(table->counts().replayed - before.replayed, 5 * 3);
    void *memory;
    assert_int_equal(table->take(&memory, 8, "memory"), FLIP_OK);
    table->give_back(memory); /* its address may be another's from now on */
    const flip_adam_step adam = step_of(7);
    assert_false(table->replay(r, 0, &adam));
    table->drop_recording(&r);
    table->drop_recording(&r);
    assert_int_equal(table->wait(), FLIP_OK);
}

/* What spoils a recording is not done. */
static void spoil(int which, void *memory) {
    static void *event;
    int here[2] = {3, 4};
    switch (which) {
    case 0:
        table->send(numbers, here, sizeof here);
        break;
    case 1:
        table->receive(here, numbers, sizeof here);
        assert_int_equal(here[0], 0);
        break;
    case 2:
        table->give_back(memory);
        break;
    case 3:
        assert_int_equal(table->take(&event, 8, "memory"), FLIP_ERROR_MEMORY);
        break;
    case 4:
        assert_int_equal(table->wait(), FLIP_OK);
        break;
    case 5:
        table->mark_end(&event);
        break;
    case 6:
        table->join_ahead();
        break;
    }
}

static void spoiled(void **) {
    const int value[2] = {11, 12};
    int found[2];
    void *memory;
    assert_int_equal(table->take(&memory, 8, "memory"), FLIP_OK);
    table->send_ahead(numbers, value, sizeof value, NULL); /* its stream is there */
    table->join_ahead();
    for (int i = 0; i < 7; i++) {
        assert_true(table->record());
        spoil(i, memory);
        assert_null(table->record_end());
        flip_error_clear();
    }
    table->receive(found, numbers, sizeof found);
    assert_memory_equal(found, value, sizeof found);
    assert_int_equal(table->wait(), FLIP_OK); /* nothing of it is the run's */
    assert_int_equal(setenv("FLIP_CUDA_GRAPHS", "off", 1), 0);
    assert_false(table->record());
    unsetenv("FLIP_CUDA_GRAPHS");
}

int main(void) {
    const CMUnitTest tests[] = {
        cmocka_unit_test(launches), cmocka_unit_test(refusals), cmocka_unit_test(faults),
        cmocka_unit_test(passes),   cmocka_unit_test(spoiled),
    };
    if (flip_kernels_cuda(&table, 0) != FLIP_OK) return 1;
    numbers = device<int>(N);
    FLIP_NAME_MEMORY(numbers, "numbers");
    cudaMallocHost((void **)&pinned, N * sizeof(int));
    FLIP_NAME_MEMORY(pinned, "pinned");
    cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

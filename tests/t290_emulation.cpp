/* The emulated device: what it computes, and that planted faults are caught, each in a process of
 * its own. Built with -Dcuda=emulated only. */
#define OMPI_SKIP_MPICXX
#include <memory> /* before CUDA's words */
#include <mpi.h>

#include "emulated.h"

/* ---- threads that talk ---- */

/* A block's sum by shuffles in warps and shared memory between them, in either order of warps. */
template <typename type> __global__ static void block_sums(type *out, int each) {
    __shared__ type partial[32];
    type sum = (type)(blockIdx.x * blockDim.x + threadIdx.x);
    for (int by = 16; by > 0; by /= 2)
        sum += __shfl_down_sync(0xffffffffu, sum, (unsigned)by);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    type all = (int)threadIdx.x < each / 32 ? partial[threadIdx.x] : 0;
    for (int by = 16; by > 0; by /= 2)
        all += __shfl_xor_sync(0xffffffffu, all, by);
    if (threadIdx.x == 0) out[blockIdx.x] = all;
}

template <typename type> static void check_sums(int blocks, int each) {
    type *out = device<type>((size_t)blocks), *found = new type[blocks];
    auto run = block_sums<type>;
    FLIP_LAUNCH(run, blocks, each, 0, out, each);
    fetch(found, out, (size_t)blocks);
    for (int b = 0; b < blocks; b++) {
        double expected = (double)each * b * each + (double)each * (each - 1) / 2;
        assert_true((double)found[b] == expected);
    }
    delete[] found;
    cudaFree(out);
}

static void sums(void **) {
    for (int each = 32; each <= 1024; each *= 2) {
        check_sums<int>(3, each);
        check_sums<int64_t>(3, each);
        check_sums<uint64_t>(2, each);
        check_sums<float>(3, each);
        check_sums<double>(2, each);
    }
}

/* Two arrays of dynamic shared memory, rotated n times with two barriers a turn. */
__global__ static void rotate(int *out, int times) {
    FLIP_SHARED(int, values);
    const int n = (int)blockDim.x, t = (int)threadIdx.x;
    values[t] = t;
    for (int i = 0; i < times; i++) {
        __syncthreads();
        int next = values[(t + 1) % n];
        __syncthreads();
        values[t] = next;
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = values[t];
}

static void rotation(void **) {
    enum { BLOCKS = 3, THREADS = 100, TIMES = 7 };
    int *out = device<int>(BLOCKS * THREADS), found[BLOCKS * THREADS];
    FLIP_LAUNCH(rotate, BLOCKS, THREADS, THREADS * sizeof(int), out, TIMES);
    fetch(found, out, BLOCKS * THREADS);
    for (int i = 0; i < BLOCKS * THREADS; i++)
        assert_int_equal(found[i], (i % THREADS + TIMES) % THREADS);
    cudaFree(out);
}

/* Votes, widths and lanes, all told in bits that the test knows. */
__global__ static void votes(unsigned *out) {
    const unsigned t = threadIdx.x, all = 0xffffffffu;
    unsigned *mine = out + 8 * t;
    mine[0] = __ballot_sync(all, t % 3 == 0);
    mine[1] = (unsigned)(__any_sync(all, t == 40) + 2 * __all_sync(all, t < 32));
    mine[2] = __shfl_sync(all, t, 5, 8);
    mine[3] = __shfl_up_sync(all, t, 3, 16);
    mine[4] = __shfl_down_sync(all, t, 3, 16);
    mine[5] = __shfl_xor_sync(all, t, 9);
    mine[6] = t % 2 ? __shfl_sync(0xaaaaaaaau, t, 1) : __shfl_sync(0x55555555u, t, 2);
    mine[7] = (unsigned)__syncthreads_count(t % 5 == 0);
}

static void vote(void **) {
    enum { THREADS = 64 };
    unsigned *out = device<unsigned>(8 * THREADS), found[8 * THREADS];
    FLIP_LAUNCH(votes, 1, THREADS, 0, out);
    fetch(found, out, 8 * THREADS);
    for (unsigned t = 0; t < THREADS; t++) {
        const unsigned warp = t / 32 * 32, *mine = found + 8 * t;
        unsigned ballot = 0;
        for (unsigned l = 0; l < 32; l++)
            ballot |= (unsigned)((warp + l) % 3 == 0) << l;
        assert_int_equal(mine[0], ballot);
        assert_int_equal(mine[1], warp ? 1 : 2);
        assert_int_equal(mine[2], t / 8 * 8 + 5);
        assert_int_equal(mine[3], t % 16 < 3 ? t : t - 3);
        assert_int_equal(mine[4], t % 16 > 12 ? t : t + 3);
        assert_int_equal(mine[5], t ^ 9);
        assert_int_equal(mine[6], warp + (t % 2 ? 1 : 2));
        assert_int_equal(mine[7], 13);
    }
    cudaFree(out);
}

/* Lanes that have ended are not waited for in warps; blocks of two dimensions. */
__global__ static void lanes_end(int *out, unsigned long long *total) {
    const unsigned t = threadIdx.x + threadIdx.y * blockDim.x;
    if (t % 4 == 3) return;
    int sum = __popc(__ballot_sync(0xffffffffu, 1));
    out[t] = sum;
    atomicAdd(total, (unsigned long long)sum);
    atomicMax(&out[t], (int)threadIdx.y);
}

static void lanes(void **) {
    int *out = device<int>(40), found[40];
    unsigned long long *total = device<unsigned long long>(1), all = 0;
    cudaMemsetAsync(out, 0, 40 * sizeof *out, stream);
    cudaMemsetAsync(total, 0, sizeof *total, stream);
    FLIP_LAUNCH(lanes_end, 1, dim3(10, 4), 0, out, total);
    fetch(found, out, 40);
    fetch(&all, total, 1);
    for (int t = 0; t < 40; t++)
        assert_int_equal(found[t], t % 4 == 3 ? 0 : t < 32 ? 24 : 6);
    assert_int_equal(all, 24 * 24 + 6 * 6);
    cudaFree(out);
    cudaFree(total);
}

/* ---- planted faults ---- */

__global__ static void some_wait(int *out) {
    if (threadIdx.x != 7) __syncthreads();
    out[threadIdx.x] = 1;
}

static void plant_divergence(void) {
    FLIP_LAUNCH(some_wait, 2, 64, 0, device<int>(64));
    cudaStreamSynchronize(stream);
}

__global__ static void other_barrier(int *out) {
    if (threadIdx.x < 32)
        __syncthreads();
    else if (threadIdx.x == 40)
        out[0] = (int)__ballot_sync(0xffffffffu, 1);
    else
        __syncwarp();
}

static void plant_other_barrier(void) {
    FLIP_LAUNCH(other_barrier, 1, 64, 0, device<int>(64));
    cudaStreamSynchronize(stream);
}

static void divergence(void **) {
    caught(plant_divergence, "block 0: barrier divergence: thread 0 waits in __syncthreads");
    caught(plant_divergence, "thread 7 has ended");
    caught(plant_other_barrier, "thread 0 waits in __syncthreads");
    caught(plant_other_barrier, "thread 32 waits in __syncwarp");
}

/* ---- memory ---- */

/* out[i] = from[i + shift] for i < n, which leaves the arrays where the caller wants it to. */
__global__ static void shifted(int n, int *out, const int *from, int64_t to_shift, int64_t shift) {
    FLIP_EACH(i, n) out[i + to_shift] = from[i + shift];
}

enum { N = 100, WHOLE = 1024 }; /* WHOLE: ends with its page */
static int *out_of[2], *from_of[2];

static void two_arrays(void) {
    for (int i = 0; i < 2; i++) {
        size_t n = i ? WHOLE : N;
        out_of[i] = device<int>(n);
        from_of[i] = device<int>(n);
        FLIP_NAME_MEMORY(out_of[i], "activations");
        FLIP_NAME_MEMORY(from_of[i], "features");
        cudaMemsetAsync(from_of[i], 0, n * sizeof(int), stream);
    }
    cudaStreamSynchronize(stream);
}

static void run_shifted(int n, int *out, const int *from, int64_t to_shift, int64_t shift) {
    FLIP_LAUNCH(shifted, 2, 64, 0, n, out, from, to_shift, shift);
    cudaStreamSynchronize(stream);
}

static void plant_off_by_one(void) {
    run_shifted(N, out_of[0], from_of[0], 1, 0);
}
static void plant_off_by_one_whole(void) {
    run_shifted(WHOLE, out_of[1], from_of[1], 1, 0);
}
static void plant_before_start(void) {
    run_shifted(N, out_of[0], from_of[0], -1, 0);
}
static void plant_read_past_end(void) {
    run_shifted(WHOLE, out_of[1], from_of[1], 0, 3);
}
static void plant_wild_read(void) {
    run_shifted(1, out_of[0], from_of[0], 0, out_of[1] - from_of[0] + 5);
}
static void plant_after_free(void) {
    cudaFree(from_of[0]);
    run_shifted(N, out_of[0], from_of[0], 0, 0);
}
static void plant_hidden_after_free(void) {
    cudaFree(from_of[0]);
    run_shifted(N, out_of[0], from_of[1], 0, from_of[0] - from_of[1]);
}
static void plant_host_pointer(void) {
    static int plain[N];
    run_shifted(N, out_of[0], plain, 0, 0);
}
static void plant_host_read(void) {
    run_shifted(N, out_of[0], from_of[0], 0, 0);
    printf("%d", out_of[0][2]);
}
static void plant_host_write(void) {
    memset(out_of[1], 0, 12);
}
static void plant_long_copy(void) {
    int host[N + 1] = {0};
    cudaMemcpyAsync(out_of[0], host, sizeof host, cudaMemcpyHostToDevice, stream);
}
static void plant_mixed_up_copy(void) {
    cudaMemcpyAsync(out_of[0], from_of[0], 4, cudaMemcpyDeviceToHost, stream);
}
static void plant_free_twice(void) {
    cudaFree(out_of[0]);
    cudaFree(out_of[0]);
}

struct hidden {
    int n;
    const int *from;
};
__global__ static void by_struct(hidden h, int *out) {
    FLIP_EACH(i, h.n) out[i] = h.from[i];
}
static void plant_host_pointer_in_struct(void) {
    int *plain = static_cast<int *>(calloc(N, sizeof *plain));
    hidden h = {N, plain};
    FLIP_LAUNCH(by_struct, 1, 32, 0, h, out_of[0]);
}

__global__ static void deep(int *out, int n) {
    volatile char room[4096];
    room[n] = 1;
    out[0] = n > 0 ? room[n] : 0;
    if (n > 1) deep(out, n - 1);
    out[1] = room[n];
}
static void plant_deep(void) {
    FLIP_LAUNCH(deep, 1, 1, 0, out_of[0], 200);
    cudaStreamSynchronize(stream);
}

static void memory(void **) {
    two_arrays();
    caught(plant_off_by_one, "kernel shifted (t290_emulation.cpp:");
    caught(plant_off_by_one, "wrote out of bounds: 0 bytes past the end of 'activations'");
    caught(plant_off_by_one_whole,
           "block 1, thread 63 went out of bounds: 0 bytes past the end of");
    caught(plant_before_start, "4 bytes before the start of 'activations'");
    caught(plant_read_past_end, "went out of bounds: 0 bytes past the end of 'features'");
    caught(plant_wild_read, "that none of its arguments points to: 'activations' + 20 bytes");
    caught(plant_after_free, "argument 3 points to freed memory: 'features'");
    caught(plant_hidden_after_free, "uses freed memory: 'features' + 0 bytes");
    caught(plant_host_pointer, "which is neither the device's memory nor pinned");
    caught(plant_host_pointer_in_struct, "argument 1 holds 0x");
    caught(plant_host_read, "host access to device memory: 'activations' + 8 bytes");
    caught(plant_host_write, "host access to device memory: 'activations' + 0 bytes");
    caught(plant_long_copy, "copy host to device: 404 bytes at 0 of 'activations' (400 bytes)");
    caught(plant_mixed_up_copy, "'activations' is the device's memory, not the host's");
    caught(plant_free_twice, "free already");
    caught(plant_deep, "the stack of a thread is used up");
}

/* What nobody wrote is NaN; what is right passes: pinned memory, structs, pointers past the end. */
static void clean(void **) {
    float *fresh = device<float>(3), found[3];
    int *pinned = NULL, *out = device<int>(N);
    assert_int_equal(cudaMallocHost((void **)&pinned, N * sizeof *pinned), cudaSuccess);
    fetch(found, fresh, 3);
    assert_true(isnan(found[0]) && isnan(found[2]));
    for (int i = 0; i < N; i++)
        pinned[i] = i;
    hidden h = {N, pinned};
    FLIP_LAUNCH(by_struct, 2, 32, 0, h, out);
    FLIP_LAUNCH(shifted, 1, 32, 0, N, pinned, out + N, (int64_t)0, (int64_t)-N);
    cudaStreamSynchronize(stream);
    for (int i = 0; i < N; i++)
        assert_int_equal(pinned[i], i);
    size_t free_before = 0, free_after = 0, total = 0;
    cudaMemGetInfo(&free_before, &total);
    cudaFree(fresh);
    cudaFree(out);
    cudaFreeHost(pinned);
    cudaMemGetInfo(&free_after, &total);
    assert_true(free_after > free_before);
    assert_int_equal(cudaMalloc((void **)&fresh, total + 1), cudaErrorMemoryAllocation);
}

/* ---- races ---- */

/* `rotate` with one of its two barriers forgotten. */
__global__ static void rotate_badly(int *out, int times, int forgotten) {
    __shared__ int values[64];
    const int n = (int)blockDim.x, t = (int)threadIdx.x;
    values[t] = t;
    for (int i = 0; i < times; i++) {
        if (forgotten != 0) __syncthreads();
        int next = values[(t + 1) % n];
        if (forgotten != 1) __syncthreads();
        values[t] = next;
    }
    out[t] = values[t];
}

/* Sums whose order is that of the threads. */
__global__ static void unordered_sum(float *out) {
    if (threadIdx.x == 0 && blockIdx.x == 0) *out = 0;
    *out += 1.0f / (float)(1 + threadIdx.x);
}

/* Every block counts what it sees of the others. */
__global__ static void blocks_talk(int *counts) {
    counts[blockIdx.x + 1] = counts[blockIdx.x] + 1;
}

static void race(int forgotten) {
    FLIP_LAUNCH(rotate_badly, 1, 64, 0, device<int>(64), 2, forgotten);
    cudaStreamSynchronize(stream);
}
static void plant_first_barrier(void) {
    race(0);
}
static void plant_second_barrier(void) {
    race(1);
}
static void plant_unordered_sum(void) {
    FLIP_LAUNCH(unordered_sum, 1, 100, 0, device<float>(1));
    cudaStreamSynchronize(stream);
}
static void plant_blocks_talk(void) {
    int *counts = device<int>(5);
    cudaMemsetAsync(counts, 0, 5 * sizeof *counts, stream);
    FLIP_LAUNCH(blocks_talk, 4, 1, 0, counts);
    cudaStreamSynchronize(stream);
}

static void races(void **) {
    race(2);
    caught(plant_first_barrier, "results depend on the order of its threads");
    caught(plant_second_barrier, "results depend on the order of its threads");
    caught(plant_unordered_sum, "results depend on the order of its threads");
    caught(plant_blocks_talk, "results depend on the order of its threads");
}

/* ---- streams ---- */

static cudaStream_t second;
static int *pinned_in, *pinned_out, *shared_array;

/* A copy in on one stream, a kernel that reads it on another; with or without the event between
 * them, and another before the next copy in. */
static void copy_and_compute(bool waits, bool waits_again) {
    cudaEvent_t copied, computed;
    cudaEventCreateWithFlags(&copied, cudaEventDisableTiming);
    cudaEventCreateWithFlags(&computed, cudaEventDisableTiming);
    cudaMemcpyAsync(shared_array, pinned_in, N * sizeof(int), cudaMemcpyHostToDevice, second);
    cudaEventRecord(copied, second);
    if (waits) cudaStreamWaitEvent(stream, copied);
    FLIP_LAUNCH(shifted, 1, 32, 0, N, pinned_out, shared_array, (int64_t)0, (int64_t)0);
    cudaEventRecord(computed, stream);
    if (waits_again) cudaStreamWaitEvent(second, computed);
    cudaMemcpyAsync(shared_array, pinned_in, N * sizeof(int), cudaMemcpyHostToDevice, second);
    while (cudaEventQuery(computed) == cudaErrorNotReady)
        ;
    cudaStreamSynchronize(second);
    cudaEventDestroy(copied);
    cudaEventDestroy(computed);
}
static void plant_no_wait(void) {
    copy_and_compute(false, true);
}
static void plant_no_second_wait(void) {
    copy_and_compute(true, false);
}

/* MPI is given what a kernel still writes, and reads. */
static void plant_early_send(void) {
    MPI_Request request;
    FLIP_LAUNCH(shifted, 1, 32, 0, N, shared_array, pinned_in, (int64_t)0, (int64_t)0);
    MPI_Isend(shared_array, N * sizeof(int), MPI_BYTE, 0, 0, MPI_COMM_WORLD, &request);
}
static void plant_early_receive(void) {
    MPI_Request request;
    FLIP_LAUNCH(shifted, 1, 32, 0, N, pinned_out, shared_array, (int64_t)0, (int64_t)0);
    MPI_Irecv(shared_array, N * sizeof(int), MPI_BYTE, 0, 0, MPI_COMM_WORLD, &request);
}

static void streams(void **) {
    cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking);
    cudaMallocHost((void **)&pinned_in, N * sizeof(int));
    cudaMallocHost((void **)&pinned_out, N * sizeof(int));
    shared_array = device<int>(N);
    FLIP_NAME_MEMORY(shared_array, "block");
    for (int i = 0; i < N; i++)
        pinned_in[i] = 3 * i;
    copy_and_compute(true, true);
    for (int i = 0; i < N; i++)
        assert_int_equal(pinned_out[i], 3 * i);
    caught(plant_no_wait, "both use 'block' + 0 bytes with no event or wait between them");
    caught(plant_no_wait, "copy host to device (stream 2) and shifted");
    caught(plant_no_second_wait, "and copy host to device (stream 2) both use 'block'");
    caught(plant_early_send, "both use 'block' + 0 bytes with no event or wait between them");
    caught(plant_early_send, "(stream 1) and MPI_Isend");
    caught(plant_early_receive, "(stream 1) and MPI_Irecv");
    /* reading only needs no order */
    cudaMemcpyAsync(pinned_out, shared_array, N * sizeof(int), cudaMemcpyDeviceToHost, second);
    int *copy = device<int>(N), found[N];
    FLIP_LAUNCH(shifted, 1, 32, 0, N, copy, shared_array, (int64_t)0, (int64_t)0);
    /* a copy from pinned memory reads what is there when it is done, not when it was asked for */
    const char *options = getenv("FLIP_EMULATION");
    const bool eager = options && strstr(options, "eager");
    cudaStreamSynchronize(second);
    cudaMemcpyAsync(shared_array, pinned_in, N * sizeof(int), cudaMemcpyHostToDevice, stream);
    pinned_in[4] = -1;
    fetch(found, shared_array, N);
    assert_int_equal(found[3], 9);
    assert_int_equal(found[4], eager ? 12 : -1);
    /* and from pageable memory what was there */
    int pageable[N] = {5};
    cudaMemcpyAsync(shared_array, pageable, sizeof pageable, cudaMemcpyHostToDevice, stream);
    pageable[0] = 6;
    fetch(found, shared_array, N);
    assert_int_equal(found[0], 5);
    cudaFree(copy);
    cudaStreamDestroy(second);
}

/* ---- what the kernels' table sends ahead ---- */

/* More than all of the pinned memory that it goes through. */
enum { AHEAD = (FLIP_STAGING_BYTES + 100000) / sizeof(int) };
static const flip_kernels *table;
static int *ahead_host, *ahead_room, *ahead_taken[2];

static void fill_host(int from) {
    for (int i = 0; i < AHEAD; i++)
        ahead_host[i] = from + 3 * i;
}

/* Twice into one room, which the kernels read in between. */
static void send_twice(bool joins, bool waits) {
    void *left = NULL;
    for (int i = 0; i < 2; i++) {
        fill_host(i);
        table->send_ahead(ahead_room, ahead_host, AHEAD * sizeof(int), left);
        memset(ahead_host, 0xff, AHEAD * sizeof(int));
        if (joins) table->join_ahead();
        FLIP_LAUNCH(shifted, 1, 32, 0, N, ahead_taken[i], ahead_room + AHEAD - N, (int64_t)0,
                    (int64_t)0);
        table->copy(ahead_taken[i] + N, ahead_room + N, (AHEAD - 2 * N) * sizeof(int));
        if (waits) table->mark_end(&left);
    }
    table->drop_end(&left);
    table->wait();
}
static void plant_no_join(void) {
    send_twice(false, true);
}
static void plant_no_end(void) {
    send_twice(true, false);
}

/* A kernel waits in its stream; what is sent ahead meanwhile gets there, and the host waits for
 * nothing. */
static void overtake(int *passed) {
    const uint64_t waits = table->counts().waits, bytes = table->counts().ahead;
    const char *options = getenv("FLIP_EMULATION");
    int here[N];
    passed[3] = -1;
    FLIP_LAUNCH(shifted, 1, 32, 0, N, passed, ahead_taken[0] + N, (int64_t)0, (int64_t)0);
    for (int i = 0; i < 50; i++) { /* each has a piece: they go round */
        fill_host(i);
        table->send_ahead(ahead_room, ahead_host, N * sizeof(int), NULL);
    }
    if (!options || !strstr(options, "eager")) assert_int_equal(passed[3], -1);
    assert_int_equal(table->counts().waits, waits);
    assert_int_equal(table->counts().ahead - bytes, 50 * N * sizeof(int));
    table->join_ahead();
    table->receive(here, ahead_room, sizeof here);
    assert_int_equal(table->counts().waits, waits + 1);
    assert_int_equal(passed[3], 3 * (N + 3));
    for (int i = 0; i < N; i++)
        assert_int_equal(here[i], 49 + 3 * i);
}

static void ahead(void **) {
    int *passed;
    assert_int_equal(flip_kernels_cuda(&table, 0), FLIP_OK);
    ahead_host = static_cast<int *>(malloc(AHEAD * sizeof(int)));
    ahead_room = device<int>(AHEAD);
    FLIP_NAME_MEMORY(ahead_room, "room");
    for (int i = 0; i < 2; i++)
        ahead_taken[i] = device<int>(AHEAD);
    cudaMallocHost((void **)&passed, N * sizeof(int));
    caught(plant_no_join, "both use 'room' + ");
    caught(plant_no_join, "copy host to device (stream ");
    caught(plant_no_end, "both use 'room' + ");
    send_twice(true, true);
    for (int i = 0; i < 2; i++) {
        table->receive(ahead_host, ahead_taken[i], (AHEAD - N) * sizeof(int));
        for (int j = N; j < AHEAD - N; j++)
            assert_int_equal(ahead_host[j], i + 3 * j);
        for (int j = 0; j < N; j++)
            assert_int_equal(ahead_host[j], i + 3 * (AHEAD - N + j));
    }
    overtake(passed);
    cudaFree(ahead_room);
    for (int *taken : ahead_taken)
        cudaFree(taken);
    cudaFreeHost(passed);
    free(ahead_host);
}

int main(void) {
    const CMUnitTest tests[] = {
        cmocka_unit_test(sums),   cmocka_unit_test(rotation), cmocka_unit_test(vote),
        cmocka_unit_test(lanes),  cmocka_unit_test(clean),    cmocka_unit_test(divergence),
        cmocka_unit_test(memory), cmocka_unit_test(races),    cmocka_unit_test(streams),
        cmocka_unit_test(ahead),
    };
    const char *asked = getenv("FLIP_EMULATION");
    char words[256];
    snprintf(words, sizeof words, "%s,aware", asked ? asked : "");
    setenv("FLIP_EMULATION", words, 1);
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

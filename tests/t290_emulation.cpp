/* The emulated device: what it computes, and that planted faults are caught, each in a process of
 * its own. Built with -Dcuda=emulated only. */
#include <cuda_runtime.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
extern "C" {
#include <cmocka.h>
}

static cudaStream_t stream;

template <typename type> static type *device(size_t n) {
    void *memory = NULL;
    assert_int_equal(cudaMalloc(&memory, n * sizeof(type)), cudaSuccess);
    return static_cast<type *>(memory);
}

template <typename type> static void fetch(type *host, const type *memory, size_t n) {
    assert_int_equal(
        cudaMemcpyAsync(host, memory, n * sizeof(type), cudaMemcpyDeviceToHost, stream),
        cudaSuccess);
    assert_int_equal(cudaStreamSynchronize(stream), cudaSuccess);
}

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

/* Runs `fault` in a child, which must be ended by the device with `words` in its message. */
static void caught(void (*fault)(void), const char *words) {
    int ends[2], status = 0;
    char said[4096];
    assert_int_equal(pipe(ends), 0);
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], 2);
        signal(SIGABRT, SIG_DFL);
        fault();
        _exit(0);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got;
         n < sizeof said - 1 && (got = read(ends[0], said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)got;
    said[n] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!strstr(said, words)) fail_msg("expected \"%s\", but it said \"%s\"", words, said);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

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

int main(void) {
    const CMUnitTest tests[] = {
        cmocka_unit_test(sums),  cmocka_unit_test(rotation),   cmocka_unit_test(vote),
        cmocka_unit_test(lanes), cmocka_unit_test(divergence),
    };
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The threads of a block. They are run one after the other in one fiber until one of them waits;
 * that fiber is then its own, and the next thread gets another. So kernels whose threads never talk
 * cost a call a thread, and the others a switch of stacks a wait. */
#include "emulation.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

FLIP_EMULATED_HIDDEN uint3 threadIdx, blockIdx;
FLIP_EMULATED_HIDDEN dim3 blockDim, gridDim;
FLIP_EMULATED_HIDDEN unsigned char *flip_emulated_shared;
/* Bounds of the section of static shared arrays; absent where no kernel has one. */
extern unsigned char __start_flip_shared[] __attribute__((weak));
extern unsigned char __stop_flip_shared[] __attribute__((weak));

enum {
    MOST_THREADS = 1024,
    MOST_SHARED = 227 << 10, /* what a block may have on sm_90 */
    STACK_BYTES = 240 << 10,
    GUARD = 16 << 10,
    POISON = 0xff /* a NaN, or -1 */
};

/* ---- fibers ---- */

#ifdef __x86_64__
struct fiber {
    void *top; /* of its stack while it does not run; the registers lie there */
    fiber *next_free;
};

/* swapcontext would ask the kernel for the signal mask at every switch. */
extern "C" void flip_emulated_switch(void **from, void *to);
asm(".text\n"
    ".p2align 4\n"
    ".type flip_emulated_switch, @function\n"
    "flip_emulated_switch:\n"
    "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n"
    ".size flip_emulated_switch, . - flip_emulated_switch\n");

static void switch_fiber(fiber *from, fiber *to) {
    flip_emulated_switch(&from->top, to->top);
}

static void prepare_fiber(fiber *f, char *stack, void (*start)(void)) {
    void **top = (void **)(stack + STACK_BYTES);
    *--top = NULL;          /* where `start` would return to; keeps the ABI's alignment */
    *--top = (void *)start; /* where the first switch returns to */
    for (int i = 0; i < 6; i++)
        *--top = NULL;
    f->top = top;
}
#else
struct fiber {
    ucontext_t context;
    fiber *next_free;
};

static void switch_fiber(fiber *from, fiber *to) {
    swapcontext(&from->context, &to->context);
}

static void prepare_fiber(fiber *f, char *stack, void (*start)(void)) {
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    f->context.uc_link = NULL;
    makecontext(&f->context, start, 0);
}
#endif

static fiber fibers[MOST_THREADS + 1], outside; /* outside: who asked for the grid */
static fiber *free_fibers, *running = &outside;
static char *stacks[MOST_THREADS + 1];
static unsigned n_fibers;

static void run_threads(void);

/* Below every stack lie pages that nobody may touch. */
static fiber *take_fiber(void) {
    if (!free_fibers) {
        if (n_fibers == MOST_THREADS + 1) flip_emulated_fail("more fibers than threads");
        char *stack = (char *)mmap(NULL, GUARD + STACK_BYTES, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED || mprotect(stack, GUARD, PROT_NONE) != 0)
            flip_emulated_fail("no memory for the stack of a thread");
        prepare_fiber(&fibers[n_fibers], stack + GUARD, run_threads);
        stacks[n_fibers] = stack;
        return &fibers[n_fibers++];
    }
    fiber *f = free_fibers;
    free_fibers = f->next_free;
    return f;
}

bool flip_emulated_is_stack_end(const void *address) {
    for (unsigned i = 0; i < n_fibers; i++)
        if ((const char *)address >= stacks[i] && (const char *)address < stacks[i] + GUARD)
            return true;
    return false;
}

/* ---- the block that runs ---- */

struct thread {
    fiber *own;                     /* where it waits */
    const flip_emulated_wait *wait; /* for what; NULL: for nothing */
    uint64_t result;
};
struct warp {
    unsigned alive, waiting; /* lanes that have not ended; that wait for others of the warp */
};
static thread threads[MOST_THREADS];
static warp warps[MOST_THREADS / warpSize];
static uint3 place[MOST_THREADS];          /* threadIdx of a thread */
static unsigned short order[MOST_THREADS]; /* in which threads begin, and go on after a barrier */
static const flip_emulated_kernel *kernel;
static flip_emulated_order turn;
static unsigned n_threads, n_begun, n_ended, n_at_barrier, current;
static bool waited; /* some thread of the block did */
/* Threads that may go on, a ring: each is in it at most once. */
static unsigned short ready[MOST_THREADS];
static unsigned ready_first, n_ready;

static void make_ready(unsigned t) {
    ready[(ready_first + n_ready++) % MOST_THREADS] = (unsigned short)t;
    threads[t].wait = NULL;
}

static bool same_call(const flip_emulated_wait *a, const flip_emulated_wait *b) {
    return a && a->line == b->line && a->name == b->name && a->mask == b->mask;
}

static void tell_wait(char *out, size_t bytes, unsigned t) {
    const flip_emulated_wait *w = threads[t].wait;
    if (w)
        snprintf(out, bytes, "thread %u waits in %s (%s:%d)", t, w->name, w->file, w->line);
    else
        snprintf(out, bytes, "thread %u has ended", t);
}

/* Nobody can go on: the first thread that waits, and the first that does something else. */
static void diverged(void) {
    unsigned a = 0, b = 0;
    char first[200], second[200];
    while (!threads[a].wait)
        a++;
    const flip_emulated_wait *w = threads[a].wait;
    for (b = 0; b < n_threads; b++) {
        bool named = a / warpSize == b / warpSize && w->mask >> b % warpSize & 1;
        if (w->kind != FLIP_EMULATED_BARRIER && !named) continue;
        if (!same_call(threads[b].wait, w)) break;
    }
    tell_wait(first, sizeof first, a);
    tell_wait(second, sizeof second, b < n_threads ? b : a);
    flip_emulated_fail("kernel %s, block %u: barrier divergence: %s, %s", kernel->name, blockIdx.x,
                       first, second);
}

static void release_barrier(void) {
    const flip_emulated_wait *w = threads[0].wait;
    uint64_t sum = 0;
    for (unsigned t = 0; t < n_threads; t++) {
        if (!same_call(threads[t].wait, w)) diverged();
        sum += threads[t].wait->value;
    }
    n_at_barrier = 0;
    for (unsigned i = 0; i < n_threads; i++) {
        threads[order[i]].result = sum;
        make_ready(order[i]);
    }
}

/* The fiber of the current thread cannot go on, or has no thread: another does. */
static void go_on(fiber *from) {
    fiber *to;
    if (n_ready == 0 && n_begun == n_threads && n_ended < n_threads) {
        if (n_at_barrier < n_threads) diverged();
        release_barrier();
    }
    if (n_ready > 0) {
        current = ready[ready_first];
        ready_first = (ready_first + 1) % MOST_THREADS;
        n_ready--;
        threadIdx = place[current];
        to = threads[current].own;
    } else
        to = n_begun < n_threads ? take_fiber() : &outside;
    running = to;
    if (to != from) switch_fiber(from, to);
}

static void leave_warp(unsigned t);

/* What a fiber does all its life. */
static void run_threads(void) {
    for (;;) {
        fiber *const self = running;
        while (n_begun < n_threads && n_ready == 0) {
            const unsigned t = current = order[n_begun++];
            threadIdx = place[t];
            kernel->thread(kernel->arguments);
            n_ended++;
            warps[t / warpSize].alive &= ~(1u << t % warpSize);
            if (waited) leave_warp(t);
        }
        self->next_free = free_fibers;
        free_fibers = self;
        go_on(self);
    }
}

/* ---- warps ---- */

/* All lanes have come to the same call: the answers. A lane that is not there has no value. */
static void answer_warp(thread *lane, unsigned lanes, flip_emulated_kind kind) {
    uint64_t bits = 0;
    for (unsigned l = 0; l < warpSize; l++)
        if (lanes >> l & 1 && lane[l].wait->value) bits |= 1u << l;
    for (unsigned l = 0; l < warpSize; l++) {
        if (!(lanes >> l & 1)) continue;
        unsigned source = lane[l].wait->source;
        if (kind == FLIP_EMULATED_WARP)
            lane[l].result = bits;
        else
            lane[l].result = lanes >> source & 1 ? lane[source].wait->value : UINT64_MAX;
    }
}

/* If the call that lane `from` of warp w waits in is complete, all its lanes go on. */
static void try_warp(unsigned w, unsigned from) {
    thread *lane = &threads[w * warpSize];
    const flip_emulated_wait *call = lane[from].wait;
    const unsigned lanes = warps[w].alive & call->mask;
    if (lanes & ~warps[w].waiting) return;
    for (unsigned l = 0; l < warpSize; l++)
        if (lanes >> l & 1 && !same_call(lane[l].wait, call)) return;
    answer_warp(lane, lanes, call->kind);
    warps[w].waiting &= ~lanes;
    for (unsigned i = 0; i < warpSize; i++) {
        unsigned l = turn == FLIP_EMULATED_FORWARD ? i : warpSize - 1 - i;
        if (lanes >> l & 1) make_ready(w * warpSize + l);
    }
}

/* A thread that ends may be the last that others of its warp wait for. */
static void leave_warp(unsigned t) {
    const unsigned w = t / warpSize;
    if (warps[w].waiting) try_warp(w, (unsigned)__builtin_ctz(warps[w].waiting));
}

const char *flip_emulated_where(void) {
    static char words[300];
    if (!kernel) return NULL;
    snprintf(words, sizeof words, "kernel %s, block %u, thread %u", kernel->name, blockIdx.x,
             current);
    return words;
}

unsigned flip_emulated_lane(void) {
    return current % warpSize;
}

uint64_t flip_emulated_wait_for(const flip_emulated_wait *wait) {
    const unsigned t = current;
    waited = true;
    threads[t].wait = wait;
    threads[t].own = running;
    if (wait->kind == FLIP_EMULATED_BARRIER)
        n_at_barrier++;
    else if (!(wait->mask >> t % warpSize & 1))
        flip_emulated_fail("kernel %s, block %u, thread %u: %s (%s:%d) with a mask that does not "
                           "name the caller",
                           kernel->name, blockIdx.x, t, wait->name, wait->file, wait->line);
    else {
        warps[t / warpSize].waiting |= 1u << t % warpSize;
        try_warp(t / warpSize, t % warpSize);
    }
    go_on(running);
    return threads[t].result;
}

/* ---- grids ---- */

static void lay_out(void) {
    const dim3 d = kernel->threads;
    n_threads = d.x * d.y * d.z;
    for (unsigned t = 0; t < n_threads; t++) {
        place[t] = {t % d.x, t / d.x % d.y, t / d.x / d.y};
        order[t] = (unsigned short)(turn == FLIP_EMULATED_FORWARD ? t : n_threads - 1 - t);
    }
}

static void run_block(unsigned b) {
    blockIdx = {b, 0, 0};
    n_begun = n_ended = n_at_barrier = n_ready = ready_first = 0;
    for (unsigned w = 0; w * warpSize < n_threads; w++) {
        unsigned rest = n_threads - w * warpSize;
        warps[w] = {rest < warpSize ? (1u << rest) - 1 : 0xffffffffu, 0};
    }
    if (waited)
        memset(__start_flip_shared, POISON, (size_t)(__stop_flip_shared - __start_flip_shared));
    if (kernel->shared) memset(flip_emulated_shared, POISON, kernel->shared);
    waited = false;
    go_on(&outside);
}

void flip_emulated_run(const flip_emulated_kernel *grid, flip_emulated_order order_of_turns) {
    static unsigned char *shared;
    const uint64_t n = (uint64_t)grid->threads.x * grid->threads.y * grid->threads.z;
    if (n == 0 || n > MOST_THREADS || grid->shared > MOST_SHARED)
        flip_emulated_fail("kernel %s: blocks of %llu threads with %zu bytes of shared memory; a "
                           "device takes 1 to %d and %d",
                           grid->name, (unsigned long long)n, grid->shared, MOST_THREADS,
                           MOST_SHARED);
    if (!shared) shared = (unsigned char *)aligned_alloc(1024, MOST_SHARED);
    kernel = grid;
    turn = order_of_turns;
    lay_out();
    blockDim = grid->threads;
    gridDim = dim3(grid->blocks);
    flip_emulated_shared = shared + (MOST_SHARED - grid->shared) / 16 * 16; /* its end is the end */
    waited = true; /* statics of other kernels may lie where this one's are */
    for (unsigned b = 0; b < grid->blocks; b++)
        run_block(turn == FLIP_EMULATED_FORWARD ? b : grid->blocks - 1 - b);
    kernel = NULL;
}

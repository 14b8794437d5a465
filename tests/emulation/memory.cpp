/* The device's memory: pages of their own for every allocation, closed while no kernel and no copy
 * uses them, with a page that is never open on either side. Addresses are not given twice, so a
 * freed allocation stays closed for good. */
#include "emulation.h"

#include <algorithm>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { PAGE = 4096, LARGE = 2 << 20, ALIGN = 256, FRESH = 0xff /* NaN, -1 */, EDGE = 0xe5 };

static char *space, *space_end, *next_page;
static size_t device_bytes;
/* Ascending by address. */
static std::vector<flip_emulated_allocation *> *allocations;
static std::vector<flip_emulated_allocation *> *opened;

static size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

static void protect(char *pages, size_t bytes, int how) {
    if (mprotect(pages, bytes, how) != 0)
        flip_emulated_fail("mprotect of %zu bytes failed: too many allocations?", bytes);
}

/* A terabyte of addresses, less where the process may not have so many. */
static void reserve(void) {
    allocations = new std::vector<flip_emulated_allocation *>;
    opened = new std::vector<flip_emulated_allocation *>;
    for (size_t bytes = (size_t)1 << 40; bytes >= (size_t)1 << 30; bytes /= 2) {
        void *got =
            mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == MAP_FAILED) continue;
        space = next_page = (char *)round_up((size_t)got, LARGE);
        space_end = (char *)got + bytes;
        return;
    }
    flip_emulated_fail("no addresses for the device's memory");
}

/* ---- looking up ---- */

/* The page behind an allocation is its own: to run past an end is the common fault. */
flip_emulated_allocation *flip_emulated_near(const void *address) {
    const char *at = (const char *)address;
    if (!space || at < space || at >= space_end || allocations->empty()) return NULL;
    auto after = std::upper_bound(
        allocations->begin(), allocations->end(), at,
        [](const char *p, const flip_emulated_allocation *a) { return p < a->pages; });
    return after == allocations->begin() ? allocations->front() : after[-1];
}

flip_emulated_allocation *flip_emulated_find(const void *memory, size_t bytes) {
    flip_emulated_allocation *a = flip_emulated_near(memory);
    const char *at = (const char *)memory;
    if (!a || a->freed || at < a->start || at + bytes > a->start + a->bytes) return NULL;
    return a;
}

void flip_emulated_name(const void *memory, const char *what) {
    flip_emulated_allocation *a = flip_emulated_near(memory);
    if (a) snprintf(a->name, sizeof a->name, "%s", what);
}

/* ---- taking and giving back ---- */

static void fill_edges(flip_emulated_allocation *a) {
    memset(a->pages, EDGE, (size_t)(a->start - a->pages));
    memset(a->start, FRESH, a->bytes);
    char *end = a->start + a->bytes;
    memset(end, EDGE, (size_t)(a->pages + a->page_bytes - end));
}

cudaError_t flip_emulated_allocate(void **out, size_t bytes, bool pinned) {
    const size_t rounded = round_up(bytes ? bytes : 1, ALIGN), page_bytes = round_up(rounded, PAGE);
    if (!space) reserve();
    if (bytes > flip_emulated_options_get()->bytes) return cudaErrorMemoryAllocation;
    if (!pinned && device_bytes + page_bytes > flip_emulated_options_get()->bytes)
        return cudaErrorMemoryAllocation;
    if (page_bytes + 2 * LARGE > (size_t)(space_end - next_page))
        flip_emulated_fail("its addresses, which are given once, are used up");
    flip_emulated_allocation *a = new flip_emulated_allocation();
    a->pages = next_page + PAGE;
    if (page_bytes >= LARGE) a->pages = space + round_up((size_t)(a->pages - space), LARGE);
    a->page_bytes = page_bytes;
    a->start = a->pages + page_bytes - rounded;
    a->bytes = bytes;
    a->pinned = pinned;
    snprintf(a->name, sizeof a->name, "%zu bytes", bytes);
    next_page = a->pages + page_bytes;
    if (!pinned) device_bytes += page_bytes;
    protect(a->pages, page_bytes, PROT_READ | PROT_WRITE);
    if (page_bytes >= LARGE) madvise(a->pages, page_bytes, MADV_HUGEPAGE); /* quick to close */
    fill_edges(a);
    if (!pinned) protect(a->pages, page_bytes, PROT_NONE);
    allocations->push_back(a);
    *out = a->start;
    return cudaSuccess;
}

void flip_emulated_release(void *memory, bool pinned) {
    flip_emulated_allocation *a = flip_emulated_near(memory);
    if (!a || a->start != memory || a->pinned != pinned || a->freed)
        flip_emulated_fail("%p was given back, which is %s", memory,
                           a && a->freed ? "free already" : "not what was taken");
    flip_emulated_open(a);
    flip_emulated_check_edges(a, "something");
    flip_emulated_close(true);
    madvise(a->pages, a->page_bytes, MADV_DONTNEED);
    protect(a->pages, a->page_bytes, PROT_NONE);
    if (!pinned) device_bytes -= a->page_bytes;
    a->freed = true;
    std::vector<flip_emulated_use>().swap(a->uses);
}

void flip_emulated_device_memory(size_t *free_bytes, size_t *total) {
    *total = flip_emulated_options_get()->bytes;
    *free_bytes = *total - device_bytes;
}

/* ---- open and closed ---- */

void flip_emulated_open(flip_emulated_allocation *a) {
    if (a->pinned || a->open) return;
    protect(a->pages, a->page_bytes, PROT_READ | PROT_WRITE);
    a->open = true;
    opened->push_back(a);
}

void flip_emulated_close(bool large_too) {
    size_t left = 0;
    for (flip_emulated_allocation *a : *opened) {
        if (!large_too && a->page_bytes >= LARGE) {
            (*opened)[left++] = a;
            continue;
        }
        protect(a->pages, a->page_bytes, PROT_NONE);
        a->open = false;
    }
    opened->resize(left);
}

static const char *written(const char *from, const char *to) {
    while (from < to && (unsigned char)*from == EDGE)
        from++;
    return from < to ? from : NULL;
}

void flip_emulated_check_edges(const flip_emulated_allocation *a, const char *who) {
    const char *end = a->start + a->bytes, *at;
    if ((at = written(end, a->pages + a->page_bytes)))
        flip_emulated_fail("%s wrote out of bounds: %zu bytes past the end of '%s' (%zu bytes)",
                           who, (size_t)(at - end), a->name, a->bytes);
    if ((at = written(a->pages, a->start)))
        flip_emulated_fail("%s wrote out of bounds: %zu bytes before the start of '%s'", who,
                           (size_t)(a->start - at), a->name);
}

/* ---- faults ---- */

static struct sigaction before;

/* " of 'x' + 12 bytes" and the like */
static void tell_place(char *out, size_t bytes, const flip_emulated_allocation *a, const char *at) {
    if (at < a->start)
        snprintf(out, bytes, "%zu bytes before the start of '%s'", (size_t)(a->start - at),
                 a->name);
    else if (at < a->start + a->bytes)
        snprintf(out, bytes, "'%s' + %zu bytes", a->name, (size_t)(at - a->start));
    else
        snprintf(out, bytes, "%zu bytes past the end of '%s' (%zu bytes)",
                 (size_t)(at - a->start) - a->bytes, a->name, a->bytes);
}

static void tell_fault(const char *at, const char *kernel) {
    const flip_emulated_allocation *a = flip_emulated_near(at);
    char place[160];
    if (!a) return;
    tell_place(place, sizeof place, a, at);
    const bool inside = at >= a->start && at < a->start + a->bytes;
    if (a->freed)
        flip_emulated_fail("%s uses freed memory: %s", kernel ? kernel : "the host", place);
    if (!inside)
        flip_emulated_fail("%s went out of bounds: %s", kernel ? kernel : "the host", place);
    if (kernel)
        flip_emulated_fail("%s touches memory that none of its arguments points to: %s", kernel,
                           place);
    flip_emulated_fail("host access to device memory: %s", place);
}

static void on_fault(int, siginfo_t *info, void *) {
    const char *kernel = flip_emulated_where();
    if (flip_emulated_is_stack_end(info->si_addr))
        flip_emulated_fail("%s: the stack of a thread is used up", kernel ? kernel : "a kernel");
    tell_fault((const char *)info->si_addr, kernel);
    if (kernel)
        flip_emulated_fail("%s touches %p, which is no memory of the device", kernel,
                           info->si_addr);
    sigaction(SIGSEGV, &before, NULL); /* not ours: it faults again */
}

/* On a stack of its own: a thread of a kernel may have used up its. */
static void take_signal_stack(void) {
    static thread_local char *stack;
    if (stack) return;
    stack_t s = {};
    s.ss_size = 64 << 10;
    s.ss_sp = stack = (char *)malloc(s.ss_size);
    sigaltstack(&s, NULL);
}

void flip_emulated_watch(void) {
    struct sigaction now;
    take_signal_stack();
    if (sigaction(SIGSEGV, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
        now.sa_sigaction == on_fault)
        return;
    struct sigaction ours = {};
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    before = now;
    sigaction(SIGSEGV, &ours, NULL);
}

/* A launch: which memory its arguments reach, whether it gives the same bits in either order of
 * threads and blocks, and that it wrote nothing else. */
#include "emulation.h"

#include <string.h>
#include <sys/mman.h>
#include <unordered_map>

/* ---- arguments ---- */

static void add_reach(flip_emulated_kernel *kernel, flip_emulated_allocation *a, const char *at,
                      bool writes) {
    for (flip_emulated_reach &r : kernel->reach)
        if (r.pointer == at) {
            r.writes |= writes;
            return;
        }
    kernel->reach.push_back({a, at, writes});
    a->divided |= at != a->start;
}

/* An address of this process that is there, seen by asking the system for its page. */
static bool is_mapped(uint64_t address) {
    unsigned char there;
#ifdef FLIP_EMULATED_PADDING_STAYS
    return false;
#endif
    if (address < (uint64_t)1 << 32 || address >> 47) return false;
    return mincore((void *)(address & ~(uint64_t)4095), 1, &there) == 0;
}

/* A pointer may be one past the end of what was taken (of nothing, say). */
static flip_emulated_allocation *find_for(const char *at) {
    flip_emulated_allocation *a = flip_emulated_near(at);
    return a && at >= a->start && at <= a->start + a->bytes ? a : NULL;
}

static void reach_pointer(flip_emulated_kernel *kernel, const char *at, bool writes, int number,
                          bool certain) {
    flip_emulated_allocation *a = find_for(at);
    if (a && a->freed && certain)
        flip_emulated_fail("kernel %s: argument %d points to freed memory: '%s'", kernel->name,
                           number, a->name);
    if (a && !a->freed) add_reach(kernel, a, at, writes);
    if (!a && (certain ? at != NULL : is_mapped((uint64_t)(uintptr_t)at)))
        flip_emulated_fail("kernel %s: argument %d %s %p, which is neither the device's memory nor "
                           "pinned",
                           kernel->name, number, certain ? "is" : "holds", (const void *)at);
}

void flip_emulated_reached(flip_emulated_kernel *kernel, const flip_emulated_argument *arguments,
                           int n) {
    for (int i = 0; i < n; i++) {
        const flip_emulated_argument *argument = &arguments[i];
        const char *memory = (const char *)argument->value;
        if (argument->kind == FLIP_EMULATED_NUMBER) continue;
        bool certain = argument->kind == FLIP_EMULATED_POINTER;
        for (size_t at = 0; at + sizeof(char *) <= argument->bytes; at += sizeof(char *)) {
            const char *pointer;
            memcpy(&pointer, memory + at, sizeof pointer);
            reach_pointer(kernel, pointer, argument->writes, i + 1, certain);
        }
    }
}

/* ---- both orders ---- */

struct kept {
    flip_emulated_allocation *allocation;
    char *bytes;
};

static std::vector<kept> keep(const flip_emulated_kernel *kernel) {
    std::vector<kept> all;
    for (const flip_emulated_reach &r : kernel->reach) {
        bool there = !r.writes;
        for (const kept &k : all)
            there |= k.allocation == r.allocation;
        if (there) continue;
        char *bytes = new char[r.allocation->bytes + sizeof(float)];
        memcpy(bytes, r.allocation->start, r.allocation->bytes);
        all.push_back({r.allocation, bytes});
    }
    return all;
}

/* What the first run left goes to where its input was kept, and that back into place. Most pages of
 * a large allocation are as they were. */
static void put_back(std::vector<kept> &all) {
    char buffer[4096];
    for (kept &k : all)
        for (size_t at = 0, n; at < k.allocation->bytes; at += n) {
            char *now = k.allocation->start + at, *was = k.bytes + at;
            n = k.allocation->bytes - at;
            if (n > sizeof buffer) n = sizeof buffer;
            if (memcmp(now, was, n) == 0) continue;
            memcpy(buffer, was, n);
            memcpy(was, now, n);
            memcpy(now, buffer, n);
        }
}

static void compare(const flip_emulated_kernel *kernel, std::vector<kept> &all) {
    for (kept &k : all) {
        if (memcmp(k.bytes, k.allocation->start, k.allocation->bytes) != 0) {
            size_t at = 0;
            while (k.bytes[at] == k.allocation->start[at])
                at++;
            float reverse, forward;
            const size_t word = at & ~(size_t)3;
            memcpy(&forward, k.bytes + word, sizeof forward);
            memcpy(&reverse, k.allocation->start + word, sizeof reverse);
            flip_emulated_fail("kernel %s: results depend on the order of its threads (a race, a "
                               "missing barrier or an unordered sum): '%s' + %zu bytes (as float: "
                               "%g ascending, %g descending)",
                               kernel->name, k.allocation->name, at, (double)forward,
                               (double)reverse);
        }
        delete[] k.bytes;
    }
}

/* The more memory it may write, the more seldom: always up to 256 KB; else the first time, the
 * second, the fourth, …; and beyond 4 MB the first, the 16th, the 256th, … */
static bool both_orders(const flip_emulated_kernel *kernel) {
    static std::unordered_map<const char *, unsigned> times;
    const int orders = flip_emulated_options_get()->orders;
    const size_t small = (size_t)1 << 18, large = (size_t)1 << 22, most = (size_t)1 << 28;
    const uint64_t threads =
        (uint64_t)kernel->blocks * kernel->threads.x * kernel->threads.y * kernel->threads.z;
    if (threads < 2 || orders == 0) return false;
    if (orders == 2) return true;
    std::vector<const flip_emulated_allocation *> seen;
    size_t bytes = 0;
    for (const flip_emulated_reach &r : kernel->reach) {
        bool there = !r.writes;
        for (const flip_emulated_allocation *a : seen)
            there |= a == r.allocation;
        if (there) continue;
        seen.push_back(r.allocation);
        bytes += r.allocation->bytes;
    }
    const unsigned n = ++times[kernel->name];
    const bool power = (n & (n - 1)) == 0;
    if (bytes <= small && threads <= 1 << 16) return true;
    return power && bytes <= most && (bytes <= large || __builtin_ctz(n) % 4 == 0);
}

void flip_emulated_perform(const flip_emulated_kernel *kernel) {
    char who[300];
    for (const flip_emulated_reach &r : kernel->reach) {
        if (r.allocation->freed)
            flip_emulated_fail("kernel %s: freed before it was done: '%s'", kernel->name,
                               r.allocation->name);
        flip_emulated_open(r.allocation);
    }
    if (both_orders(kernel)) {
        std::vector<kept> all = keep(kernel);
        flip_emulated_run(kernel, FLIP_EMULATED_FORWARD);
        put_back(all);
        flip_emulated_run(kernel, FLIP_EMULATED_REVERSE);
        compare(kernel, all);
    } else
        flip_emulated_run(kernel, FLIP_EMULATED_FORWARD);
    snprintf(who, sizeof who, "kernel %s", kernel->name);
    for (const flip_emulated_reach &r : kernel->reach)
        flip_emulated_check_edges(r.allocation, who);
    flip_emulated_close(false);
}

/* The CPU tables' memory: the process's own; what is sent and received is copied. */
#include "kernels/internal.h"

static flip_status take(void *out_pointer, size_t bytes, const char *what) {
    return flip_alloc(out_pointer, bytes, 1, what);
}

static size_t available(void) {
    size_t all = flip_memory_available(), now = flip_memory_now();
    return all > now ? all - now : 0;
}

/* The process's own memory is in its resident set. */
static size_t peak(void) {
    return 0;
}

static void copy(void *to, const void *from, size_t bytes) {
    if (bytes > 0) memcpy(to, from, bytes);
}

static void clear(void *to, size_t bytes) {
    if (bytes > 0) memset(to, 0, bytes);
}

static flip_status wait_for_nothing(void) {
    return FLIP_OK;
}

/* ---- ahead: at once ---- */

static void mark_end(void **event) {
    (void)event;
}

static void send_ahead(void *to, const void *host, size_t bytes, void *after) {
    (void)after;
    copy(to, host, bytes);
}

static void join_ahead(void) {}

static flip_device_counts counts(void) {
    return (flip_device_counts){0};
}

/* ---- passes that come again: no call costs enough to be kept ---- */

static bool record(void) {
    return false;
}

static flip_recording *record_end(void) {
    return NULL;
}

static bool replay(flip_recording *recording, uint64_t draws, const flip_adam_step *adam) {
    (void)recording;
    (void)draws;
    (void)adam;
    return false;
}

static void drop_recording(flip_recording **recording) {
    *recording = NULL;
}

void flip_kernels_use_memory(flip_kernels *table) {
    table->take = table->take_pinned = take;
    table->give_back = table->give_back_pinned = flip_free;
    table->available = available;
    table->peak = peak;
    table->send = table->receive = table->copy = copy;
    table->clear = clear;
    table->wait = wait_for_nothing;
    table->mark_end = table->drop_end = mark_end;
    table->send_ahead = send_ahead;
    table->join_ahead = join_ahead;
    table->counts = counts;
    table->record = record;
    table->record_end = record_end;
    table->replay = replay;
    table->drop_recording = drop_recording;
}

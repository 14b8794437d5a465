/* flipbook bench transfer: blocks of bytes to the device's memory; then the snapshots of a payment
 * network, each sent whole and as the difference from the one before (SC'21 section 3.2).
 *
 *   full    12 bytes an entry, then the matrix: rows, columns, degrees
 *   delta   8 bytes a removed or added entry, 12 a changed one, 4 more a value that does not fit
 *           its word; then the patch, then the same matrix
 *   resident  the events once, sorted by entry (16 bytes an entry of all steps, 8 an event); then a
 *           step's entries are picked, then the same matrix
 *
 * All leave pinned memory; what the host does to make them is told apart and in neither. At every
 * step the patched snapshot and its matrix are those sent whole, bit for bit, or the command fails;
 * so they are after the patch has been taken back and made again.
 */
#include "cli/bench.h"
#include "graph/device.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

/* ---- blocks of bytes ---------------------------------------------------------------------------
 */

typedef struct copy {
    const flip_kernels *kernels; /* NULL: a CPU's */
    char *to;
    const char *from;
    size_t bytes;
} copy;

static void copy_run(void *argument) {
    copy *c = argument;
    if (c->kernels) {
        c->kernels->send(c->to, c->from, c->bytes);
        if (c->kernels->wait() != FLIP_OK) flip_error_clear(); /* stands until the last wait */
        return;
    }
#pragma omp parallel
    {
        size_t n = (size_t)omp_get_num_threads(), i = (size_t)omp_get_thread_num();
        size_t first = c->bytes * i / n, last = c->bytes * (i + 1) / n;
        memcpy(c->to + first, c->from + first, last - first);
    }
}

static void tell_copies(const flip_bench *b) {
    if (b->device)
        printf("device: %s, from pinned memory\n", b->device->name);
    else
        printf("device: this machine's memory; %d threads, copy limit %.1f GB/s\n", b->threads,
               b->limits.copy_gbs);
    printf("%12s %12s %14s\n", "bytes", "seconds", "GB/s moved");
}

/* On the CPU the device's memory is a separate allocation: a transfer is a copy. */
static flip_status bench_copies(const flip_bench *b) {
    enum { LARGEST = 256 << 20 };
    const flip_kernels *k = b->device ? b->device : flip_kernels_get();
    flip_bench timed = *b;
    if (b->device) timed.threads = 0; /* wall time: the processor waits */
    copy c = {.kernels = b->device};
    flip_status status;
    char *from = NULL;
    FLIP_TRY_GOTO(k->take_pinned(&from, LARGEST, "transfer source"));
    FLIP_TRY_GOTO(k->take(&c.to, LARGEST, "transfer destination"));
    memset(from, 0, LARGEST);
    c.from = from;
    if (!b->json) tell_copies(b);
    for (c.bytes = 4096; c.bytes <= LARGEST; c.bytes *= 4) {
        double seconds = flip_bench_time(&timed, copy_run, &c),
               rate = (double)c.bytes / seconds * 1e-9;
        printf(b->json ? "{\"bench\": \"transfer\", \"bytes\": %zu, \"seconds\": %.3e, "
                         "\"gb_per_second\": %.3f}\n"
                       : "%12zu %12.3e %14.2f\n",
               c.bytes, seconds, rate);
    }
done:
    k->give_back_pinned(from);
    k->give_back(c.to);
    return status;
}

/* ---- what is measured of it ---------------------------------------------------------------------
 */

typedef struct graph_matrix { /* in the table's memory */
    int64_t *row_ptr;
    int32_t *col;
    flip_real *scale;
} graph_matrix;

typedef struct side {
    flip_device device;
    flip_packet packet;
    graph_matrix a;
    uint64_t bytes;             /* of the step last sent */
    double send, patch, matrix; /* its seconds */
} side;

typedef struct totals {
    uint64_t full_bytes, delta_bytes, resident_bytes;
    int64_t entries;
    double full_send, full_matrix, delta_send, patch, delta_matrix, back, host;
    double resident_send, pick, resident_matrix;
} totals;

typedef struct world {
    const flip_bench *b;
    const flip_kernels *kernels;
    flip_timeline timeline;
    int64_t most_entries, most_changes;
    int32_t *order; /* in the table's memory */
    side full, delta, resident;
    flip_pair_events pairs; /* the resident side's */
    void *work;             /* of picking */
    totals sum;
} world;

static flip_status side_init(world *w, side *s) {
    const flip_kernels *k = w->kernels;
    const size_t n = (size_t)w->timeline.n_rows;
    s->packet.kernels = k;
    FLIP_TRY(flip_device_init(&s->device, k, w->timeline.n_steps, w->timeline.form));
    s->device.most_entries = w->most_entries;
    s->device.most_changes = w->most_changes;
    FLIP_TRY(k->take(&s->a.row_ptr, (n + 1) * sizeof *s->a.row_ptr, "rows"));
    FLIP_TRY(k->take(&s->a.col, (size_t)w->most_entries * sizeof *s->a.col, "columns"));
    return k->take(&s->a.scale, n * sizeof *s->a.scale, "degrees");
}

static void side_finish(const world *w, side *s) {
    if (!s->packet.kernels) return;
    w->kernels->give_back(s->a.row_ptr);
    w->kernels->give_back(s->a.col);
    w->kernels->give_back(s->a.scale);
    flip_device_finish(&s->device);
    flip_packet_finish(&s->packet);
}

/* One array of the events, by way of pinned memory; its seconds and bytes are added up. */
static flip_status send_array(world *w, void *to, const void *from, size_t bytes) {
    const flip_kernels *k = w->kernels;
    void *pinned;
    FLIP_TRY(k->take(to, bytes, "events on the device"));
    FLIP_TRY(k->take_pinned(&pinned, bytes, "events on their way"));
    memcpy(pinned, from, bytes);
    const double start = flip_seconds();
    k->send(*(void **)to, pinned, bytes);
    const flip_status status = k->wait();
    w->sum.resident_send += flip_seconds() - start;
    w->sum.resident_bytes += bytes;
    k->give_back_pinned(pinned);
    return status;
}

static flip_status send_events(world *w) {
    const flip_timeline *x = &w->timeline;
    const size_t n = (size_t)x->n_pairs, events = (size_t)x->n_events;
    flip_device *d = &w->resident.device;
    w->pairs.n = x->n_pairs;
    FLIP_TRY(send_array(w, &w->pairs.key, x->key, n * sizeof *x->key));
    FLIP_TRY(send_array(w, &w->pairs.event_ptr, x->event_ptr, (n + 1) * sizeof *x->event_ptr));
    FLIP_TRY(send_array(w, &w->pairs.step, x->step, events * sizeof *x->step));
    if (x->weight) FLIP_TRY(send_array(w, &w->pairs.weight, x->weight, events * sizeof *x->weight));
    const size_t entries = (size_t)w->most_entries;
    FLIP_TRY(w->kernels->take(&d->key[0], entries * sizeof **d->key, "snapshot on the device"));
    FLIP_TRY(w->kernels->take(&d->value[0], entries * sizeof **d->value, "snapshot on the device"));
    return w->kernels->take(&w->work, flip_changes_work(0, x->n_pairs), "work of picking");
}

static void drop_events(const world *w) {
    w->kernels->give_back((void *)w->pairs.key);
    w->kernels->give_back((void *)w->pairs.event_ptr);
    w->kernels->give_back((void *)w->pairs.step);
    w->kernels->give_back((void *)w->pairs.weight);
    w->kernels->give_back(w->work);
}

static flip_status make_matrix(world *w, side *s) {
    const flip_device *d = &s->device;
    const flip_entries e = {.n = d->n, .key = d->key[0], .value = d->value[0]};
    w->kernels->keys_to_csr(&e, w->order, w->timeline.n_rows, s->a.row_ptr, s->a.col);
    w->kernels->degree_scales(w->timeline.n_rows, s->a.row_ptr, e.value, false, s->a.scale);
    return w->kernels->wait();
}

/* The packet of step t goes to the device and is taken; each part to its end. */
static flip_status send_step(world *w, side *s, int32_t t, bool whole) {
    const flip_packet *p = &s->packet;
    const double start = flip_seconds();
    FLIP_TRY(flip_device_send(&s->device, t, p, whole));
    FLIP_TRY(w->kernels->wait());
    const double sent = flip_seconds();
    FLIP_TRY(flip_device_take(&s->device, t));
    const double taken = flip_seconds();
    FLIP_TRY(make_matrix(w, s));
    const int64_t words = p->n_removed + p->n_added + p->n_changed;
    s->send = sent - start;
    s->patch = taken - sent;
    s->matrix = flip_seconds() - taken;
    s->bytes = 8 * (uint64_t)words + 4 * (uint64_t)(whole ? words : p->n_extra + p->n_changed);
    return FLIP_OK;
}

/* Step t's entries out of the events that the device has. */
static flip_status pick_step(world *w, int32_t t) {
    side *s = &w->resident;
    flip_device *d = &s->device;
    const flip_entries to = {
        .n = w->timeline.difference[t].entries, .key = d->key[0], .value = d->value[0]};
    const double start = flip_seconds();
    w->kernels->live_entries(&to, &w->pairs, t, w->timeline.life, w->work);
    FLIP_TRY(w->kernels->wait());
    const double picked = flip_seconds();
    d->n = to.n;
    FLIP_TRY(make_matrix(w, s));
    s->patch = picked - start;
    s->matrix = flip_seconds() - picked;
    return FLIP_OK;
}

/* ---- bit for bit --------------------------------------------------------------------------------
 */

static flip_status same(const world *w, const void *a, const void *b, size_t bytes, char *room,
                        const char *what, int32_t t) {
    enum { PIECE = 32 << 20 };
    for (size_t at = 0; at < bytes; at += PIECE) {
        const size_t n = bytes - at < PIECE ? bytes - at : PIECE;
        w->kernels->receive(room, (const char *)a + at, n);
        w->kernels->receive(room + PIECE, (const char *)b + at, n);
        if (memcmp(room, room + PIECE, n) != 0)
            return FLIP_FAIL(
                FLIP_ERROR_INTERNAL,
                "step %d: the %s of a patched or picked snapshot are not those sent whole", t,
                what);
    }
    return w->kernels->wait();
}

static flip_status compare(const world *w, const side *other, int32_t t, char *room) {
    const flip_device *x = &other->device, *y = &w->full.device;
    const size_t n = (size_t)y->n, rows = (size_t)w->timeline.n_rows;
    const graph_matrix *a = &other->a, *b = &w->full.a;
    if (x->n != y->n)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "step %d: patched or picked %lld entries, sent %lld",
                         t, (long long)x->n, (long long)y->n);
    FLIP_TRY(same(w, x->key[0], y->key[0], n * sizeof **x->key, room, "keys", t));
    FLIP_TRY(same(w, x->value[0], y->value[0], n * sizeof **x->value, room, "values", t));
    FLIP_TRY(same(w, a->row_ptr, b->row_ptr, (rows + 1) * sizeof *a->row_ptr, room, "rows", t));
    FLIP_TRY(same(w, a->col, b->col, n * sizeof *a->col, room, "columns", t));
    return same(w, a->scale, b->scale, rows * sizeof *a->scale, room, "degrees", t);
}

/* What was counted on its way is what the formulas say. They count values of the product, floats:
 * an added one of the oracle build may be wider, and then follows its word. */
static flip_status check_bytes(const world *w, int32_t t) {
    const flip_difference *d = &w->timeline.difference[t];
    const uint64_t full = flip_timeline_full_bytes(&w->timeline, t),
                   delta = t == 0 ? full : flip_timeline_delta_bytes(&w->timeline, t, false),
                   wider = sizeof(flip_real) > 4 && t > 0 ? 4 * (uint64_t)d->added : 0;
    if (w->full.bytes == full && w->delta.bytes - delta <= wider) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                     "step %d: %llu and %llu bytes were sent, the formulas say %llu and %llu", t,
                     (unsigned long long)w->full.bytes, (unsigned long long)w->delta.bytes,
                     (unsigned long long)full, (unsigned long long)delta);
}

/* ---- the walk -----------------------------------------------------------------------------------
 */

/* The patch is taken back (before step t is sent whole: what is there is still t-1) and made again.
 */
static flip_status go_back(world *w, int32_t t, char *room, double *seconds) {
    const double start = flip_seconds();
    FLIP_TRY(flip_device_move(&w->delta.device, t - 1));
    *seconds = flip_seconds() - start;
    FLIP_TRY(make_matrix(w, &w->delta));
    FLIP_TRY(compare(w, &w->delta, t - 1, room));
    FLIP_TRY(flip_device_move(&w->delta.device, t));
    return make_matrix(w, &w->delta);
}

static double share(double a, double of) {
    return of > 0 ? a / of : 0;
}

static void tell_step(const world *w, int32_t t, double back) {
    const flip_difference *d = &w->timeline.difference[t];
    const side *f = &w->full, *p = &w->delta;
    const double ratio = share(f->send + f->patch + f->matrix, p->send + p->patch + p->matrix);
    printf(w->b->json
               ? "{\"bench\": \"snapshots\", \"step\": %d, \"entries\": %lld, \"added\": %lld, "
                 "\"removed\": %lld, \"changed\": %lld, \"full_bytes\": %llu, "
                 "\"full_send_ms\": %.4f, \"full_matrix_ms\": %.4f, \"delta_bytes\": %llu, "
                 "\"delta_send_ms\": %.4f, \"patch_ms\": %.4f, \"delta_matrix_ms\": %.4f, "
                 "\"back_ms\": %.4f, \"ratio\": %.3f, \"pick_ms\": %.4f, "
                 "\"resident_matrix_ms\": %.4f}\n"
               : "%5d %10lld %9lld %9lld %9lld %12llu %9.3f %9.3f %12llu %9.3f %9.3f %9.3f %9.3f "
                 "%6.2f %9.3f %9.3f\n",
           t, (long long)d->entries, (long long)(t ? d->added : 0), (long long)(t ? d->removed : 0),
           (long long)(t ? d->changed : 0), (unsigned long long)f->bytes, 1e3 * f->send,
           1e3 * (f->patch + f->matrix), (unsigned long long)p->bytes, 1e3 * p->send,
           1e3 * p->patch, 1e3 * p->matrix, 1e3 * back, ratio, 1e3 * w->resident.patch,
           1e3 * w->resident.matrix);
}

static void add_step(world *w, double back, double host) {
    const side *f = &w->full, *p = &w->delta;
    w->sum.full_bytes += f->bytes;
    w->sum.delta_bytes += p->bytes;
    w->sum.entries += f->device.n;
    w->sum.full_send += f->send;
    w->sum.full_matrix += f->patch + f->matrix;
    w->sum.delta_send += p->send;
    w->sum.patch += p->patch;
    w->sum.delta_matrix += p->matrix;
    w->sum.back += back;
    w->sum.pick += w->resident.patch;
    w->sum.resident_matrix += w->resident.matrix;
    w->sum.host += host;
}

static flip_status do_step(world *w, int32_t t, char *room, bool told) {
    double back = 0, start = flip_seconds();
    if (t == 0)
        FLIP_TRY(flip_timeline_snapshot(&w->timeline, 0, &w->delta.packet));
    else
        FLIP_TRY(flip_timeline_difference(&w->timeline, t, false, &w->delta.packet));
    FLIP_TRY(flip_timeline_snapshot(&w->timeline, t, &w->full.packet));
    const double host = flip_seconds() - start;
    FLIP_TRY(send_step(w, &w->delta, t, t == 0));
    if (t > 0) FLIP_TRY(go_back(w, t, room, &back));
    flip_device_forget(&w->full.device);
    FLIP_TRY(send_step(w, &w->full, t, true));
    FLIP_TRY(compare(w, &w->delta, t, room));
    FLIP_TRY(pick_step(w, t));
    FLIP_TRY(compare(w, &w->resident, t, room));
    FLIP_TRY(check_bytes(w, t));
    flip_device_keep(&w->delta.device, t, t);
    if (!told) return FLIP_OK;
    tell_step(w, t, back);
    add_step(w, back, host);
    return FLIP_OK;
}

/* The first two steps once before what is measured: memory is taken, kernels are loaded. */
static flip_status do_steps(world *w) {
    char *room = NULL;
    flip_status status;
    FLIP_TRY_GOTO(w->kernels->take_pinned(&room, 64 << 20, "comparison"));
    for (int32_t t = 0; t < w->timeline.n_steps && t < 2; t++)
        FLIP_TRY_GOTO(do_step(w, t, room, false));
    flip_device_forget(&w->delta.device);
    for (int32_t t = 0; t < w->timeline.n_steps; t++)
        FLIP_TRY_GOTO(do_step(w, t, room, true));
done:
    w->kernels->give_back_pinned(room);
    return status;
}

static void tell_sums(const world *w, double made) {
    const totals *s = &w->sum;
    const double full = s->full_send + s->full_matrix,
                 delta = s->delta_send + s->patch + s->delta_matrix,
                 full_rate = share(1e-9 * (double)s->full_bytes, s->full_send),
                 delta_rate = share(1e-9 * (double)s->delta_bytes, s->delta_send),
                 bytes = share((double)s->full_bytes, (double)s->delta_bytes);
    const flip_timeline *x = &w->timeline;
    if (w->b->json) {
        printf("{\"bench\": \"network\", \"device\": \"%s\", \"accounts\": %d, \"steps\": %d, "
               "\"life\": %d, \"payments\": %lld, \"entries\": %lld, ",
               w->kernels->name, x->n_rows, x->n_steps, x->life, (long long)x->n_events,
               (long long)s->entries);
        printf("\"full_bytes\": %llu, \"full_send_ms\": %.3f, \"full_gb_per_second\": %.3f, "
               "\"full_matrix_ms\": %.3f, ",
               (unsigned long long)s->full_bytes, 1e3 * s->full_send, full_rate,
               1e3 * s->full_matrix);
        printf("\"delta_bytes\": %llu, \"delta_send_ms\": %.3f, \"delta_gb_per_second\": %.3f, "
               "\"patch_ms\": %.3f, \"delta_matrix_ms\": %.3f, \"back_ms\": %.3f, ",
               (unsigned long long)s->delta_bytes, 1e3 * s->delta_send, delta_rate, 1e3 * s->patch,
               1e3 * s->delta_matrix, 1e3 * s->back);
        printf("\"ratio_bytes\": %.3f, \"ratio_send\": %.3f, \"ratio\": %.3f, "
               "\"resident_bytes\": %llu, \"resident_send_ms\": %.3f, \"pick_ms\": %.3f, "
               "\"resident_matrix_ms\": %.3f, \"host_network_seconds\": %.3f, "
               "\"host_packets_seconds\": %.3f}\n",
               bytes, share(s->full_send, s->delta_send), share(full, delta),
               (unsigned long long)s->resident_bytes, 1e3 * s->resident_send, 1e3 * s->pick,
               1e3 * s->resident_matrix, made, s->host);
        return;
    }
    printf("%d accounts, %d steps, life %d: %lld payments, %lld entries of all snapshots\n",
           x->n_rows, x->n_steps, x->life, (long long)x->n_events, (long long)s->entries);
    printf("full   %llu bytes: sent %.3f ms (%.2f GB/s), matrix %.3f ms\n",
           (unsigned long long)s->full_bytes, 1e3 * s->full_send, full_rate, 1e3 * s->full_matrix);
    printf("delta  %llu bytes: sent %.3f ms (%.2f GB/s), patch %.3f ms, matrix %.3f ms; taken back "
           "in %.3f ms\n",
           (unsigned long long)s->delta_bytes, 1e3 * s->delta_send, delta_rate, 1e3 * s->patch,
           1e3 * s->delta_matrix, 1e3 * s->back);
    printf("resident %llu bytes, once: sent %.3f ms; picked %.3f ms, matrix %.3f ms\n",
           (unsigned long long)s->resident_bytes, 1e3 * s->resident_send, 1e3 * s->pick,
           1e3 * s->resident_matrix);
    printf("full / delta: bytes %.2f, sending %.2f, all %.2f; every snapshot and matrix the same "
           "bits\n",
           bytes, share(s->full_send, s->delta_send), share(full, delta));
    if (!w->kernels->on_device)
        printf("on a CPU a difference is read where the host made it: nothing is sent\n");
    printf("the host, not in the above: network %.2f s, what is sent %.2f s\n", made, s->host);
}

static flip_status world_init(world *w) {
    const flip_bench *b = w->b;
    flip_bench_network x = {0};
    flip_status status;
    FLIP_TRY_GOTO(flip_bench_network_init(&x, b));
    const flip_events events = {
        .n = x.n_events, .dst = x.dst, .src = x.src, .step = x.step, .weight = x.weight};
    const flip_gid range[2] = {0, x.n};
    const flip_adjacency_params params = {
        .kind = FLIP_ADJACENCY_GCN, .n_steps = b->steps, .edge_life = b->life};
    FLIP_TRY_GOTO(flip_timeline_init(&w->timeline, NULL, range, NULL, &events, &params));
    flip_timeline_most(&w->timeline, &w->most_entries, &w->most_changes);
    FLIP_TRY_GOTO(side_init(w, &w->full));
    FLIP_TRY_GOTO(side_init(w, &w->delta));
    FLIP_TRY_GOTO(side_init(w, &w->resident));
    FLIP_TRY_GOTO(send_events(w));
    const size_t columns = (size_t)w->timeline.n_cols * sizeof *w->order;
    FLIP_TRY_GOTO(w->kernels->take(&w->order, columns, "order of columns"));
    w->kernels->send(w->order, w->timeline.order, columns);
    FLIP_TRY_GOTO(w->kernels->wait());
done:
    flip_bench_network_finish(&x);
    return status;
}

static flip_status bench_network(const flip_bench *b) {
    world w = {.b = b, .kernels = b->device ? b->device : flip_kernels_get()};
    const double start = flip_seconds();
    flip_status status;
    FLIP_TRY_GOTO(world_init(&w));
    const double made = flip_seconds() - start;
    if (!b->json)
        printf("\nsnapshots of a payment network: milliseconds and bytes a step\n%5s %10s %9s %9s "
               "%9s %12s %9s %9s %12s %9s %9s %9s %9s %6s %9s %9s\n",
               "step", "entries", "added", "removed", "changed", "full bytes", "sent", "matrix",
               "delta bytes", "sent", "patch", "matrix", "back", "ratio", "picked", "matrix");
    FLIP_TRY_GOTO(do_steps(&w));
    tell_sums(&w, made);
done:
    side_finish(&w, &w.full);
    side_finish(&w, &w.delta);
    side_finish(&w, &w.resident);
    drop_events(&w);
    w.kernels->give_back(w.order);
    flip_timeline_finish(&w.timeline);
    return status;
}

flip_status flip_bench_transfer(const flip_bench *b) {
    FLIP_TRY(bench_copies(b));
    return b->accounts > 0 ? bench_network(b) : FLIP_OK;
}

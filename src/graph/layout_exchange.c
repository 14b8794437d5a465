/* Exchanges between the chunks of a part, in every pass: redistribution slice by slice, states, and
 * the steps of a window.
 *
 * In the time layout a rank's rows of one owner and all its steps are one run of memory: they
 * travel without packing. In the node layout a row holds one run for each chunk: there is one copy
 * on that side. Where the chunks' communicator moves the memory of devices (comm.h), values and
 * buffers are there, and the copies are the kernels'. */
#include "layout.h"

#include <string.h>

enum { TAG_TO_NODES = 2, TAG_TO_TIME, TAG_STATE_BACKWARD, TAG_STATE_FORWARD, TAG_WINDOW };
static const char buffers[] = "buffer of an exchange over time";

/* ---- life ---- */

static flip_status open_route(flip_route *route, flip_comm *time, int tag) {
    for (int i = 0; i < FLIP_LAYOUT_FLYING; i++)
        FLIP_TRY(flip_messages_create(&route->flight[i].messages, time, tag));
    return FLIP_OK;
}

static void close_route(const flip_kernels *kernels, flip_route *route) {
    for (int i = 0; i < FLIP_LAYOUT_FLYING; i++) {
        flip_messages_destroy(&route->flight[i].messages);
        kernels->give_back(route->flight[i].buffer);
    }
}

flip_status flip_travel_create(flip_travel **out, flip_comm *time) {
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, "exchanges over time"));
    flip_travel *t = *out;
    t->kernels = flip_comm_kernels(time);
    FLIP_TRY(open_route(&t->to_nodes, time, TAG_TO_NODES));
    FLIP_TRY(open_route(&t->to_time, time, TAG_TO_TIME));
    for (int way = 0; way < 2; way++) {
        FLIP_TRY(flip_messages_create(&t->state[way], time, TAG_STATE_BACKWARD + way));
        FLIP_TRY(flip_messages_create(&t->arriving[way], time, TAG_STATE_BACKWARD + way));
    }
    return flip_messages_create(&t->window, time, TAG_WINDOW);
}

void flip_travel_destroy(flip_travel **travel) {
    if (!*travel) return;
    flip_travel *t = *travel;
    close_route(t->kernels, &t->to_nodes);
    close_route(t->kernels, &t->to_time);
    for (int way = 0; way < 2; way++) {
        flip_messages_destroy(&t->state[way]);
        for (int32_t i = 0; i < t->n_wrap[way]; i++)
            flip_messages_destroy(&t->wrap[way][i]);
        flip_free(t->wrap[way]);
        flip_messages_destroy(&t->arriving[way]);
        t->kernels->give_back(t->buffer[way]);
    }
    flip_messages_destroy(&t->window);
    flip_free(t);
    *travel = NULL;
}

/* ---- redistribution ---- */

static flip_status begin(flip_route *route, int32_t block, int32_t slice, int32_t dim,
                         flip_flight **out) {
    if (route->begun - route->ended == FLIP_LAYOUT_FLYING)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "more than %d slices in flight", FLIP_LAYOUT_FLYING);
    *out = &route->flight[route->begun++ % FLIP_LAYOUT_FLYING];
    (*out)->block = block;
    (*out)->slice = slice;
    (*out)->dim = dim;
    return FLIP_OK;
}

static flip_status end(flip_route *route, flip_flight **out) {
    if (route->begun == route->ended)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a slice ends that has not begun");
    *out = &route->flight[route->ended++ % FLIP_LAYOUT_FLYING];
    return flip_messages_wait((*out)->messages);
}

/* A slice's rows of a chunk's nodes, as rows of the part: first and number. */
static int64_t part_rows(const flip_layout *l, int32_t chunk, int32_t slice, int32_t *n) {
    int32_t first;
    flip_layout_slice(l, slice, flip_layout_nodes(l, chunk), &first, n);
    return flip_layout_nodes_first(l, chunk) + first;
}

/* Between a rank's slice in the node layout y and packed rows [n, steps of chunk, dim]. */
static void copy_steps(const flip_layout *l, const flip_flight *f, int32_t chunk, flip_real *y,
                       flip_real *packed, bool pack) {
    int32_t first, n, steps, at = flip_layout_chunk(l, f->block, chunk, &steps);
    flip_layout_slice(l, f->slice, l->n_own, &first, &n);
    int64_t run = (int64_t)steps * f->dim,
            row = (int64_t)flip_layout_block_steps(l, f->block) * f->dim;
    y += first * row + (int64_t)at * f->dim;
    if (run == 0) return;
    if (pack)
        l->travel->kernels->move(n, 1, run, packed, run, 0, y, row, 0, false);
    else
        l->travel->kernels->move(n, 1, run, y, row, 0, packed, run, 0, false);
}

/* Values of this rank's slice that chunk holds in the time layout. */
static size_t slice_values(const flip_layout *l, const flip_flight *f, int32_t chunk) {
    int32_t first, n, steps;
    flip_layout_slice(l, f->slice, l->n_own, &first, &n);
    flip_layout_chunk(l, f->block, chunk, &steps);
    return (size_t)n * (size_t)steps * (size_t)f->dim;
}

/* Room for what travels between this rank's slice in the node layout and the other chunks. */
static flip_status reserve_slice(const flip_layout *l, flip_flight *f) {
    size_t values = 0;
    for (int32_t c = 0; c < l->n_time; c++)
        values += c == l->chunk ? 0 : slice_values(l, f, c);
    return flip_kernels_reserve(l->travel->kernels, &f->buffer, &f->capacity,
                                values * sizeof *f->buffer, buffers);
}

flip_status flip_layout_to_nodes_begin(flip_layout *l, int32_t block, int32_t slice, int32_t dim,
                                       const flip_real *x) {
    flip_flight *f = NULL;
    int32_t n, steps = flip_layout_steps(l, block);
    l->travel->kernels = flip_comm_kernels(l->time);
    FLIP_TRY(begin(&l->travel->to_nodes, block, slice, dim, &f));
    f->x = x;
    FLIP_TRY(reserve_slice(l, f));
    flip_real *into = f->buffer;
    for (int32_t c = 0; c < l->n_time; c++) {
        if (c == l->chunk) continue;
        size_t values = slice_values(l, f, c);
        FLIP_TRY(flip_messages_receive_values(f->messages, into, values, c));
        into += values;
    }
    for (int32_t c = 0; c < l->n_time; c++) {
        if (c == l->chunk) continue;
        int64_t first = part_rows(l, c, slice, &n), run = (int64_t)steps * dim;
        FLIP_TRY(flip_messages_send_values(f->messages, x + first * run, (size_t)n * (size_t)run, c,
                                           FLIP_BYTES_REDISTRIBUTE));
    }
    return flip_messages_set_out(f->messages);
}

flip_status flip_layout_to_nodes_end(flip_layout *l, flip_real *y) {
    flip_flight *f = NULL;
    int32_t n;
    FLIP_TRY(end(&l->travel->to_nodes, &f));
    flip_real *from = f->buffer;
    int64_t run = (int64_t)flip_layout_steps(l, f->block) * f->dim;
    for (int32_t c = 0; c < l->n_time; c++) {
        if (c == l->chunk) {
            const flip_real *own = f->x + part_rows(l, c, f->slice, &n) * run;
            copy_steps(l, f, c, y, (flip_real *)own, false);
            continue;
        }
        copy_steps(l, f, c, y, from, false);
        from += slice_values(l, f, c);
    }
    return FLIP_OK;
}

flip_status flip_layout_to_time_begin(flip_layout *l, int32_t block, int32_t slice, int32_t dim,
                                      const flip_real *y, flip_real *x) {
    flip_flight *f = NULL;
    int32_t n, steps = flip_layout_steps(l, block);
    l->travel->kernels = flip_comm_kernels(l->time);
    FLIP_TRY(begin(&l->travel->to_time, block, slice, dim, &f));
    FLIP_TRY(reserve_slice(l, f));
    for (int32_t c = 0; c < l->n_time; c++) {
        int64_t first = part_rows(l, c, slice, &n), run = (int64_t)steps * dim;
        if (c == l->chunk)
            copy_steps(l, f, c, (flip_real *)y, x + first * run, true);
        else
            FLIP_TRY(flip_messages_receive_values(f->messages, x + first * run,
                                                  (size_t)n * (size_t)run, c));
    }
    flip_real *to = f->buffer;
    for (int32_t c = 0; c < l->n_time; c++) {
        if (c == l->chunk) continue;
        size_t values = slice_values(l, f, c);
        copy_steps(l, f, c, (flip_real *)y, to, true);
        FLIP_TRY(flip_messages_send_values(f->messages, to, values, c, FLIP_BYTES_REDISTRIBUTE));
        to += values;
    }
    return flip_messages_set_out(f->messages);
}

flip_status flip_layout_to_time_end(flip_layout *l) {
    flip_flight *f = NULL;
    return end(&l->travel->to_time, &f);
}

static flip_status progress(flip_route *route) {
    for (uint64_t i = route->ended; i < route->begun; i++)
        FLIP_TRY(flip_messages_progress(route->flight[i % FLIP_LAYOUT_FLYING].messages));
    return FLIP_OK;
}

flip_status flip_layout_progress(flip_layout *l) {
    FLIP_TRY(progress(&l->travel->to_nodes));
    FLIP_TRY(progress(&l->travel->to_time));
    for (int way = 0; way < 2; way++)
        FLIP_TRY(flip_messages_progress(l->travel->state[way]));
    return FLIP_OK;
}

/* ---- states ---- */

flip_status flip_layout_send_state(flip_layout *l, int32_t chunk, bool forward,
                                   const flip_real *state, size_t n) {
    flip_messages *m = l->travel->state[forward];
    FLIP_TRY(flip_messages_send_exact(m, state, n, chunk, FLIP_BYTES_STATE));
    return flip_messages_set_out(m);
}

flip_status flip_layout_receive_state(flip_layout *l, int32_t chunk, bool forward, flip_real *state,
                                      size_t n) {
    flip_messages *m = l->travel->arriving[forward];
    FLIP_TRY(flip_messages_receive_exact(m, state, n, chunk));
    FLIP_TRY(flip_messages_set_out(m));
    return flip_messages_wait(m);
}

flip_status flip_layout_state_end(flip_layout *l) {
    FLIP_TRY(flip_messages_wait(l->travel->state[0]));
    return flip_messages_wait(l->travel->state[1]);
}

/* MPI knows of no stream: what it reads on a device is there, and nobody uses what it writes. */
static flip_status settle(const flip_layout *l) {
    if (flip_comm_direct(l->time) == FLIP_DIRECT_NCCL)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "NCCL's exchanges may not wait for a later block");
    return flip_comm_direct(l->time) ? flip_comm_kernels(l->time)->wait() : FLIP_OK;
}

/* What goes to the other end of the part is received in the next block only. One object for every
 * ticket: to wait for more than what the caller knows to have arrived would wait for ranks that
 * wait for this one. */
flip_status flip_layout_send_wrap(flip_layout *l, int32_t ticket, bool forward,
                                  const flip_real *state, size_t n) {
    flip_travel *t = l->travel;
    if (ticket >= t->n_wrap[forward]) {
        const int32_t had = t->n_wrap[forward];
        FLIP_TRY(flip_grow(&t->wrap[forward], (size_t)had, (size_t)ticket + 1,
                           sizeof *t->wrap[forward], "messages between blocks"));
        memset(t->wrap[forward] + had, 0, (size_t)(ticket + 1 - had) * sizeof *t->wrap[forward]);
        t->n_wrap[forward] = ticket + 1;
    }
    flip_messages **m = &t->wrap[forward][ticket];
    if (!*m) FLIP_TRY(flip_messages_create(m, l->time, TAG_STATE_BACKWARD + forward));
    FLIP_TRY(settle(l));
    return flip_messages_send(*m, state, n * sizeof *state, forward ? 0 : l->n_time - 1,
                              FLIP_BYTES_STATE);
}

flip_status flip_layout_receive_wrap(flip_layout *l, bool forward, flip_real *state, size_t n) {
    flip_messages *m = l->travel->arriving[forward];
    FLIP_TRY(settle(l));
    FLIP_TRY(flip_messages_receive(m, state, n * sizeof *state, forward ? l->n_time - 1 : 0));
    return flip_messages_wait(m);
}

flip_status flip_layout_wrap_end(flip_layout *l, int32_t ticket, bool forward) {
    const flip_travel *t = l->travel;
    if (ticket >= t->n_wrap[forward] || !t->wrap[forward][ticket]) return FLIP_OK;
    return flip_messages_wait(t->wrap[forward][ticket]);
}

/* ---- windows ---- */

/* Steps from … to-1 that chunk needs before its own of the block. */
static int32_t window_steps(const flip_layout *l, int32_t block, int32_t chunk, int32_t before,
                            int32_t *from) {
    int32_t n, to = l->block_first[block] + flip_layout_chunk(l, block, chunk, &n);
    *from = to - before > l->block_first[0] ? to - before : l->block_first[0];
    if (n == 0) *from = to;
    return to;
}

static int32_t kept_steps(const flip_layout *l, int32_t block, int32_t before, int32_t *from) {
    int32_t n = 0, at = l->block_first[block] - before;
    *from = l->own_before[block];
    if (at < l->block_first[0]) at = l->block_first[0];
    for (int32_t t = at; t < l->block_first[block]; t++)
        n += flip_layout_chunk_of(l, t, NULL) == l->chunk;
    *from -= n;
    return n;
}

flip_window flip_layout_window_of(const flip_layout *l, int32_t block, int32_t before) {
    flip_window w;
    int32_t from, to = window_steps(l, block, l->chunk, before, &from);
    w.n = to - from;
    w.n_kept = kept_steps(l, block, before, &w.kept_from);
    return w;
}

/* A window on its way: where this rank's steps stand. */
typedef struct passage {
    const flip_layout *l;
    int32_t block, before, dim, n_kept, kept_from, own;
    flip_real *kept, *x; /* [n_rows, n_kept, dim], [n_rows, own, dim] */
} passage;

/* Steps that rank `chunk`'s window takes from rank `owner`. */
static int32_t shared_steps(const passage *p, int32_t chunk, int32_t owner) {
    int32_t n = 0, from, to = window_steps(p->l, p->block, chunk, p->before, &from);
    for (int32_t t = from; t < to; t++)
        n += flip_layout_chunk_of(p->l, t, NULL) == owner;
    return n;
}

/* Row 0 of own step t, wherever it stands, and how far apart the others are. */
static flip_real *own_rows(const passage *p, int32_t t, int32_t block, int64_t *apart) {
    const flip_layout *l = p->l;
    int32_t at = t - flip_layout_first(l, block);
    *apart = (int64_t)(block == p->block ? p->own : p->n_kept) * p->dim;
    if (block == p->block) return p->x + (int64_t)at * p->dim;
    return p->kept + (int64_t)(l->own_before[block] + at - p->kept_from) * p->dim;
}

/* to[i] = from[i], or += it, of all rows, which stand so far apart. */
static void copy_rows(const passage *p, flip_real *to, int64_t to_apart, const flip_real *from,
                      int64_t from_apart, bool add) {
    p->l->travel->kernels->move(p->l->n_rows, 1, p->dim, to, to_apart, 0, from, from_apart, 0, add);
}

/* Between own steps that chunk wants and packed rows [n_rows, n, dim]: out of them, or added to
 * them. */
static void pass_own(const passage *p, int32_t chunk, flip_real *packed, bool back) {
    int32_t from, to = window_steps(p->l, p->block, chunk, p->before, &from), at = 0;
    int32_t n = shared_steps(p, chunk, p->l->chunk);
    for (int32_t t = from; t < to; t++) {
        int32_t block;
        int64_t apart, row = (int64_t)n * p->dim;
        if (flip_layout_chunk_of(p->l, t, &block) != p->l->chunk) continue;
        flip_real *own = own_rows(p, t, block, &apart), *here = packed + (int64_t)at * p->dim;
        if (back)
            copy_rows(p, own, apart, here, row, true);
        else
            copy_rows(p, here, row, own, apart, false);
        at++;
    }
}

/* Between this rank's window and packed rows of one owner. */
static void pass_window(const passage *p, int32_t owner, flip_real *window, flip_real *packed,
                        bool back) {
    int32_t from, to = window_steps(p->l, p->block, p->l->chunk, p->before, &from), at = 0;
    int32_t n = shared_steps(p, p->l->chunk, owner);
    for (int32_t t = from; t < to; t++) {
        if (flip_layout_chunk_of(p->l, t, NULL) != owner) continue;
        const int64_t apart = (int64_t)(to - from) * p->dim, row = (int64_t)n * p->dim;
        flip_real *here = window + (int64_t)(t - from) * p->dim,
                  *there = packed + (int64_t)at * p->dim;
        if (back)
            copy_rows(p, there, row, here, apart, false);
        else
            copy_rows(p, here, apart, there, row, false);
        at++;
    }
}

/* buffers[0]: what own steps give or get, chunk after chunk; buffers[1]: what the window gives or
 * gets, owner after owner. Own steps that go to this rank's own window stand in both. */
static flip_status open_passage(passage *p, flip_layout *l, int32_t block, int32_t before,
                                int32_t dim) {
    flip_travel *t = l->travel;
    size_t values[2] = {0, 0}, step = (size_t)l->n_rows * (size_t)dim;
    *p = (passage){.l = l, .block = block, .before = before, .dim = dim};
    t->kernels = flip_comm_kernels(l->time);
    p->n_kept = kept_steps(l, block, before, &p->kept_from);
    p->own = flip_layout_steps(l, block);
    for (int32_t c = 0; c < l->n_time; c++) {
        values[0] += step * (size_t)shared_steps(p, c, l->chunk);
        values[1] += step * (size_t)shared_steps(p, l->chunk, c);
    }
    for (int i = 0; i < 2; i++)
        FLIP_TRY(flip_kernels_reserve(t->kernels, &t->buffer[i], &t->capacity[i],
                                      values[i] * sizeof(flip_real), buffers));
    return FLIP_OK;
}

/* Messages of one side of the passage: chunk after chunk in buffer `side`. */
static flip_status post(const passage *p, int side, bool send) {
    const flip_layout *l = p->l;
    flip_travel *t = l->travel;
    flip_real *at = t->buffer[side];
    for (int32_t c = 0; c < l->n_time; c++) {
        int32_t steps = side == 0 ? shared_steps(p, c, l->chunk) : shared_steps(p, l->chunk, c);
        size_t values = (size_t)l->n_rows * (size_t)p->dim * (size_t)steps;
        if (c != l->chunk && send)
            FLIP_TRY(flip_messages_send_values(t->window, at, values, c, FLIP_BYTES_WINDOW));
        if (c != l->chunk && !send)
            FLIP_TRY(flip_messages_receive_values(t->window, at, values, c));
        at += values;
    }
    return FLIP_OK;
}

/* Packing or unpacking of one side; this rank's own share goes from one buffer to the other. */
static void pass_side(const passage *p, int side, flip_real *window, bool back) {
    const flip_layout *l = p->l;
    flip_real *at = l->travel->buffer[side];
    for (int32_t c = 0; c < l->n_time; c++) {
        int32_t steps = side == 0 ? shared_steps(p, c, l->chunk) : shared_steps(p, l->chunk, c);
        if (side == 0)
            pass_own(p, c, at, back);
        else
            pass_window(p, c, window, at, back);
        at += (int64_t)l->n_rows * p->dim * steps;
    }
}

static void pass_self(const passage *p, int from) {
    const flip_layout *l = p->l;
    flip_real *at[2] = {l->travel->buffer[0], l->travel->buffer[1]};
    size_t step = (size_t)l->n_rows * (size_t)p->dim;
    for (int32_t c = 0; c < l->chunk; c++) {
        at[0] += step * (size_t)shared_steps(p, c, l->chunk);
        at[1] += step * (size_t)shared_steps(p, l->chunk, c);
    }
    size_t bytes = step * (size_t)shared_steps(p, l->chunk, l->chunk) * sizeof(flip_real);
    l->travel->kernels->copy(at[1 - from], at[from], bytes);
}

flip_status flip_layout_window(flip_layout *l, int32_t block, int32_t before, int32_t dim,
                               const flip_real *kept, const flip_real *x, flip_real *earlier) {
    passage p;
    FLIP_TRY(open_passage(&p, l, block, before, dim));
    p.kept = (flip_real *)kept;
    p.x = (flip_real *)x;
    FLIP_TRY(post(&p, 1, false));
    pass_side(&p, 0, NULL, false);
    FLIP_TRY(post(&p, 0, true));
    FLIP_TRY(flip_messages_set_out(l->travel->window));
    pass_self(&p, 0);
    FLIP_TRY(flip_messages_wait(l->travel->window));
    pass_side(&p, 1, earlier, false);
    return FLIP_OK;
}

flip_status flip_layout_window_back(flip_layout *l, int32_t block, int32_t before, int32_t dim,
                                    const flip_real *earlier, flip_real *kept, flip_real *x) {
    passage p;
    FLIP_TRY(open_passage(&p, l, block, before, dim));
    p.kept = kept;
    p.x = x;
    FLIP_TRY(post(&p, 0, false));
    pass_side(&p, 1, (flip_real *)earlier, true);
    FLIP_TRY(post(&p, 1, true));
    FLIP_TRY(flip_messages_set_out(l->travel->window));
    pass_self(&p, 1);
    FLIP_TRY(flip_messages_wait(l->travel->window));
    pass_side(&p, 0, NULL, true);
    return FLIP_OK;
}

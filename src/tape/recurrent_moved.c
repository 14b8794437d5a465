/* LSTM and GRU where the steps of a node lie on several ranks: slice s of the nodes travels to its
 * owners while slice s-1 is worked on, and the result, or gradients, travel back likewise. Packed
 * rows stay: their codes are there in the node layout already. */
#include "recurrent.h"

/* Inputs of a record in both layouts, or their gradients, and its result. */
typedef struct moves {
    mirror time[2], nodes[2], y_time, y_nodes;
} moves;

static void close_moves(flip_tape *tape, moves *m) {
    mirror *all[] = {&m->time[0], &m->time[1], &m->nodes[0], &m->nodes[1], &m->y_time, &m->y_nodes};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mirror_close(tape, all[i]);
}

/* Does input i travel? */
static bool travels(const flip_tape *tape, const record *r, int i) {
    return r->in[i] != FLIP_VAR_NONE && !tape_in(tape, r, i)->coded.packing;
}

/* Values of so many rows in the node layout. */
static size_t of_rows(const recurrent *j, int64_t rows, int64_t dim) {
    return (size_t)(rows * j->steps * dim);
}

static flip_status open_result(flip_tape *tape, const record *r, const recurrent *j,
                               const flip_real *time, const flip_real *nodes, moves *m) {
    FLIP_TRY(mirror_open(tape, &m->y_time, time, (size_t)size_of(tape_out(tape, r))));
    return mirror_open(tape, &m->y_nodes, nodes, of_rows(j, j->rows, j->hidden));
}

static flip_status open_inputs(flip_tape *tape, record *r, recurrent *j, moves *m) {
    for (int i = 0; i < 2 && travels(tape, r, i); i++) {
        const variable *x = tape_in(tape, r, i);
        const size_t moved = of_rows(j, j->rows, j->dim[i]), size = (size_t)size_of(x);
        FLIP_TRY(tape_save(tape, r, MOVED_X + i, moved * sizeof(flip_real)));
        j->x[i] = r->saved[MOVED_X + i];
        FLIP_TRY(mirror_open(tape, &m->time[i], x->value, size));
        FLIP_TRY(mirror_open(tape, &m->nodes[i], j->x[i], moved));
        mirror_receive(tape, &m->time[i], 0, size);
    }
    return FLIP_OK;
}

static flip_status begin_slice(flip_tape *tape, record *r, const moves *m, int32_t s) {
    for (int i = 0; i < 2 && travels(tape, r, i); i++)
        FLIP_TRY(flip_layout_to_nodes_begin(tape->layout, tape->block, s, tape_in(tape, r, i)->dim,
                                            m->time[i].host));
    return FLIP_OK;
}

static flip_status end_slice(flip_tape *tape, record *r, const recurrent *j, const moves *m,
                             int64_t first, int64_t n) {
    for (int i = 0; i < 2 && travels(tape, r, i); i++) {
        FLIP_TRY(flip_layout_to_nodes_end(tape->layout, m->nodes[i].host));
        mirror_send(tape, &m->nodes[i], of_rows(j, first, j->dim[i]), of_rows(j, n, j->dim[i]));
    }
    return FLIP_OK;
}

flip_status recurrent_forward_moved(flip_tape *tape, record *r, recurrent *j) {
    flip_layout *l = tape->layout;
    int32_t rows = l->n_own, first, n;
    moves m = {.y_time = {.host = NULL}};
    recurrent_set_state(j, (flip_real *)tape_carry_state(tape, r), rows, (flip_real **)j->begin);
    recurrent_set_state(j, tape_carry_next(tape, r), rows, j->end);
    FLIP_TRY(tape_save(tape, r, MOVED_Y, of_rows(j, rows, j->hidden) * sizeof(flip_real)));
    j->y = r->saved[MOVED_Y];
    FLIP_TRY(open_inputs(tape, r, j, &m));
    FLIP_TRY(open_result(tape, r, j, tape_out(tape, r)->value, j->y, &m));
    FLIP_TRY(begin_slice(tape, r, &m, 0));
    for (int32_t s = 0; s < l->slices; s++) {
        if (s + 1 < l->slices) FLIP_TRY(begin_slice(tape, r, &m, s + 1));
        flip_layout_slice(l, s, rows, &first, &n);
        FLIP_TRY(end_slice(tape, r, j, &m, first, n));
        FLIP_TRY(recurrent_forward(j, first, n));
        mirror_receive(tape, &m.y_nodes, of_rows(j, first, j->hidden), of_rows(j, n, j->hidden));
        FLIP_TRY(flip_layout_to_time_begin(l, tape->block, s, (int32_t)j->hidden, m.y_nodes.host,
                                           m.y_time.host));
        if (s > 0) FLIP_TRY(flip_layout_to_time_end(l));
    }
    FLIP_TRY(flip_layout_to_time_end(l));
    mirror_send(tape, &m.y_time, 0, (size_t)size_of(tape_out(tape, r)));
    close_moves(tape, &m);
    return FLIP_OK;
}

/* ---- backward ---- */

/* Gradients of x in the node layout, in place of x, and where they travel to. */
static flip_status open_moved_gradients(flip_tape *tape, record *r, recurrent *j, moves *m) {
    for (int i = 0; i < 2 && travels(tape, r, i); i++) {
        const variable *x = tape_in(tape, r, i);
        flip_real *back;
        j->x[i] = r->saved[MOVED_X + i];
        if (!x->needs_gradient) continue;
        j->dx[i] = r->saved[MOVED_X + i];
        FLIP_TRY(pool_alloc(tape->pool, &back, (size_t)size_of(x) * sizeof *back));
        FLIP_TRY(mirror_open(tape, &m->time[i], back, (size_t)size_of(x)));
        FLIP_TRY(mirror_open(tape, &m->nodes[i], j->dx[i], of_rows(j, j->rows, j->dim[i])));
    }
    return FLIP_OK;
}

static flip_status return_slice(flip_tape *tape, const recurrent *j, const moves *m, int32_t s,
                                int64_t first, int64_t n) {
    flip_layout *l = tape->layout;
    for (int i = 0; s > 0 && i < 2; i++)
        if (m->time[i].values) FLIP_TRY(flip_layout_to_time_end(l));
    for (int i = 0; i < 2; i++) {
        if (!m->time[i].values) continue;
        mirror_receive(tape, &m->nodes[i], of_rows(j, first, j->dim[i]), of_rows(j, n, j->dim[i]));
        FLIP_TRY(flip_layout_to_time_begin(l, tape->block, s, (int32_t)j->dim[i], m->nodes[i].host,
                                           m->time[i].host));
    }
    return FLIP_OK;
}

/* The last slice has arrived: all of it is the inputs' gradients. */
static flip_status give_moved(flip_tape *tape, record *r, moves *m) {
    flip_real *back[2] = {m->time[0].values, m->time[1].values};
    for (int i = 0; i < 2; i++)
        if (back[i]) FLIP_TRY(flip_layout_to_time_end(tape->layout));
    for (int i = 0; i < 2; i++)
        if (back[i]) mirror_send(tape, &m->time[i], 0, (size_t)size_of(tape_in(tape, r, i)));
    close_moves(tape, m);
    for (int i = 0; i < 2; i++)
        if (back[i]) FLIP_TRY(tape_give_gradient(tape, r, i, back[i]));
    return FLIP_OK;
}

flip_status recurrent_backward_moved(flip_tape *tape, record *r, recurrent *j) {
    flip_layout *l = tape->layout;
    const variable *out = tape_out(tape, r);
    int32_t rows = l->n_own, first, n, hidden = out->dim;
    flip_real *dy;
    moves m = {.y_time = {.host = NULL}};
    recurrent_set_state(j, (flip_real *)tape_carry_state(tape, r), rows, (flip_real **)j->begin);
    recurrent_set_state(j, (flip_real *)tape_carry_gradient(tape, r), rows, (flip_real **)j->dend);
    recurrent_set_state(j, tape_carry_give(tape, r), rows, j->dbegin);
    j->y = r->saved[MOVED_Y];
    FLIP_TRY(pool_alloc(tape->pool, &dy, of_rows(j, rows, hidden) * sizeof *dy));
    j->dy = dy;
    FLIP_TRY(open_moved_gradients(tape, r, j, &m));
    FLIP_TRY(open_result(tape, r, j, out->gradient, dy, &m));
    mirror_receive(tape, &m.y_time, 0, (size_t)size_of(out));
    FLIP_TRY(flip_layout_to_nodes_begin(l, tape->block, 0, hidden, m.y_time.host));
    for (int32_t s = 0; s < l->slices; s++) {
        if (s + 1 < l->slices)
            FLIP_TRY(flip_layout_to_nodes_begin(l, tape->block, s + 1, hidden, m.y_time.host));
        FLIP_TRY(flip_layout_to_nodes_end(l, m.y_nodes.host));
        flip_layout_slice(l, s, rows, &first, &n);
        mirror_send(tape, &m.y_nodes, of_rows(j, first, hidden), of_rows(j, n, hidden));
        FLIP_TRY(recurrent_backward(j, first, n));
        FLIP_TRY(return_slice(tape, j, &m, s, first, n));
    }
    pool_free(tape->pool, dy);
    return give_moved(tape, r, &m);
}

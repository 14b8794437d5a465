/* A plan's exchanges between buffers of the host: begin, end, and what they count. */
#include "comm/plan.h"

#include <string.h>

static flip_status reserve_buffer(flip_side *s, size_t row_bytes) {
    return flip_kernels_reserve(flip_kernels_get(), &s->buffer, &s->capacity,
                                (size_t)s->n_rows * row_bytes, "buffer of an exchange");
}

static void pack(const flip_side *s, const char *rows, size_t row_bytes) {
    for (int64_t i = 0; i < s->n_rows; i++)
        memcpy(s->buffer + (size_t)i * row_bytes, rows + (size_t)s->row[i] * row_bytes, row_bytes);
}

/* Bytes of the message of one neighbour, and of all of a side. */
size_t flip_plan_message_bytes(const flip_plan *plan, const flip_neighbour *peer) {
    size_t bytes = (size_t)peer->n * plan->row_bytes;
    return plan->wire == FLIP_WIRE_EXACT ? bytes
                                         : flip_wire_bytes(plan->wire, bytes / sizeof(flip_real));
}

static size_t side_bytes(const flip_plan *plan, const flip_side *s) {
    size_t bytes = 0;
    for (int i = 0; i < s->n_peers; i++)
        bytes += flip_plan_message_bytes(plan, &s->peer[i]);
    return bytes;
}

static flip_status reserve_coded(const flip_plan *plan, flip_side *s) {
    if (plan->wire == FLIP_WIRE_EXACT) return FLIP_OK;
    return flip_kernels_reserve(flip_kernels_get(), &s->coded, &s->coded_capacity,
                                side_bytes(plan, s), "buffer of a coded exchange");
}

static flip_status post_receives(flip_plan *plan, flip_side *s, char *into) {
    FLIP_TRY(reserve_coded(plan, s));
    uint8_t *coded = s->coded;
    for (int i = 0; i < s->n_peers; i++) {
        size_t bytes = flip_plan_message_bytes(plan, &s->peer[i]);
        char *rows = into + (size_t)s->peer[i].first * plan->row_bytes;
        FLIP_TRY(flip_mpi_requests_receive(&plan->requests,
                                           plan->wire == FLIP_WIRE_EXACT ? rows : (void *)coded,
                                           bytes, s->peer[i].rank, plan->tag));
        coded += plan->wire == FLIP_WIRE_EXACT ? 0 : bytes;
    }
    return FLIP_OK;
}

static flip_status post_sends(flip_plan *plan, flip_side *s, const char *from) {
    FLIP_TRY(reserve_coded(plan, s));
    uint8_t *coded = s->coded;
    for (int i = 0; i < s->n_peers; i++) {
        size_t bytes = flip_plan_message_bytes(plan, &s->peer[i]);
        const void *rows = from + (size_t)s->peer[i].first * plan->row_bytes;
        if (plan->wire != FLIP_WIRE_EXACT) {
            FLIP_TRY(flip_wire_encode(plan->comm, plan->wire, coded, rows,
                                      (size_t)s->peer[i].n * plan->row_bytes / sizeof(flip_real)));
            rows = coded;
            coded += bytes;
        }
        FLIP_TRY(flip_mpi_requests_send(&plan->requests, rows, bytes, s->peer[i].rank, plan->tag));
    }
    return FLIP_OK;
}

/* What came on a coded wire becomes rows again. */
static flip_status decode_received(const flip_plan *plan, const flip_side *s, char *into) {
    const uint8_t *coded = s->coded;
    for (int i = 0; plan->wire != FLIP_WIRE_EXACT && i < s->n_peers; i++) {
        flip_real *rows = (flip_real *)(into + (size_t)s->peer[i].first * plan->row_bytes);
        size_t values = (size_t)s->peer[i].n * plan->row_bytes / sizeof *rows;
        FLIP_TRY(flip_wire_decode(plan->comm, plan->wire, rows, coded, values));
        coded += flip_plan_message_bytes(plan, &s->peer[i]);
    }
    return FLIP_OK;
}

static flip_status start(flip_plan *plan, int state, size_t row_bytes) {
    if (plan->state != FLIP_PLAN_IDLE)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a plan's exchange begins before the last one ended");
    plan->state = state;
    plan->row_bytes = row_bytes;
    return FLIP_OK;
}

static flip_status begin_messages(flip_plan *plan) {
    return flip_mpi_requests_begin(&plan->requests, plan->owner.n_peers + plan->copies.n_peers);
}

/* The exchange that is in flight ends here. */
static flip_status stop(flip_plan *plan, int state) {
    if (plan->state != state)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a %s exchange ends that has not begun",
                         state == FLIP_PLAN_FORWARD ? "forward" : "backward");
    plan->state = FLIP_PLAN_IDLE;
    return FLIP_OK;
}

static flip_status forward_begin(flip_plan *plan, const void *own, size_t row_bytes, void *halo) {
    FLIP_TRY(start(plan, FLIP_PLAN_FORWARD, row_bytes));
    FLIP_TRY(begin_messages(plan));
    char *into = halo;
    plan->halo = halo;
    if (plan->copies.row) {
        FLIP_TRY(reserve_buffer(&plan->copies, row_bytes));
        into = plan->copies.buffer;
    }
    FLIP_TRY(post_receives(plan, &plan->copies, into));
    FLIP_TRY(reserve_buffer(&plan->owner, row_bytes));
    pack(&plan->owner, own, row_bytes);
    return post_sends(plan, &plan->owner, plan->owner.buffer);
}

static flip_status forward_end(flip_plan *plan) {
    FLIP_TRY(stop(plan, FLIP_PLAN_FORWARD));
    FLIP_TRY(flip_mpi_requests_wait(&plan->requests));
    const flip_side *s = &plan->copies;
    FLIP_TRY(decode_received(plan, s, s->row ? s->buffer : plan->halo));
    for (int64_t i = 0; s->row && i < s->n_rows; i++)
        memcpy((char *)plan->halo + (size_t)s->row[i] * plan->row_bytes,
               s->buffer + (size_t)i * plan->row_bytes, plan->row_bytes);
    return FLIP_OK;
}

static flip_status backward_begin(flip_plan *plan, const void *halo, size_t row_bytes) {
    FLIP_TRY(start(plan, FLIP_PLAN_BACKWARD, row_bytes));
    FLIP_TRY(begin_messages(plan));
    const char *from = halo;
    FLIP_TRY(reserve_buffer(&plan->owner, row_bytes));
    FLIP_TRY(post_receives(plan, &plan->owner, plan->owner.buffer));
    if (plan->copies.row) {
        FLIP_TRY(reserve_buffer(&plan->copies, row_bytes));
        pack(&plan->copies, halo, row_bytes);
        from = plan->copies.buffer;
    }
    return post_sends(plan, &plan->copies, from);
}

static flip_status backward_wait(flip_plan *plan) {
    FLIP_TRY(stop(plan, FLIP_PLAN_BACKWARD));
    FLIP_TRY(flip_mpi_requests_wait(&plan->requests));
    return decode_received(plan, &plan->owner, plan->owner.buffer);
}

/* ---- numbers ---- */

/* Rows of one neighbour after the other: the order of a row's sum is that of the ranks. */
static flip_status backward_end(flip_plan *plan, flip_real *own) {
    FLIP_TRY(backward_wait(plan));
    const size_t width = plan->row_bytes / sizeof(flip_real);
    const flip_real *buffer = (const flip_real *)plan->owner.buffer;
    for (int64_t i = 0; i < plan->owner.n_rows; i++) {
        flip_real *to = own + (size_t)plan->owner.row[i] * width;
        const flip_real *from = buffer + (size_t)i * width;
        for (size_t j = 0; j < width; j++)
            to[j] += from[j];
    }
    return FLIP_OK;
}

/* Between devices, or between hosts. */
static flip_status begin(flip_plan *plan, int state, const flip_real *from, size_t width,
                         flip_real *halo) {
    const size_t bytes = width * sizeof *from;
    const bool forward = state == FLIP_PLAN_FORWARD;
    plan->wire = flip_wire_now(plan->comm->wire);
    if (!flip_comm_direct(plan->comm))
        return forward ? forward_begin(plan, from, bytes, halo) : backward_begin(plan, from, bytes);
    FLIP_TRY(start(plan, state, bytes));
    return forward ? flip_plan_device_forward_begin(plan, from, halo)
                   : flip_plan_device_backward_begin(plan, from);
}

static flip_status end(flip_plan *plan, int state, flip_real *own) {
    const bool forward = state == FLIP_PLAN_FORWARD;
    if (!flip_comm_direct(plan->comm)) return forward ? forward_end(plan) : backward_end(plan, own);
    FLIP_TRY(stop(plan, state));
    return forward ? flip_plan_device_forward_end(plan) : flip_plan_device_backward_end(plan, own);
}

/* The stage's clock round one step of an exchange. */
#define TIMED(plan, call)                                                                          \
    flip_meter_begin((plan)->comm->meter, FLIP_STAGE_EXCHANGE);                                    \
    flip_status status = (call);                                                                   \
    flip_meter_end((plan)->comm->meter)

flip_status flip_plan_forward_begin(flip_plan *plan, const flip_real *own, size_t width,
                                    flip_real *halo) {
    TIMED(plan, begin(plan, FLIP_PLAN_FORWARD, own, width, halo));
    plan->comm->meter->bytes[plan->counted_as] += side_bytes(plan, &plan->owner);
    return status;
}

flip_status flip_plan_forward_end(flip_plan *plan) {
    TIMED(plan, end(plan, FLIP_PLAN_FORWARD, NULL));
    return status;
}

flip_status flip_plan_backward_begin(flip_plan *plan, const flip_real *halo, size_t width) {
    TIMED(plan, begin(plan, FLIP_PLAN_BACKWARD, halo, width, NULL));
    plan->comm->meter->bytes[plan->counted_as] += side_bytes(plan, &plan->copies);
    return status;
}

flip_status flip_plan_backward_end(flip_plan *plan, flip_real *own) {
    TIMED(plan, end(plan, FLIP_PLAN_BACKWARD, own));
    return status;
}

/* ---- other rows, which are not counted ---- */

flip_status flip_plan_fetch(flip_plan *plan, const void *own, size_t bytes, void *halo) {
    plan->wire = FLIP_WIRE_EXACT;
    FLIP_TRY(forward_begin(plan, own, bytes, halo));
    return forward_end(plan);
}

flip_status flip_plan_reduce_f64(flip_plan *plan, const double *halo, size_t width, double *own) {
    plan->wire = FLIP_WIRE_EXACT;
    FLIP_TRY(backward_begin(plan, halo, width * sizeof *halo));
    FLIP_TRY(backward_wait(plan));
    const double *buffer = (const double *)plan->owner.buffer;
    for (int64_t i = 0; i < plan->owner.n_rows; i++)
        for (size_t j = 0; j < width; j++)
            own[(size_t)plan->owner.row[i] * width + j] += buffer[(size_t)i * width + j];
    return FLIP_OK;
}

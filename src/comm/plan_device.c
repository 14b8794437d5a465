/* A plan's exchanges between the memories of GPUs: rows are gathered into a packed buffer, or added
 * out of one, by the kernels; NCCL or a CUDA-aware MPI moves the buffers. The same rows in the same
 * order as on the host, and a sum's additions in the same order. */
#include "comm/plan.h"

#include <string.h>

/* ---- tables ---- */

/* Own rows that copies add to, each once, with the packed rows it takes: those of one neighbour
 * after the other. count [most + 2] is room. */
static int32_t group_rows(const flip_side *owner, int32_t most, int32_t *count, int32_t *row,
                          int32_t *ptr, int32_t *index) {
    int32_t n = 0;
    memset(count, 0, ((size_t)most + 2) * sizeof *count);
    for (int64_t i = 0; i < owner->n_rows; i++)
        count[owner->row[i] + 1]++;
    ptr[0] = 0;
    for (int32_t v = 0; v <= most; v++) {
        const int32_t rows = count[v + 1];
        count[v + 1] = count[v] + rows;
        if (rows == 0) continue;
        row[n++] = v;
        ptr[n] = count[v + 1];
    }
    for (int64_t i = 0; i < owner->n_rows; i++)
        index[count[owner->row[i]]++] = (int32_t)i;
    return n;
}

static int32_t most_of(const flip_side *s) {
    int32_t most = -1;
    for (int64_t i = 0; i < s->n_rows; i++)
        most = s->row[i] > most ? s->row[i] : most;
    return most;
}

/* The tables one after the other in host memory, and where each begins: pack, give, place, sum_row,
 * sum_ptr, sum_index, end. */
static flip_status make_tables(const flip_plan *plan, int32_t **out, size_t at[7],
                               int32_t *n_sums) {
    const flip_side *owner = &plan->owner, *copies = &plan->copies;
    const size_t n = (size_t)owner->n_rows, h = copies->row ? (size_t)plan->n_halo : 0;
    const size_t sizes[6] = {n, h, h, n, n + 1, n};
    const int32_t most = most_of(owner);
    int32_t *count, narrow;
    at[0] = 0;
    for (int i = 0; i < 6; i++)
        at[i + 1] = at[i] + sizes[i];
    FLIP_TRY(flip_narrow(&narrow, owner->n_rows, "rows of an exchange"));
    FLIP_TRY(flip_alloc(out, at[6], sizeof **out, "exchange plan of a device"));
    FLIP_TRY(flip_alloc(&count, (size_t)most + 2, sizeof *count, "exchange plan of a device"));
    int32_t *t = *out;
    if (n > 0) memcpy(t, owner->row, n * sizeof *t);
    if (h > 0) memcpy(t + at[1], copies->row, h * sizeof *t);
    for (size_t i = 0; i < h; i++)
        t[at[2] + (size_t)copies->row[i]] = (int32_t)i;
    *n_sums = group_rows(owner, most, count, t + at[3], t + at[4], t + at[5]);
    flip_free(count);
    return FLIP_OK;
}

/* Where the plan's device is not there yet. */
static flip_status open_device(flip_plan *plan) {
    flip_status status;
    int32_t *tables = NULL;
    size_t at[7];
    if (plan->device) return FLIP_OK;
    FLIP_TRY(flip_alloc_zero(&plan->device, 1, sizeof *plan->device, "exchange plan of a device"));
    flip_plan_device *d = plan->device;
    d->kernels = plan->comm->kernels;
    d->requests.comm = plan->comm;
    FLIP_TRY_GOTO(make_tables(plan, &tables, at, &d->n_sums));
    FLIP_TRY_GOTO(d->kernels->take(&d->index, at[6] * sizeof *tables, "exchange plan"));
    d->kernels->send(d->index, tables, at[6] * sizeof *tables);
    d->pack = d->index;
    d->give = plan->copies.row ? d->index + at[1] : NULL;
    d->place = plan->copies.row ? d->index + at[2] : NULL;
    d->sum_row = d->index + at[3];
    d->sum_ptr = d->index + at[4];
    d->sum_index = d->index + at[5];
done:
    flip_free(tables);
    return status;
}

void flip_plan_device_finish(flip_plan *plan) {
    flip_plan_device *d = plan->device;
    if (!d) return;
    for (int i = 0; i < 2; i++) {
        d->kernels->give_back(d->packed[i]);
        d->kernels->give_back(d->coded[i]);
    }
    d->kernels->give_back(d->index);
    flip_direct_requests_finish(&d->requests);
    flip_free(d);
    plan->device = NULL;
}

/* ---- running ---- */

enum { OWN, COPIES };

static const flip_side *side_of(const flip_plan *plan, int which) {
    return which == OWN ? &plan->owner : &plan->copies;
}

/* Room for the packed rows of own rows or of copies. */
static flip_status reserve(flip_plan *plan, int which) {
    flip_plan_device *d = plan->device;
    const flip_side *s = side_of(plan, which);
    return flip_kernels_reserve(d->kernels, &d->packed[which], &d->capacity[which],
                                (size_t)s->n_rows * plan->row_bytes, "buffer of an exchange");
}

static int64_t width_of(const flip_plan *plan) {
    return (int64_t)(plan->row_bytes / sizeof(flip_real));
}

/* Bytes from one coded message to the next: the kernels write whole words. */
static size_t coded_bytes(const flip_plan *plan, const flip_neighbour *peer) {
    return (flip_plan_message_bytes(plan, peer) + 15) / 16 * 16;
}

static flip_status reserve_coded(flip_plan *plan, int which) {
    flip_plan_device *d = plan->device;
    const flip_side *s = side_of(plan, which);
    size_t bytes = 0;
    for (int i = 0; plan->wire != FLIP_WIRE_EXACT && i < s->n_peers; i++)
        bytes += coded_bytes(plan, &s->peer[i]);
    return flip_kernels_reserve(d->kernels, &d->coded[which], &d->coded_capacity[which], bytes,
                                "buffer of a coded exchange");
}

static flip_status post(flip_plan *plan, int which, const flip_real *rows, bool sends) {
    flip_direct_requests *r = &plan->device->requests;
    const flip_side *s = side_of(plan, which);
    FLIP_TRY(reserve_coded(plan, which));
    uint8_t *coded = plan->device->coded[which];
    for (int i = 0; i < s->n_peers; i++) {
        const flip_neighbour *peer = &s->peer[i];
        const size_t bytes = flip_plan_message_bytes(plan, peer);
        const flip_real *at = rows + peer->first * width_of(plan);
        void *message = (void *)at;
        if (plan->wire != FLIP_WIRE_EXACT) {
            message = coded;
            coded += coded_bytes(plan, peer);
            if (sends)
                FLIP_TRY(flip_wire_encode(plan->comm, plan->wire, message, at,
                                          (size_t)(peer->n * width_of(plan))));
        }
        FLIP_TRY(sends ? flip_direct_requests_send(r, message, bytes, peer->rank)
                       : flip_direct_requests_receive(r, message, bytes, peer->rank));
    }
    return FLIP_OK;
}

/* Of what `which` received the rows are there. */
static flip_status receive_end(flip_plan *plan, int which, flip_real *rows) {
    const flip_side *s = side_of(plan, which);
    const uint8_t *coded = plan->device->coded[which];
    FLIP_TRY(flip_direct_requests_wait(&plan->device->requests));
    for (int i = 0; plan->wire != FLIP_WIRE_EXACT && i < s->n_peers; i++) {
        const flip_neighbour *peer = &s->peer[i];
        FLIP_TRY(flip_wire_decode(plan->comm, plan->wire, rows + peer->first * width_of(plan),
                                  coded, (size_t)(peer->n * width_of(plan))));
        coded += coded_bytes(plan, peer);
    }
    return FLIP_OK;
}

/* What `from` sends, packed, and where `to` receives. */
static flip_status exchange(flip_plan *plan, int from, const flip_real *sent, int to,
                            flip_real *received) {
    FLIP_TRY(post(plan, to, received, false));
    FLIP_TRY(post(plan, from, sent, true));
    return flip_direct_requests_set_out(&plan->device->requests);
}

flip_status flip_plan_device_forward_begin(flip_plan *plan, const flip_real *own, flip_real *halo) {
    FLIP_TRY(open_device(plan));
    flip_plan_device *d = plan->device;
    FLIP_TRY(reserve(plan, OWN));
    if (d->place) FLIP_TRY(reserve(plan, COPIES));
    plan->halo = halo;
    d->kernels->gather_rows(plan->owner.n_rows, width_of(plan), d->packed[OWN], width_of(plan),
                            d->pack, own, NULL);
    return exchange(plan, OWN, d->packed[OWN], COPIES, d->place ? d->packed[COPIES] : halo);
}

flip_status flip_plan_device_forward_end(flip_plan *plan) {
    flip_plan_device *d = plan->device;
    FLIP_TRY(receive_end(plan, COPIES, d->place ? d->packed[COPIES] : plan->halo));
    if (d->place)
        d->kernels->gather_rows(plan->n_halo, width_of(plan), plan->halo, width_of(plan), d->place,
                                d->packed[COPIES], NULL);
    return FLIP_OK;
}

flip_status flip_plan_device_backward_begin(flip_plan *plan, const flip_real *halo) {
    FLIP_TRY(open_device(plan));
    flip_plan_device *d = plan->device;
    FLIP_TRY(reserve(plan, OWN));
    if (d->give) {
        FLIP_TRY(reserve(plan, COPIES));
        d->kernels->gather_rows(plan->n_halo, width_of(plan), d->packed[COPIES], width_of(plan),
                                d->give, halo, NULL);
        halo = d->packed[COPIES];
    }
    return exchange(plan, COPIES, halo, OWN, d->packed[OWN]);
}

flip_status flip_plan_device_backward_end(flip_plan *plan, flip_real *own) {
    flip_plan_device *d = plan->device;
    FLIP_TRY(receive_end(plan, OWN, d->packed[OWN]));
    if (own)
        d->kernels->add_to_rows(d->n_sums, width_of(plan), own, d->sum_row, d->sum_ptr,
                                d->sum_index, d->packed[OWN]);
    return FLIP_OK;
}

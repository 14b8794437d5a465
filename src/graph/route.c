/* Rows to their owners: packed by owner, exchanged all to all, one bounded window at a time. */
#include "graph/shard.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of one window; tests lower it to cross many windows. */
static size_t window_bytes(void) {
    const char *wish = getenv("FLIP_WINDOW_BYTES");
    size_t bytes = wish ? (size_t)strtoull(wish, NULL, 10) : 0;
    return bytes > 0 ? bytes : (size_t)8 << 20;
}

int64_t flip_window_rows(size_t bytes) {
    size_t rows = window_bytes() / (bytes ? bytes : 1);
    return rows > 0 ? (int64_t)rows : 1;
}

int64_t flip_slab_first(const flip_comm *comm, int64_t n, int rank) {
    int64_t size = flip_comm_size(comm);
    return n / size * rank + (n % size < rank ? n % size : rank);
}

int flip_owner_of(const flip_graph *g, flip_gid id) {
    return flip_owner_in(g->rank_first, flip_comm_size(g->comm), id);
}

static flip_status prepare(flip_route *r, const int32_t *owner, int64_t n) {
    size_t size = (size_t)flip_comm_size(r->comm);
    FLIP_TRY(flip_alloc_zero(&r->send_count, 3 * size, sizeof *r->send_count, "rows to owners"));
    r->receive_count = r->send_count + size;
    r->ones = r->receive_count + size;
    for (size_t i = 0; i < size; i++)
        r->ones[i] = 1;
    FLIP_TRY(flip_alloc(&r->place, (size_t)n, sizeof *r->place, "rows to owners"));
    for (int64_t i = 0; i < n; i++)
        r->send_count[owner[i]]++;
    for (size_t i = 1, at = 0; i < size; i++) { /* receive_count is the cursor for a moment */
        at += (size_t)r->send_count[i - 1];
        r->receive_count[i] = (int64_t)at;
    }
    for (int64_t i = 0; i < n; i++)
        r->place[i] = r->receive_count[owner[i]]++;
    return FLIP_OK;
}

flip_status flip_route_begin(flip_route *route, flip_comm *comm, flip_status mine,
                             const int32_t *owner, int64_t n) {
    *route = (flip_route){.comm = comm, .n_send = n};
    if (mine == FLIP_OK) mine = prepare(route, owner, n);
    FLIP_TRY(flip_comm_agree(comm, mine));
    FLIP_TRY(flip_comm_all_to_all(comm, route->send_count, route->ones, route->receive_count,
                                  route->ones, sizeof(int64_t)));
    for (int r = 0; r < flip_comm_size(comm); r++)
        route->n_receive += route->receive_count[r];
    return FLIP_OK;
}

flip_status flip_route_move(flip_route *route, const void *rows, size_t item, void *out) {
    flip_status status =
        flip_alloc(&route->packed, (size_t)route->n_send, item, "rows packed for their owners");
    FLIP_TRY_GOTO(flip_comm_agree(route->comm, status));
    for (int64_t i = 0; i < route->n_send; i++)
        memcpy((char *)route->packed + (size_t)route->place[i] * item,
               (const char *)rows + (size_t)i * item, item);
    status = flip_comm_all_to_all(route->comm, route->packed, route->send_count, out,
                                  route->receive_count, item);
done:
    flip_free(route->packed);
    route->packed = NULL;
    return status;
}

void flip_route_finish(flip_route *route) {
    flip_free(route->send_count);
    flip_free(route->place);
    flip_free(route->packed);
    *route = (flip_route){0};
}

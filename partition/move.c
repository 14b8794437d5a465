/* Moving tables into a new numbering.
 *
 * A file is a set of tables whose items belong to nodes: one item a node (labels, dense features),
 * a row of items a node (events, sparse features, names), or items that name their node (labels
 * that change). All are moved the same way. The new ids are walked in windows; for each, every rank
 * reads its share of the old items, keeps those of the window, and an all-to-all takes them to the
 * rank that owns them there:
 *
 *     old items │ rank 0 │ rank 1 │ …   ──pick, all-to-all──▶   window of new ids │ rank 0 │ rank 1
 * │
 *
 * A window is about an eighth of a machine's memory over all ranks, mostly the whole table. What
 * travels: a header (new id, number of items) for each stretch of items of one node, and the items,
 * their columns one behind the other. Items of a node keep their order; events are sorted again by
 * (step, source), since sources have new ids too. */
#include "partition/move.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 8 << 20 };

typedef flip_mover mover;
typedef flip_table table;
typedef flip_moved_column column;
typedef flip_move_header header;

/* ---- tables -----------------------------------------------------------------------------------
 */

flip_status flip_table_column(mover *m, table *t, const char *name) {
    int64_t dims[3];
    column *c = &t->columns[t->n_columns];
    if (!flip_reader_has(m->reader, name)) return FLIP_OK;
    FLIP_TRY(flip_reader_shape(m->reader, name, dims, &c->type));
    *c = (column){name, c->type, dims[1], dims[2], 0, t->item_bytes};
    if (t->n_columns > 0 && dims[0] != t->n_items)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s': %s has %" PRId64 " rows, %s has %" PRId64,
                         flip_reader_path(m->reader), name, dims[0], t->columns[0].name,
                         t->n_items);
    t->n_items = dims[0];
    c->bytes =
        flip_type_size(c->type) * (size_t)(dims[1] ? dims[1] : 1) * (size_t)(dims[2] ? dims[2] : 1);
    t->item_bytes += c->bytes;
    t->n_columns++;
    return FLIP_OK;
}

/* Item lengths by new id, as pointers; old row pointers where the table has rows. */
static flip_status table_pointers(mover *m, const table *t) {
    flip_status status = FLIP_OK;
    int64_t dims[3], *named = NULL, block = BLOCK_BYTES / 8;
    memset(m->new_ptr, 0, sizeof *m->new_ptr * ((size_t)m->n + 1));
    if (t->kind == FLIP_TABLE_NODES) {
        for (int64_t i = 0; i <= m->n; i++)
            m->new_ptr[i] = i;
        if (t->n_items != m->n)
            status =
                FLIP_FAIL(FLIP_ERROR_INPUT, "'%s': %s has %" PRId64 " rows for %" PRId64 " nodes",
                          flip_reader_path(m->reader), t->columns[0].name, t->n_items, m->n);
        return flip_comm_agree(m->comm, status);
    }
    FLIP_TRY(flip_reader_shape(m->reader, t->index, dims, NULL));
    if (t->kind == FLIP_TABLE_ROWS && dims[0] != m->n + 1)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s': %s has %" PRId64 " entries for %" PRId64 " nodes",
                         flip_reader_path(m->reader), t->index, dims[0], m->n);
    if (t->kind == FLIP_TABLE_ROWS) {
        FLIP_TRY_GOTO(
            flip_alloc(&m->old_ptr, (size_t)m->n + 1, sizeof *m->old_ptr, "row pointers"));
        FLIP_TRY_GOTO(
            flip_reader_rows(m->reader, t->index, FLIP_TYPE_I64, 0, m->n + 1, m->old_ptr));
        for (int64_t v = 0; v < m->n; v++) {
            m->new_ptr[m->new_of[v] + 1] = m->old_ptr[v + 1] - m->old_ptr[v];
            if (m->old_ptr[v + 1] < m->old_ptr[v] || m->old_ptr[v + 1] > t->n_items)
                FLIP_TRY_GOTO(FLIP_FAIL(FLIP_ERROR_INPUT,
                                        "'%s': %s falls or leaves its table at "
                                        "%" PRId64,
                                        flip_reader_path(m->reader), t->index, v + 1));
        }
    } else {
        FLIP_TRY_GOTO(flip_alloc(&named, (size_t)block, sizeof *named, "named rows"));
        int64_t last = flip_share(t->n_items, m->rank + 1, m->size);
        for (int64_t at = flip_share(t->n_items, m->rank, m->size); at < last; at += block) {
            int64_t count = last - at < block ? last - at : block;
            FLIP_TRY_GOTO(flip_reader_rows(m->reader, t->index, FLIP_TYPE_I64, at, count, named));
            for (int64_t i = 0; i < count; i++) {
                if (named[i] < 0 || named[i] >= m->n)
                    FLIP_TRY_GOTO(FLIP_FAIL(
                        FLIP_ERROR_INPUT,
                        "'%s': %s[%" PRId64 "] is %" PRId64 "; ids are 0 to %" PRId64,
                        flip_reader_path(m->reader), t->index, at + i, named[i], m->n - 1));
                m->new_ptr[m->new_of[named[i]] + 1]++;
            }
        }
    }
done:
    flip_free(named);
    FLIP_TRY(flip_comm_agree(m->comm, status));
    if (t->kind == FLIP_TABLE_NAMED)
        FLIP_TRY(flip_comm_sum_i64(m->comm, m->new_ptr, (size_t)m->n + 1));
    for (int64_t i = 0; i < m->n; i++)
        m->new_ptr[i + 1] += m->new_ptr[i];
    return FLIP_OK;
}

/* ---- picking ----------------------------------------------------------------------------------
 */

int64_t flip_move_row(const int64_t *ptr, int64_t n, int64_t item) {
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (ptr[middle + 1] <= item)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static flip_status pick(mover *m, const table *t, flip_gid id, const char *const *data,
                        int64_t index) {
    if (m->n_picked == m->items_capacity) {
        int64_t more = m->items_capacity ? m->items_capacity * 2 : 1024;
        FLIP_TRY(flip_grow(&m->items, (size_t)m->n_picked, (size_t)more, t->item_bytes,
                           "items on their way"));
        m->items_capacity = more;
    }
    if (m->n_headers == 0 || m->headers[m->n_headers - 1].id != id) {
        if (m->n_headers == m->headers_capacity) {
            int64_t more = m->headers_capacity ? m->headers_capacity * 2 : 1024;
            FLIP_TRY(flip_grow(&m->headers, (size_t)m->n_headers, (size_t)more, sizeof *m->headers,
                               "items on their way"));
            m->headers_capacity = more;
        }
        m->headers[m->n_headers++] = (header){id, 0};
    }
    m->headers[m->n_headers - 1].count++;
    char *to = m->items + (size_t)m->n_picked++ * t->item_bytes;
    for (int c = 0; c < t->n_columns; c++)
        memcpy(to + t->columns[c].offset, data[c] + (size_t)index * t->columns[c].bytes,
               t->columns[c].bytes);
    return FLIP_OK;
}

/* New ids for the sources of a block of events. */
static flip_status rename_sources(const mover *m, const column *c, char *data, int64_t n,
                                  int64_t first) {
    for (int64_t i = 0; i < n; i++) {
        int64_t u = c->type == FLIP_TYPE_I32 ? ((int32_t *)data)[i] : ((int64_t *)data)[i];
        if (u < 0 || u >= m->n)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s': %s[%" PRId64 "] is %" PRId64 "; ids are 0 to %" PRId64,
                             flip_reader_path(m->reader), c->name, first + i, u, m->n - 1);
        if (c->type == FLIP_TYPE_I32)
            ((int32_t *)data)[i] = (int32_t)m->new_of[u];
        else
            ((int64_t *)data)[i] = m->new_of[u];
    }
    return FLIP_OK;
}

/* One block of old items: those whose new id lies in low … high-1 are picked. */
static flip_status pick_block(mover *m, const table *t, flip_gid low, flip_gid high, int64_t at,
                              int64_t count, char **data, int64_t *named) {
    for (int c = 0; c < t->n_columns; c++)
        FLIP_TRY(flip_reader_rows(m->reader, t->columns[c].name, t->columns[c].type, at, count,
                                  data[c]));
    if (t->events) FLIP_TRY(rename_sources(m, &t->columns[0], data[0], count, at));
    if (t->kind == FLIP_TABLE_NAMED)
        FLIP_TRY(flip_reader_rows(m->reader, t->index, FLIP_TYPE_I64, at, count, named));
    int64_t row = t->kind == FLIP_TABLE_ROWS ? flip_move_row(m->old_ptr, m->n, at) : at;
    for (int64_t i = 0; i < count; i++) {
        if (t->kind == FLIP_TABLE_NODES) row = at + i;
        if (t->kind == FLIP_TABLE_NAMED) row = named[i];
        while (t->kind == FLIP_TABLE_ROWS && at + i >= m->old_ptr[row + 1])
            row++;
        flip_gid id = m->new_of[row];
        if (id >= low && id < high) FLIP_TRY(pick(m, t, id, (const char *const *)data, i));
    }
    return FLIP_OK;
}

static flip_status pick_window(mover *m, const table *t, flip_gid low, flip_gid high) {
    flip_status status = FLIP_OK;
    char *data[FLIP_MOVE_COLUMNS] = {NULL};
    int64_t *named = NULL, block = BLOCK_BYTES / (int64_t)t->item_bytes + 1;
    int64_t last = flip_share(t->n_items, m->rank + 1, m->size);
    m->n_headers = m->n_picked = 0;
    for (int c = 0; c < t->n_columns; c++)
        FLIP_TRY_GOTO(flip_alloc(&data[c], (size_t)block, t->columns[c].bytes, "a block of items"));
    FLIP_TRY_GOTO(flip_alloc(&named, (size_t)block, sizeof *named, "a block of items"));
    for (int64_t at = flip_share(t->n_items, m->rank, m->size); at < last; at += block)
        FLIP_TRY_GOTO(
            pick_block(m, t, low, high, at, last - at < block ? last - at : block, data, named));
done:
    for (int c = 0; c < t->n_columns; c++)
        flip_free(data[c]);
    flip_free(named);
    return status;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static flip_status write_columns(mover *m, const table *t) {
    for (int c = 0; c < t->n_columns; c++) {
        const column *k = &t->columns[c];
        char *data = NULL;
        FLIP_TRY(flip_comm_agree(
            m->comm, flip_alloc(&data, (size_t)m->n_own, k->bytes, "a column to write")));
        for (int64_t i = 0; i < m->n_own; i++)
            memcpy(data + (size_t)i * k->bytes, m->own + (size_t)i * t->item_bytes + k->offset,
                   k->bytes);
        flip_status status = flip_writer_rows(m->writer, k->name, k->type, k->type, m->n_own,
                                              k->dim2, k->dim3, data);
        flip_free(data);
        FLIP_TRY(status);
    }
    return FLIP_OK;
}

/* The column that names the node, from the new pointers. */
static flip_status write_names(mover *m, const table *t) {
    flip_status status = FLIP_OK;
    flip_gid first = m->bound[m->rank], last = m->bound[m->rank + 1];
    int64_t *named = NULL;
    FLIP_TRY_GOTO(flip_comm_agree(
        m->comm, flip_alloc(&named, (size_t)m->n_own, sizeof *named, "a column to write")));
    for (flip_gid id = first; id < last; id++)
        for (int64_t i = m->new_ptr[id]; i < m->new_ptr[id + 1]; i++)
            named[i - m->new_ptr[first]] = id;
    FLIP_TRY_GOTO(
        flip_writer_rows(m->writer, t->index, FLIP_TYPE_I64, FLIP_TYPE_I64, m->n_own, 0, 0, named));
done:
    flip_free(named);
    return status;
}

static flip_status write_pointers(mover *m, const table *t) {
    int64_t first = flip_share(m->n + 1, m->rank, m->size);
    int64_t last = flip_share(m->n + 1, m->rank + 1, m->size);
    return flip_writer_rows(m->writer, t->index, FLIP_TYPE_I64, FLIP_TYPE_I64, last - first, 0, 0,
                            m->new_ptr + first);
}

static flip_status move_window(mover *m, const table *t, flip_gid low, flip_gid high) {
    flip_move_bounds(m, low, high);
    FLIP_TRY(flip_comm_agree(m->comm, pick_window(m, t, low, high)));
    FLIP_TRY(flip_move_travel(m, t));
    if (t->kind == FLIP_TABLE_NAMED) FLIP_TRY(write_names(m, t));
    return write_columns(m, t);
}

flip_status flip_table_move(mover *m, table *t) {
    flip_status status = FLIP_OK;
    if (t->n_columns == 0) return FLIP_OK;
    FLIP_TRY_GOTO(table_pointers(m, t));
    if (t->kind == FLIP_TABLE_ROWS) FLIP_TRY_GOTO(write_pointers(m, t));
    int64_t room = (int64_t)(m->window_bytes / t->item_bytes) + 1;
    for (flip_gid low = 0, high; low < m->n || (low == 0 && m->n == 0); low = high) {
        high = low + flip_move_row(m->new_ptr + low, m->n - low, m->new_ptr[low] + room);
        if (high == low) high = low + (low < m->n);
        FLIP_TRY_GOTO(move_window(m, t, low, high));
        flip_free(m->own);
        m->own = NULL;
        if (m->n == 0) break;
    }
done:
    flip_free(m->own);
    flip_free(m->old_ptr);
    flip_free(m->headers);
    flip_free(m->items);
    m->own = m->items = NULL;
    m->old_ptr = NULL;
    m->headers = NULL;
    m->headers_capacity = m->items_capacity = 0;
    return status;
}

/* ---- the mover ---- */

size_t flip_move_window = 0;

/* The same on every machine with as much memory, whatever the number of ranks on it. */
static size_t window_bytes(const flip_comm *comm) {
    if (flip_move_window > 0) return flip_move_window;
    size_t memory = flip_memory_available() / 8, least = (size_t)128 << 20, most = (size_t)4 << 30;
    size_t machines = (size_t)(flip_comm_size(comm) / flip_comm_node_size(comm));
    memory = memory < least ? least : memory > most ? most : memory;
    return memory * (machines > 0 ? machines : 1);
}

static flip_status prepare(mover *m, int64_t n) {
    if (n != m->p->n_nodes)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                         "the partition is of %" PRId64 " nodes, '%s' has "
                         "%" PRId64,
                         m->p->n_nodes, flip_reader_path(m->reader), n);
    FLIP_TRY(flip_alloc(&m->new_of, (size_t)n, sizeof *m->new_of, "new ids"));
    FLIP_TRY(flip_alloc(&m->new_ptr, (size_t)n + 1, sizeof *m->new_ptr, "row pointers"));
    FLIP_TRY(flip_alloc(&m->bound, (size_t)m->size + 1, sizeof *m->bound, "window ranges"));
    for (int64_t i = 0; i < n; i++)
        m->new_of[m->p->order[i]] = i;
    return FLIP_OK;
}

flip_status flip_mover_init(flip_mover *m, int64_t n) {
    int64_t window = (int64_t)window_bytes(m->comm);
    FLIP_TRY(flip_comm_agree(m->comm, prepare(m, n)));
    FLIP_TRY(flip_comm_broadcast(m->comm, &window, sizeof window, 0));
    m->window_bytes = (size_t)window;
    return FLIP_OK;
}

void flip_mover_finish(flip_mover *m) {
    flip_free(m->new_of);
    flip_free(m->new_ptr);
    flip_free(m->bound);
}

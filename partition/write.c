/* Writing a graph in its new numbering: which tables a graph has, and what is said of the
 * partition. How a table is moved stands in move.c. */
#include "partition/move.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static flip_status move_one(flip_mover *m, const char *name) {
    flip_table t = {.kind = FLIP_TABLE_NODES};
    FLIP_TRY(flip_table_column(m, &t, name));
    return flip_table_move(m, &t);
}

static flip_status move_events(flip_mover *m) {
    flip_table t = {.kind = FLIP_TABLE_ROWS, .index = "events/indptr", .events = true};
    FLIP_TRY(flip_table_column(m, &t, "events/src"));
    if (t.n_columns == 1 && t.columns[0].type != FLIP_TYPE_I32 &&
        t.columns[0].type != FLIP_TYPE_I64)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s': events/src is %s", flip_reader_path(m->reader),
                         flip_type_name(t.columns[0].type));
    FLIP_TRY(flip_table_column(m, &t, "events/step"));
    FLIP_TRY(flip_table_column(m, &t, "events/weight"));
    FLIP_TRY(flip_table_column(m, &t, "events/label"));
    return flip_table_move(m, &t);
}

/* A group that is constant (one item a node) or changes (group/node names the node). */
static flip_status move_group(flip_mover *m, const char *node, const char *step,
                              const char *values) {
    flip_table t = {.kind = flip_reader_has(m->reader, node) ? FLIP_TABLE_NAMED : FLIP_TABLE_NODES,
                    .index = node};
    FLIP_TRY(flip_table_column(m, &t, step));
    FLIP_TRY(flip_table_column(m, &t, values));
    return flip_table_move(m, &t);
}

static flip_status copy_one(flip_mover *m, const char *name) {
    if (!flip_reader_has(m->reader, name)) return FLIP_OK;
    return flip_container_copy_dataset(m->writer, m->reader, m->comm, name);
}

static flip_status move_features(flip_mover *m) {
    if (flip_reader_has(m->reader, "features/codes")) {
        FLIP_TRY(move_group(m, "features/node", "features/step", "features/codes"));
        if (flip_reader_has(m->reader, "features/refinement"))
            FLIP_TRY(move_one(m, "features/refinement"));
        FLIP_TRY(copy_one(m, "features/codec"));
        return copy_one(m, "features/refinement_codec");
    }
    if (!flip_reader_has(m->reader, "features/indptr"))
        return move_group(m, "features/node", "features/step", "features/values");
    flip_table t = {.kind = FLIP_TABLE_ROWS, .index = "features/indptr"};
    FLIP_TRY(flip_table_column(m, &t, "features/indices"));
    FLIP_TRY(flip_table_column(m, &t, "features/values"));
    return flip_table_move(m, &t);
}

static flip_status move_name_texts(flip_mover *m) {
    flip_table t = {.kind = FLIP_TABLE_ROWS, .index = "nodes/name_ptr"};
    FLIP_TRY(flip_table_column(m, &t, "nodes/name"));
    return flip_table_move(m, &t);
}

/* splits [S, N]: one row after the other, each permuted on rank 0. */
static flip_status move_splits(flip_mover *m) {
    flip_status status = FLIP_OK;
    int64_t dims[3], mine = m->rank == 0;
    int8_t *old = NULL, *new = NULL;
    if (!flip_reader_has(m->reader, "splits")) return FLIP_OK;
    FLIP_TRY(flip_reader_shape(m->reader, "splits", dims, NULL));
    if (dims[1] != m->n)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s': splits has %" PRId64 " columns for %" PRId64 " nodes",
                         flip_reader_path(m->reader), dims[1], m->n);
    size_t n = mine ? (size_t)m->n : 1;
    FLIP_TRY_GOTO(flip_alloc(&old, n, 1, "a split"));
    FLIP_TRY_GOTO(flip_alloc(&new, n, 1, "a split"));
    for (int64_t s = 0; s < dims[0]; s++) {
        if (mine) status = flip_reader_rows(m->reader, "splits", FLIP_TYPE_I8, s, 1, old);
        for (int64_t i = 0; i < m->n && mine && status == FLIP_OK; i++)
            new[i] = old[m->p->order[i]];
        FLIP_TRY_GOTO(flip_comm_agree(m->comm, status));
        FLIP_TRY_GOTO(
            flip_writer_rows(m->writer, "splits", FLIP_TYPE_I8, FLIP_TYPE_I8, mine, m->n, 0, new));
    }
done:
    flip_free(old);
    flip_free(new);
    return status;
}

/* Pinned non-edges name nodes by their ids before any partitioning: they are copied as they are. */
static flip_status copy_negatives(flip_mover *m) {
    static const char *const names[] = {"negatives/step", "negatives/source",
                                        "negatives/destination"};
    if (!flip_reader_has(m->reader, names[0])) return FLIP_OK;
    for (int k = 0; k < 3; k++)
        FLIP_TRY(flip_container_copy_dataset(m->writer, m->reader, m->comm, names[k]));
    return FLIP_OK;
}

/* nodes/original: ids before any partitioning, so that of a file already renumbered is followed. */
static flip_status write_original(flip_mover *m) {
    if (flip_reader_has(m->reader, "nodes/original")) return move_one(m, "nodes/original");
    int64_t first = flip_share(m->n, m->rank, m->size);
    int64_t last = flip_share(m->n, m->rank + 1, m->size);
    return flip_writer_rows(m->writer, "nodes/original", FLIP_TYPE_I64, FLIP_TYPE_I64, last - first,
                            0, 0, m->p->order + first);
}

static const char *const known[] = {"events/indptr",
                                    "events/src",
                                    "events/step",
                                    "events/weight",
                                    "events/label",
                                    "events/label_names",
                                    "features/values",
                                    "features/indptr",
                                    "features/indices",
                                    "features/node",
                                    "features/step",
                                    "labels/class",
                                    "labels/node",
                                    "labels/step",
                                    "labels/names",
                                    "targets/values",
                                    "targets/node",
                                    "targets/step",
                                    "splits",
                                    "nodes/original",
                                    "nodes/name_ptr",
                                    "nodes/name",
                                    "nodes/number",
                                    "parts/first",
                                    "negatives/step",
                                    "negatives/source",
                                    "negatives/destination",
                                    "features/codes",
                                    "features/codec",
                                    "features/refinement",
                                    "features/refinement_codec"};

/* A dataset that this file does not know cannot be renumbered, and must not be lost in silence. */
static flip_status check_known(const flip_reader *reader) {
    for (int32_t i = 0; i < flip_reader_n_datasets(reader); i++) {
        const char *name = flip_reader_dataset(reader, i);
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            found |= strcmp(name, known[k]) == 0;
        if (!found)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s': dataset %s is not part of a graph; it would "
                             "be lost in partitioning",
                             flip_reader_path(reader), name);
    }
    return FLIP_OK;
}

static flip_status write_about(flip_mover *m, const flip_partition_params *p) {
    flip_writer *w = m->writer;
    char balance[32];
    snprintf(balance, sizeof balance, "%s%s%s", p->balance_nodes ? "nodes," : "",
             p->balance_edges ? "edges," : "", p->balance_train ? "train," : "");
    if (balance[0]) balance[strlen(balance) - 1] = 0;
    FLIP_TRY(flip_writer_attribute_text(w, "partition", "method",
                                        flip_partition_method_name(m->p->method)));
    FLIP_TRY(flip_writer_attribute_text(w, "partition", "objective", p->volume ? "volume" : "cut"));
    FLIP_TRY(flip_writer_attribute_text(w, "partition", "balance", balance));
    FLIP_TRY(flip_writer_attribute_text(w, "partition", "reason", m->p->reason));
    FLIP_TRY(flip_writer_attribute_i64(w, "partition", "n_parts", m->p->n_parts));
    FLIP_TRY(flip_writer_attribute_i64(w, "partition", "seed", (int64_t)p->seed));
    FLIP_TRY(flip_writer_attribute_i64(w, "partition", "cut", m->p->cut));
    FLIP_TRY(flip_writer_attribute_f64(w, "partition", "imbalance", p->imbalance));
    FLIP_TRY(flip_writer_attribute_f64(w, "partition", "node_balance", m->p->node_balance));
    FLIP_TRY(flip_writer_attribute_f64(w, "partition", "edge_balance", m->p->edge_balance));
    if (m->p->full_halo >= 0) { /* the last full result, which the next --from is held to */
        FLIP_TRY(flip_writer_attribute_i64(w, "partition", "full_halo", m->p->full_halo));
        FLIP_TRY(flip_writer_attribute_f64(w, "partition", "full_crossing", m->p->full_crossing));
    }
    int64_t mine = m->rank == 0 ? m->p->n_parts + 1 : 0;
    return flip_writer_rows(w, "parts/first", FLIP_TYPE_I64, FLIP_TYPE_I64, mine, 0, 0,
                            m->p->part_first);
}

static flip_status move_all(flip_mover *m) {
    FLIP_TRY(move_events(m));
    FLIP_TRY(copy_one(m, "events/label_names"));
    FLIP_TRY(move_features(m));
    FLIP_TRY(move_group(m, "labels/node", "labels/step", "labels/class"));
    FLIP_TRY(copy_one(m, "labels/names"));
    FLIP_TRY(move_group(m, "targets/node", "targets/step", "targets/values"));
    FLIP_TRY(move_splits(m));
    FLIP_TRY(copy_negatives(m));
    FLIP_TRY(write_original(m));
    FLIP_TRY(move_one(m, "nodes/number"));
    return move_name_texts(m);
}

flip_status flip_partition_write(flip_comm *comm, const flip_reader *graph,
                                 const flip_partition *partition,
                                 const flip_partition_params *params, const char *path) {
    flip_status status = FLIP_OK;
    int64_t dims[3];
    flip_mover m = {.comm = comm,
                    .rank = flip_comm_rank(comm),
                    .size = flip_comm_size(comm),
                    .reader = graph,
                    .p = partition,
                    .n = partition->n_nodes};
    FLIP_TRY_GOTO(flip_reader_shape(graph, "events/indptr", dims, NULL));
    FLIP_TRY_GOTO(check_known(graph));
    FLIP_TRY_GOTO(flip_mover_init(&m, dims[0] - 1));
    FLIP_TRY_GOTO(flip_writer_create(&m.writer, comm, path, "graph"));
    FLIP_TRY_GOTO(flip_container_copy_attributes(m.writer, graph, "/"));
    FLIP_TRY_GOTO(flip_container_copy_attributes(m.writer, graph, "features"));
    FLIP_TRY_GOTO(move_all(&m));
    FLIP_TRY_GOTO(write_about(&m, params));
    FLIP_TRY_GOTO(flip_writer_commit(m.writer));
done:
    flip_writer_destroy(&m.writer);
    flip_mover_finish(&m);
    return status;
}

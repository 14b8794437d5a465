/* Learned features in a checkpoint: a row a node, with the node's original id and a hash of its
 * name. On the graph they were trained on, rows go by original ids. On a graph that has grown
 * since, whose dense ids may be others, they go by names; rows of nodes that vanished are left out,
 * and new nodes keep the values they were drawn with. */
#include "train/internal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static size_t values_of(const flip_learned *learned) {
    return (size_t)learned->n_own * (size_t)learned->dim;
}

/* learned->name [n_own]: XXH3 of the names as they are printed. */
static flip_status read_names(flip_learned *learned, const flip_data *data) {
    flip_status status = FLIP_OK;
    char *text = NULL;
    size_t size = 0;
    if (learned->name) return FLIP_OK;
    FLIP_TRY_GOTO(flip_graph_name_size(data->graph, &size));
    FLIP_TRY_GOTO(flip_alloc(&text, size, 1, "a name"));
    FLIP_TRY_GOTO(
        flip_alloc(&learned->name, (size_t)learned->n_own, sizeof *learned->name, "names"));
    for (int32_t v = 0; v < learned->n_own; v++) {
        FLIP_TRY_GOTO(flip_graph_node_name(data->graph, v, text, size));
        learned->name[v] = (int64_t)XXH3_64bits(text, strlen(text));
    }
done:
    flip_free(text);
    return status;
}

flip_status flip_learned_write(flip_learned *learned, const flip_data *data, flip_writer *writer,
                               flip_type type) {
    int64_t n = learned->n_own, dim = learned->dim;
    size_t half = values_of(learned);
    FLIP_TRY(flip_comm_agree(data->comm, read_names(learned, data)));
    FLIP_TRY(flip_writer_rows(writer, "embedding/original", FLIP_TYPE_I64, FLIP_TYPE_I64, n, 0, 0,
                              data->original));
    FLIP_TRY(flip_writer_rows(writer, "embedding/name", FLIP_TYPE_I64, FLIP_TYPE_I64, n, 0, 0,
                              learned->name));
    FLIP_TRY(flip_writer_rows(writer, "embedding/current", type, type, n, dim, 0, learned->values));
    FLIP_TRY(flip_writer_rows(writer, "embedding/best", type, type, n, dim, 0, learned->best));
    FLIP_TRY(
        flip_writer_rows(writer, "embedding/moment1", type, type, n, dim, 0, learned->moments));
    return flip_writer_rows(writer, "embedding/moment2", type, type, n, dim, 0,
                            learned->moments + half);
}

/* ---- who has which name ---- */

typedef struct named {
    uint64_t name;
    int64_t value; /* new id, or place of a question */
    int32_t at;    /* rank that is asked */
} named;

static int by_rank(const void *a, const void *b) {
    const named *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return (x->value > y->value) - (x->value < y->value);
}

static int by_name(const void *a, const void *b) {
    const named *x = a, *y = b;
    if (x->name != y->name) return x->name < y->name ? -1 : 1;
    return (x->value > y->value) - (x->value < y->value);
}

/* list [n] to the ranks that know their names; counts [2 size]: sent, received. */
static flip_status deal_names(const flip_data *data, named *list, int64_t n, int64_t *counts,
                              named **received, int64_t *n_received) {
    int size = flip_comm_size(data->comm);
    memset(counts, 0, 2 * (size_t)size * sizeof *counts);
    for (int64_t i = 0; i < n; i++) {
        list[i].at = (int32_t)(list[i].name % (uint64_t)size);
        counts[list[i].at]++;
    }
    qsort(list, (size_t)n, sizeof *list, by_rank);
    return flip_comm_deal(data->comm, received, n_received, counts + size, list, counts,
                          sizeof *list);
}

/* The new id of the node with this name among known [n], or -1. */
static int64_t look_up(const named *known, int64_t n, uint64_t name) {
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (known[middle].name < name)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && known[low].name == name ? known[low].value : -1;
}

/* gid [n] of the nodes with these names; -1 where there is none. Collective. */
static flip_status find_names(const flip_learned *learned, const flip_data *data, int64_t n,
                              const int64_t *names, flip_gid *gid) {
    flip_status status = FLIP_OK;
    size_t size = (size_t)flip_comm_size(data->comm);
    flip_gid first = data->rank_first[flip_comm_rank(data->comm)];
    named *mine = NULL, *known = NULL, *questions = NULL, *asked = NULL;
    int64_t *counts = NULL, n_known = 0, n_asked = 0;
    FLIP_TRY_GOTO(flip_alloc(&counts, 2 * size, sizeof *counts, "counts"));
    FLIP_TRY_GOTO(flip_alloc(&mine, (size_t)learned->n_own, sizeof *mine, "names"));
    FLIP_TRY_GOTO(flip_alloc(&questions, (size_t)n, sizeof *questions, "names"));
    for (int32_t v = 0; v < learned->n_own; v++)
        mine[v] = (named){(uint64_t)learned->name[v], first + v, 0};
    FLIP_TRY_GOTO(deal_names(data, mine, learned->n_own, counts, &known, &n_known));
    qsort(known, (size_t)n_known, sizeof *known, by_name);
    for (int64_t i = 1; i < n_known && status == FLIP_OK; i++)
        if (known[i].name == known[i - 1].name)
            status = FLIP_FAIL(FLIP_ERROR_INPUT,
                               "two nodes of '%s' have the same name; learned features cannot be "
                               "told by it",
                               data->s.graph);
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    for (int64_t i = 0; i < n; i++)
        questions[i] = (named){(uint64_t)names[i], i, 0};
    FLIP_TRY_GOTO(deal_names(data, questions, n, counts, &asked, &n_asked));
    for (int64_t i = 0; i < n_asked; i++) /* the place stays, the name becomes the answer */
        asked[i].name = (uint64_t)look_up(known, n_known, asked[i].name);
    if (size == 1)
        memcpy(questions, asked, (size_t)n * sizeof *asked);
    else
        FLIP_TRY_GOTO(flip_comm_all_to_all(data->comm, asked, counts + size, questions, counts,
                                           sizeof *asked));
    for (int64_t i = 0; i < n; i++)
        gid[questions[i].value] = (flip_gid)questions[i].name;
done:
    flip_free(mine);
    flip_free(known);
    flip_free(questions);
    flip_free(asked);
    flip_free(counts);
    return status;
}

/* ---- the way of the rows ---- */

/* Where the rows of this rank's slab of the file go: rows [n] in the order of their new ids. */
typedef struct route {
    int64_t first, n;        /* slab of the file */
    int64_t n_out, n_in;     /* rows that go, rows that arrive */
    int64_t *order;          /* [n_out] slab row to send i-th */
    int64_t *send, *receive; /* [size] rows */
    int64_t *at;             /* [n_in] own row of the i-th arrival */
} route;

static void route_finish(route *r) {
    flip_free(r->order);
    flip_free(r->send);
    flip_free(r->at);
}

typedef struct place {
    flip_gid gid;
    int64_t row;
} place;

static int by_gid(const void *a, const void *b) {
    const place *x = a, *y = b;
    return (x->gid > y->gid) - (x->gid < y->gid);
}

/* places [n_out] sorted by new id, then counts and own rows exchanged. */
static flip_status fill_route(route *r, const flip_data *data, place *places) {
    int size = flip_comm_size(data->comm);
    flip_gid mine = data->rank_first[flip_comm_rank(data->comm)], *gid = NULL;
    int64_t *one = r->send + 2 * size;
    flip_status status;
    qsort(places, (size_t)r->n_out, sizeof *places, by_gid);
    FLIP_TRY_GOTO(flip_alloc(&gid, (size_t)r->n_out, sizeof *gid, "learned features"));
    for (int64_t i = 0, to = 0; i < r->n_out; i++) {
        while (places[i].gid >= data->rank_first[to + 1])
            to++;
        r->send[to]++;
        r->order[i] = places[i].row;
        gid[i] = places[i].gid;
    }
    for (int k = 0; k < size; k++)
        one[k] = 1;
    if (size == 1)
        r->receive[0] = r->send[0];
    else
        FLIP_TRY_GOTO(flip_comm_all_to_all(data->comm, r->send, one, r->receive, one, sizeof *one));
    for (int k = 0; k < size; k++)
        r->n_in += r->receive[k];
    FLIP_TRY_GOTO(flip_alloc(&r->at, (size_t)r->n_in, sizeof *r->at, "learned features"));
    if (size == 1)
        memcpy(r->at, gid, (size_t)r->n_out * sizeof *gid);
    else
        FLIP_TRY_GOTO(
            flip_comm_all_to_all(data->comm, gid, r->send, r->at, r->receive, sizeof *gid));
    for (int64_t i = 0; i < r->n_in; i++)
        r->at[i] -= mine;
done:
    flip_free(gid);
    return status;
}

/* gid [r->n] of the slab's rows by original id. */
static flip_status find_originals(const route *r, const flip_data *data, const flip_reader *reader,
                                  const int64_t *original, flip_gid *gid) {
    flip_directory directory = {0};
    flip_status status = FLIP_OK;
    for (int64_t i = 0; i < r->n && status == FLIP_OK; i++)
        if (original[i] < 0 || original[i] >= data->info->n_nodes)
            status = FLIP_FAIL(FLIP_ERROR_INPUT, "checkpoint '%s', embedding/original: found %lld",
                               flip_reader_path(reader), (long long)original[i]);
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    FLIP_TRY_GOTO(flip_directory_create(&directory, data->comm, data->graph));
    FLIP_TRY_GOTO(flip_directory_find(&directory, r->n, original, gid));
done:
    flip_directory_finish(&directory);
    return status;
}

/* n_rows: of the file. */
static flip_status make_route(route *r, const flip_learned *learned, const flip_data *data,
                              const flip_reader *reader, int64_t n_rows, bool by_names) {
    int size = flip_comm_size(data->comm), rank = flip_comm_rank(data->comm);
    int64_t *key = NULL;
    flip_gid *gid = NULL;
    place *places = NULL;
    flip_status status;
    r->first = n_rows * rank / size;
    r->n = n_rows * (rank + 1) / size - r->first;
    FLIP_TRY_GOTO(flip_alloc(&key, (size_t)r->n, sizeof *key, "learned features"));
    FLIP_TRY_GOTO(flip_alloc(&gid, (size_t)r->n, sizeof *gid, "learned features"));
    FLIP_TRY_GOTO(flip_alloc(&places, (size_t)r->n, sizeof *places, "learned features"));
    FLIP_TRY_GOTO(flip_alloc(&r->order, (size_t)r->n, sizeof *r->order, "learned features"));
    FLIP_TRY_GOTO(flip_alloc_zero(&r->send, 3 * (size_t)size, sizeof *r->send, "counts"));
    r->receive = r->send + size;
    FLIP_TRY_GOTO(flip_reader_rows(reader, by_names ? "embedding/name" : "embedding/original",
                                   FLIP_TYPE_I64, r->first, r->n, key));
    if (by_names)
        FLIP_TRY_GOTO(find_names(learned, data, r->n, key, gid));
    else
        FLIP_TRY_GOTO(find_originals(r, data, reader, key, gid));
    for (int64_t i = 0; i < r->n; i++)
        if (gid[i] >= 0) places[r->n_out++] = (place){gid[i], i};
    FLIP_TRY_GOTO(fill_route(r, data, places));
done:
    flip_free(key);
    flip_free(gid);
    flip_free(places);
    return status;
}

/* Rows of one dataset into out [n_own, dim]. */
static flip_status fetch_rows(const route *r, const flip_data *data, const flip_reader *reader,
                              const char *name, flip_type type, int32_t dim, flip_real *out) {
    size_t width = (size_t)dim * sizeof *out;
    flip_real *slab = NULL, *sorted = NULL, *received = NULL;
    flip_status status;
    FLIP_TRY_GOTO(flip_alloc(&slab, (size_t)r->n, width, "learned features"));
    FLIP_TRY_GOTO(flip_alloc(&sorted, (size_t)r->n_out, width, "learned features"));
    FLIP_TRY_GOTO(flip_alloc(&received, (size_t)r->n_in, width, "learned features"));
    FLIP_TRY_GOTO(flip_reader_rows(reader, name, type, r->first, r->n, slab));
    for (int64_t i = 0; i < r->n_out; i++)
        memcpy(sorted + i * dim, slab + r->order[i] * dim, width);
    if (flip_comm_size(data->comm) == 1)
        memcpy(received, sorted, (size_t)r->n_out * width);
    else
        FLIP_TRY_GOTO(
            flip_comm_all_to_all(data->comm, sorted, r->send, received, r->receive, width));
    for (int64_t i = 0; i < r->n_in; i++)
        memcpy(out + r->at[i] * dim, received + i * dim, width);
done:
    flip_free(slab);
    flip_free(sorted);
    flip_free(received);
    return status;
}

static flip_status wrong_rows(const flip_learned *learned, const flip_data *data,
                              const flip_reader *reader, int64_t n, int64_t dim) {
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "checkpoint '%s' has learned features of %lld nodes x %lld, '%s' needs %lld x "
                     "%d; learned features belong to the nodes they were trained on (the same "
                     "graph, grown: --grown on)",
                     flip_reader_path(reader), (long long)n, (long long)dim, data->s.graph,
                     (long long)data->info->n_nodes, learned->dim);
}

/* Refuses learned features that cannot be given to this graph. n_rows: of the file. */
static flip_status check_rows(const flip_learned *learned, const flip_data *data,
                              const flip_reader *reader, int64_t *n_rows, bool *by_names) {
    int64_t dims[3];
    if (!flip_reader_has(reader, "embedding/current"))
        return FLIP_FAIL(FLIP_ERROR_INPUT, "checkpoint '%s' has no learned features",
                         flip_reader_path(reader));
    FLIP_TRY(flip_reader_shape(reader, "embedding/current", dims, NULL));
    *n_rows = dims[0];
    if (dims[1] != learned->dim || (dims[0] != data->info->n_nodes && !data->s.grown))
        return wrong_rows(learned, data, reader, dims[0], dims[1]);
    *by_names &= flip_reader_has(reader, "embedding/name");
    if (!*by_names && dims[0] != data->info->n_nodes)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "checkpoint '%s' does not name the nodes of its learned features; they "
                         "cannot go to a graph that has grown",
                         flip_reader_path(reader));
    return FLIP_OK;
}

flip_status flip_learned_read(flip_learned *learned, const flip_data *data,
                              const flip_reader *reader, flip_type type, bool state, bool other,
                              int64_t *n_taken) {
    route r = {0};
    int64_t n_rows = 0;
    bool by_names = other;
    flip_status status;
    FLIP_TRY(check_rows(learned, data, reader, &n_rows, &by_names));
    if (by_names) FLIP_TRY(flip_comm_agree(data->comm, read_names(learned, data)));
    size_t half = values_of(learned);
    int32_t dim = learned->dim;
    FLIP_TRY_GOTO(make_route(&r, learned, data, reader, n_rows, by_names));
    *n_taken = r.n_in;
    FLIP_TRY_GOTO(flip_comm_sum_i64(data->comm, n_taken, 1));
    if (*n_taken < data->info->n_nodes && !data->s.grown)
        FLIP_TRY_GOTO(wrong_rows(learned, data, reader, *n_taken, dim));
    FLIP_TRY_GOTO(fetch_rows(&r, data, reader, "embedding/best", type, dim, learned->best));
    if (!state) {
        memcpy(learned->values, learned->best, half * sizeof *learned->best);
        goto done;
    }
    FLIP_TRY_GOTO(fetch_rows(&r, data, reader, "embedding/current", type, dim, learned->values));
    FLIP_TRY_GOTO(fetch_rows(&r, data, reader, "embedding/moment1", type, dim, learned->moments));
    FLIP_TRY_GOTO(
        fetch_rows(&r, data, reader, "embedding/moment2", type, dim, learned->moments + half));
done:
    route_finish(&r);
    return status;
}

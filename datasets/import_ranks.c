/* Import on several ranks. Every rank reads a part of the lines (one file: equal parts of its
 * bytes; several files: whole files), then
 *
 *   join      names, ids and times of all ranks become one numbering, the same everywhere
 *   exchange  every edge goes to the rank that owns its destination: ranges of nodes with about
 *             equal numbers of events. Edges arrive in the order of the lines.
 *   gather    rank 0, which writes, takes the sorted events of the others window by window
 *
 * so that no rank ever holds all edges, and the file has the same bytes as one process makes. Node
 * ids, and rows of nodes while they are written, stand on rank 0 (ids on every rank). */
#include "datasets/import_private.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

static int n_ranks(const flip_import_state *s) {
    return flip_comm_size(s->p->comm);
}

static int my_rank(const flip_import_state *s) {
    return flip_comm_rank(s->p->comm);
}

flip_status flip_import_or(void *user, uint64_t *bits, size_t n_words) {
    enum { AT_ONCE = 1 << 24 };
    flip_import_state *s = user;
    for (size_t first = 0; first < n_words && n_ranks(s) > 1; first += AT_ONCE) {
        int n = n_words - first < AT_ONCE ? (int)(n_words - first) : AT_ONCE;
        if (MPI_Allreduce(MPI_IN_PLACE, bits + first, n, MPI_UINT64_T, MPI_BOR,
                          flip_comm_mpi(s->p->comm)) != MPI_SUCCESS)
            return FLIP_FAIL(FLIP_ERROR_LIBRARY, "MPI cannot join the ids of the ranks");
    }
    return FLIP_OK;
}

static flip_status most_f64(flip_import_state *s, double *value) {
    if (n_ranks(s) > 1 && MPI_Allreduce(MPI_IN_PLACE, value, 1, MPI_DOUBLE, MPI_MAX,
                                        flip_comm_mpi(s->p->comm)) != MPI_SUCCESS)
        return FLIP_FAIL(FLIP_ERROR_LIBRARY, "MPI cannot compare the ranks' numbers");
    return FLIP_OK;
}

flip_status flip_import_range_f64(flip_import_state *s, double *least, double *most) {
    *least = -*least;
    FLIP_TRY(most_f64(s, least));
    *least = -*least;
    return most_f64(s, most);
}

/* ---- join ---- */

/* Names of all ranks in rank order; code_of[my code] = the common one. */
static flip_status join_names(flip_import_state *s, flip_names *names, uint32_t **code_of) {
    flip_comm *comm = s->p->comm;
    flip_names all = {0};
    int64_t *ptr = NULL, size[2];
    char *bytes = NULL;
    flip_status status = FLIP_OK;
    FLIP_TRY(flip_alloc(code_of, (size_t)names->n, sizeof **code_of, "common codes"));
    for (int r = 0; r < n_ranks(s) && status == FLIP_OK; r++) {
        bool mine = r == my_rank(s);
        size[0] = names->n;
        size[1] = names->n ? names->ptr[names->n] : 0;
        FLIP_TRY_GOTO(flip_comm_broadcast(comm, size, sizeof size, r));
        FLIP_TRY_GOTO(flip_alloc_zero(&ptr, (size_t)size[0] + 1, sizeof *ptr, "names"));
        FLIP_TRY_GOTO(flip_alloc(&bytes, (size_t)size[1], 1, "names"));
        if (mine && names->n) {
            memcpy(ptr, names->ptr, ((size_t)size[0] + 1) * sizeof *ptr);
            memcpy(bytes, names->bytes, (size_t)size[1]);
        }
        FLIP_TRY_GOTO(flip_comm_broadcast(comm, ptr, ((size_t)size[0] + 1) * sizeof *ptr, r));
        FLIP_TRY_GOTO(flip_comm_broadcast(comm, bytes, (size_t)size[1], r));
        for (int64_t i = 0; i < size[0] && status == FLIP_OK; i++) {
            uint32_t code;
            status = flip_names_add(&all, bytes + ptr[i], (size_t)(ptr[i + 1] - ptr[i]),
                                    FLIP_NODES_MOST, &code);
            if (mine) (*code_of)[i] = code;
        }
        flip_free(ptr);
        flip_free(bytes);
        ptr = NULL;
        bytes = NULL;
    }
    flip_names_finish(names);
    *names = all;
    all = (flip_names){0};
done:
    flip_free(ptr);
    flip_free(bytes);
    flip_names_finish(&all);
    return status;
}

static flip_status join_numbers(flip_import_state *s, uint32_t **code_of) {
    enum { BATCH = 1024 };
    flip_ids all;
    int64_t *mine = NULL, *id = NULL;
    uint32_t code[BATCH];
    flip_status status;
    flip_edges none = {0};
    flip_ids_init(&all, &none);
    FLIP_TRY_GOTO(flip_ids_to_number(&all));
    FLIP_TRY_GOTO(flip_alloc(code_of, (size_t)s->ids.n, sizeof **code_of, "common codes"));
    FLIP_TRY_GOTO(flip_ids_list(&s->ids, &mine));
    for (int r = 0; r < n_ranks(s); r++) {
        int64_t n = s->ids.n;
        FLIP_TRY_GOTO(flip_comm_broadcast(s->p->comm, &n, sizeof n, r));
        FLIP_TRY_GOTO(flip_alloc(&id, (size_t)n, sizeof *id, "ids"));
        if (r == my_rank(s)) memcpy(id, mine, (size_t)n * sizeof *id);
        FLIP_TRY_GOTO(flip_comm_broadcast(s->p->comm, id, (size_t)n * sizeof *id, r));
        for (int64_t first = 0; first < n; first += BATCH) {
            int64_t some = n - first < BATCH ? n - first : BATCH;
            FLIP_TRY_GOTO(flip_ids_map(&all, id + first, some, code));
            if (r == my_rank(s)) memcpy(*code_of + first, code, (size_t)some * sizeof *code);
        }
        flip_free(id);
        id = NULL;
    }
    flip_ids_finish(&s->ids);
    s->ids = all;
    s->ids.edges = &s->edges;
    all = (flip_ids){0};
done:
    flip_free(mine);
    flip_free(id);
    flip_ids_finish(&all);
    return status;
}

/* The class of a node as several ranks found it on their edges. */
static flip_status join_node_classes(flip_import_state *s, const uint32_t *id_code,
                                     const uint32_t *class_code) {
    flip_edge_reader *r = &s->reader;
    int64_t *common, n = s->ids.n, any = r->node_class != NULL, clash = 0;
    FLIP_TRY(flip_comm_max_i64(s->p->comm, &any, 1));
    if (!any) return FLIP_OK;
    FLIP_TRY(flip_alloc(&common, 2 * (size_t)n, sizeof *common, "classes of nodes"));
    for (int64_t i = 0; i < 2 * n; i++)
        common[i] = i < n ? -1 : -FLIP_NODES_MOST; /* the greatest, and minus the least */
    for (int64_t code = 0; code < r->node_class_room; code++)
        if (r->node_class[code] >= 0) {
            uint32_t c = class_code[r->node_class[code]];
            common[id_code[code]] = c;
            common[n + id_code[code]] = -(int64_t)c;
        }
    flip_status status = flip_comm_max_i64(s->p->comm, common, 2 * (size_t)n);
    flip_free(r->node_class);
    r->node_class = NULL;
    r->node_class_room = n;
    if (status == FLIP_OK)
        status = flip_alloc(&r->node_class, (size_t)n, sizeof *r->node_class, "classes of nodes");
    for (int64_t v = 0; v < n && status == FLIP_OK; v++) {
        r->node_class[v] = (int32_t)common[v];
        clash += common[v] >= 0 && common[v] != -common[n + v];
    }
    flip_free(common);
    if (status == FLIP_OK && clash)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "%lld nodes have two classes in different parts of '%s'; import on one "
                         "rank names the lines",
                         (long long)clash, s->file[0]);
    return status;
}

static void recode_edges(flip_import_state *s, const uint32_t *id_code,
                         const uint32_t *label_code) {
    for (int32_t c = 0; c < s->edges.n_chunks; c++) {
        flip_edge_chunk *chunk = &s->edges.chunk[c];
        for (int64_t i = 0; i < chunk->n && id_code; i++) {
            chunk->src[i] = id_code[chunk->src[i]];
            chunk->dst[i] = id_code[chunk->dst[i]];
        }
        for (int64_t i = 0; i < chunk->n && chunk->label && label_code; i++)
            if (chunk->label[i] >= 0) chunk->label[i] = (int32_t)label_code[chunk->label[i]];
    }
    for (int64_t i = 0; i < s->n_table && id_code; i++)
        s->table_code[i] = id_code[s->table_code[i]];
}

/* Direct where it is so on all ranks, text where it is so on one. */
static flip_status join_id_kinds(flip_import_state *s) {
    int64_t both[2] = {s->ids.kind, s->ids.direct_most};
    FLIP_TRY(flip_comm_max_i64(s->p->comm, both, 2));
    s->ids.direct_most = both[1];
    flip_number_params p = {.n_known = s->n_known, .n_edges = s->n_edges};
    if (both[0] == FLIP_IDS_DIRECT && flip_ids_far_apart(&s->ids, &p)) both[0] = FLIP_IDS_NUMBER;
    if (both[0] == FLIP_IDS_NUMBER) FLIP_TRY(flip_ids_to_number(&s->ids));
    if (both[0] == FLIP_IDS_TEXT) FLIP_TRY(flip_ids_to_text(&s->ids));
    return FLIP_OK;
}

static flip_status join_ids(flip_import_state *s) {
    uint32_t *id_code = NULL, *label_code = NULL, *class_code = NULL;
    flip_status status;
    FLIP_TRY_GOTO(flip_comm_agree(s->p->comm, join_id_kinds(s)));
    if (s->ids.kind == FLIP_IDS_NUMBER) FLIP_TRY_GOTO(join_numbers(s, &id_code));
    if (s->ids.kind == FLIP_IDS_TEXT) {
        FLIP_TRY_GOTO(join_names(s, &s->ids.names, &id_code));
        s->ids.n = s->ids.names.n;
    }
    FLIP_TRY_GOTO(join_names(s, &s->edge_labels, &label_code));
    FLIP_TRY_GOTO(join_names(s, &s->node_classes, &class_code));
    recode_edges(s, id_code, s->has_sign ? NULL : label_code); /* signs are classes already */
    for (int64_t i = 0; i < s->n_table && s->table_class; i++)
        if (s->table_class[i] >= 0) s->table_class[i] = (int32_t)class_code[s->table_class[i]];
    FLIP_TRY_GOTO(join_node_classes(s, id_code, class_code));
done:
    flip_free(id_code);
    flip_free(label_code);
    flip_free(class_code);
    return status;
}

static flip_status join_times(flip_import_state *s) {
    flip_edges *e = &s->edges;
    int64_t in_double = e->time_double;
    FLIP_TRY(flip_comm_max_i64(s->p->comm, &in_double, 1));
    flip_status status = FLIP_OK;
    if (in_double && !e->time_double && !flip_edges_times_to_double(e))
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s': some times have fractions and others are integers beyond 2^53",
                           s->file[0]);
    FLIP_TRY(flip_comm_agree(s->p->comm, status));
    if (in_double) {
        if (e->n == 0) e->double_least = DBL_MAX, e->double_most = -DBL_MAX;
        return flip_import_range_f64(s, &e->double_least, &e->double_most);
    }
    int64_t range[2] = {e->n ? -1 - e->time_least : INT64_MIN, e->n ? e->time_most : INT64_MIN};
    FLIP_TRY(flip_comm_max_i64(s->p->comm, range, 2));
    e->time_least = -1 - range[0]; /* -1 - x turns the order round without overflow */
    e->time_most = range[1];
    return FLIP_OK;
}

/* The first id that is text, as the closing page tells it: the lowest line of all ranks. */
static flip_status join_text_id(flip_import_state *s) {
    flip_edge_reader *r = &s->reader;
    int64_t line = r->text_line ? -r->text_line : INT64_MIN, owner;
    FLIP_TRY(flip_comm_max_i64(s->p->comm, &line, 1));
    if (line == INT64_MIN) return FLIP_OK;
    owner = r->text_line == -line ? n_ranks(s) - my_rank(s) : 0;
    r->text_line = -line;
    FLIP_TRY(flip_comm_max_i64(s->p->comm, &owner, 1));
    return flip_comm_broadcast(s->p->comm, r->text_id, sizeof r->text_id, n_ranks(s) - (int)owner);
}

flip_status flip_import_join(flip_import_state *s, flip_status read) {
    flip_comm *comm = s->p->comm;
    flip_import_report *r = s->report;
    s->n_edges = s->edges.n;
    if (n_ranks(s) == 1) return read;
    FLIP_TRY(flip_comm_agree(comm, read));
    int64_t sums[] = {s->edges.n, r->n_comments, r->n_empty};
    int64_t most[] = {s->reader.weights_differ, r->last_comment,
                      r->first_comment ? -r->first_comment : INT64_MIN};
    FLIP_TRY(flip_comm_sum_i64(comm, sums, 3));
    FLIP_TRY(flip_comm_max_i64(comm, most, 3));
    s->n_edges = r->n_rows = sums[0];
    r->n_comments = sums[1];
    r->n_empty = sums[2];
    s->reader.weights_differ = most[0] > 0;
    r->last_comment = most[1];
    r->first_comment = most[2] == INT64_MIN ? 0 : -most[2];
    FLIP_TRY(join_text_id(s));
    if (s->edges.has_time && !s->snapshots) FLIP_TRY(join_times(s));
    return join_ids(s);
}

/* ---- exchange ---- */

typedef struct record {
    uint32_t src, dst;
    int32_t step, label;
    float weight;
} record;

/* node_first [size + 1]: ranges of destinations with about equal numbers of events. */
static flip_status cut_nodes(flip_import_state *s, bool both_ways) {
    int64_t *count, n = s->numbering.n_nodes, total = 0, sum = 0;
    int size = n_ranks(s), r = 0;
    FLIP_TRY(flip_alloc_zero(&count, (size_t)n, sizeof *count, "events of nodes"));
    for (int32_t c = 0; c < s->edges.n_chunks; c++) {
        const flip_edge_chunk *chunk = &s->edges.chunk[c];
        for (int64_t i = 0; i < chunk->n; i++) {
            count[chunk->dst[i]]++;
            if (both_ways && chunk->src[i] != chunk->dst[i]) count[chunk->src[i]]++;
        }
    }
    flip_status status = flip_comm_sum_i64(s->p->comm, count, (size_t)n);
    for (int64_t v = 0; v < n; v++)
        total += count[v];
    s->node_first[0] = 0;
    for (int64_t v = 0; v < n; v++) {
        while (r + 1 < size && sum >= (__int128)total * (r + 1) / size)
            s->node_first[++r] = v;
        sum += count[v];
    }
    while (r < size)
        s->node_first[++r] = n;
    flip_free(count);
    return status;
}

static int owner_of(const flip_import_state *s, uint32_t node) {
    int low = 0, high = n_ranks(s);
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if ((int64_t)node >= s->node_first[middle])
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Records of a chunk in the order of their owners, the order of lines inside. */
static void pack(flip_import_state *s, const flip_edge_chunk *chunk, bool both_ways, record *out,
                 int64_t *n_to) {
    int64_t at[1025];
    int size = n_ranks(s);
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 0) memset(n_to, 0, (size_t)size * sizeof *n_to);
        int64_t sum = 0;
        for (int r = 0; pass == 1 && r < size; sum += n_to[r++])
            at[r] = sum;
        for (int64_t i = 0; i < chunk->n; i++)
            for (int way = 0; way < 1 + both_ways; way++) {
                uint32_t src = way ? chunk->dst[i] : chunk->src[i];
                uint32_t dst = way ? chunk->src[i] : chunk->dst[i];
                if (way && src == dst) continue;
                int owner = owner_of(s, dst);
                if (pass == 0) {
                    n_to[owner]++;
                    continue;
                }
                out[at[owner]++] = (record){src, dst, chunk->step ? chunk->step[i] : 0,
                                            chunk->label ? chunk->label[i] : 0,
                                            chunk->weight ? chunk->weight[i] : 0};
                if (way)
                    s->balance_before +=
                        flip_pair_balance(src, dst, chunk->step ? (uint64_t)chunk->step[i] : 0);
            }
    }
}

static flip_status unpack(flip_edges *edges, const record *in, int64_t n, bool stepped) {
    flip_edge_chunk *chunk;
    if (n == 0) return FLIP_OK;
    FLIP_TRY(flip_edges_room(edges, n, &chunk));
    if (stepped && !chunk->step)
        FLIP_TRY(flip_alloc(&chunk->step, (size_t)chunk->capacity, sizeof *chunk->step, "steps"));
    for (int64_t i = 0; i < n; i++) {
        int64_t to = chunk->n + i;
        chunk->src[to] = in[i].src;
        chunk->dst[to] = in[i].dst;
        if (stepped) chunk->step[to] = in[i].step;
        if (chunk->weight) chunk->weight[to] = in[i].weight;
        if (chunk->label) chunk->label[to] = in[i].label;
    }
    chunk->n += n;
    edges->n += n;
    return FLIP_OK;
}

/* One round: a chunk of every rank. from [size]: lists by sending rank. */
static flip_status round_trip(flip_import_state *s, flip_edges *from, flip_edge_chunk *chunk,
                              bool both_ways, bool stepped) {
    int size = n_ranks(s);
    int64_t n_to[1024], n_from[1024], total = 0;
    record *out = NULL, *in = NULL;
    flip_status status;
    FLIP_TRY_GOTO(
        flip_alloc(&out, (size_t)chunk->n * (1 + both_ways), sizeof *out, "edges to send"));
    pack(s, chunk, both_ways, out, n_to);
    if (MPI_Alltoall(n_to, 1, MPI_INT64_T, n_from, 1, MPI_INT64_T, flip_comm_mpi(s->p->comm)) !=
        MPI_SUCCESS) {
        status = FLIP_FAIL(FLIP_ERROR_LIBRARY, "MPI cannot exchange counts of edges");
        goto done;
    }
    for (int r = 0; r < size; r++)
        total += n_from[r];
    FLIP_TRY_GOTO(flip_alloc(&in, (size_t)total, sizeof *in, "edges received"));
    FLIP_TRY_GOTO(flip_comm_all_to_all(s->p->comm, out, n_to, in, n_from, sizeof *in));
    total = 0;
    for (int r = 0; r < size; r++) {
        FLIP_TRY_GOTO(unpack(&from[r], in + total, n_from[r], stepped));
        total += n_from[r];
    }
done:
    flip_free(out);
    flip_free(in);
    return status;
}

/* The lists of all senders, one after the other, are this rank's edges. */
static flip_status concatenate(flip_edges *edges, flip_edges *from, int size) {
    for (int r = 0; r < size; r++)
        for (int32_t c = 0; c < from[r].n_chunks; c++) {
            flip_edge_chunk *slot;
            FLIP_TRY(flip_edges_adopt(edges, &slot));
            *slot = from[r].chunk[c];
            edges->n += slot->n;
            from[r].chunk[c] = (flip_edge_chunk){0};
        }
    return FLIP_OK;
}

flip_status flip_import_exchange(flip_import_state *s, bool both_ways) {
    int size = n_ranks(s);
    flip_edges *from = NULL,
               mine = {.has_weight = s->edges.has_weight, .has_label = s->edges.has_label};
    int64_t rounds = s->edges.n_chunks;
    bool stepped = s->edges.has_time;
    flip_status status;
    if (size > 1024)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "import runs on at most 1024 ranks, not %d", size);
    FLIP_TRY_GOTO(flip_alloc_zero(&from, (size_t)size, sizeof *from, "edges of ranks"));
    for (int r = 0; r < size; r++)
        from[r] = mine;
    FLIP_TRY_GOTO(cut_nodes(s, both_ways));
    FLIP_TRY_GOTO(flip_comm_max_i64(s->p->comm, &rounds, 1));
    for (int64_t k = 0; k < rounds; k++) {
        flip_edge_chunk none = {0}, *chunk = k < s->edges.n_chunks ? &s->edges.chunk[k] : &none;
        FLIP_TRY_GOTO(round_trip(s, from, chunk, both_ways, stepped));
        flip_edge_chunk_free(chunk);
    }
    flip_edges_finish(&s->edges);
    s->edges = mine;
    FLIP_TRY_GOTO(concatenate(&s->edges, from, size));
done:
    for (int r = 0; r < size && from; r++)
        flip_edges_finish(&from[r]);
    flip_free(from);
    return status;
}

/* ---- after sorting ---- */

flip_status flip_import_join_events(flip_import_state *s) {
    flip_event_rows *e = &s->events;
    int size = n_ranks(s), me = my_rank(s);
    s->event_first[0] = 0;
    s->event_first[1] = e->n;
    s->n_events = e->n;
    if (size == 1) return FLIP_OK;
    FLIP_TRY(flip_comm_gather_all(s->p->comm, s->event_first + 1, &e->n, sizeof e->n));
    for (int r = 0; r < size; r++)
        s->event_first[r + 1] += s->event_first[r];
    s->n_events = s->event_first[size];
    for (int64_t v = 0; v <= e->n_nodes; v++)
        e->indptr[v] += s->event_first[me];
    int64_t sums[] = {e->n_self_loops, e->n_duplicates, (int64_t)e->balance,
                      (int64_t)s->balance_before};
    FLIP_TRY(flip_comm_sum_i64(s->p->comm, sums, 4)); /* hashes add up modulo 2^64 */
    e->n_self_loops = sums[0];
    e->n_duplicates = sums[1];
    e->balance = (uint64_t)sums[2];
    if (s->report->both_ways) e->balance_before = (uint64_t)sums[3];
    return flip_comm_max_i64(s->p->comm, &e->degree_most, 1);
}

/* Rows first … first + n - 1 of an array that is cut at `cuts` [size + 1] into the ranks' pieces,
 * on rank 0 in `out`. All ranks call it for the same windows in the same order. */
flip_status flip_import_gather(flip_import_state *s, const int64_t *cuts, const void *mine,
                               size_t item, int64_t first, int64_t n, void *out) {
    int me = my_rank(s);
    for (int r = 0; r < n_ranks(s); r++) {
        int64_t low = cuts[r] > first ? cuts[r] : first;
        int64_t high = cuts[r + 1] < first + n ? cuts[r + 1] : first + n;
        int code = MPI_SUCCESS, bytes = low < high ? (int)((high - low) * (int64_t)item) : 0;
        if (bytes == 0 || (me != 0 && me != r)) continue;
        char *to = me == 0 ? (char *)out + (low - first) * (int64_t)item : NULL;
        const char *piece = me == r ? (const char *)mine + (low - cuts[me]) * (int64_t)item : NULL;
        if (r == 0)
            memcpy(to, piece, (size_t)bytes);
        else if (me == 0)
            code =
                MPI_Recv(to, bytes, MPI_BYTE, r, 0, flip_comm_mpi(s->p->comm), MPI_STATUS_IGNORE);
        else
            code = MPI_Send(piece, bytes, MPI_BYTE, 0, 0, flip_comm_mpi(s->p->comm));
        if (code != MPI_SUCCESS) return FLIP_FAIL(FLIP_ERROR_LIBRARY, "MPI cannot gather events");
    }
    return FLIP_OK;
}

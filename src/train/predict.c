/* Predictions as CSV. Every rank writes the lines of its items; lines travel to blocks of the key
 * (original id, or place of the pair), are sorted there, and rank 0 writes block after block. */
#include "train/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- lines with keys ---- */

typedef struct keyed {
    int64_t key[3]; /* order: first, second, third */
    int64_t length; /* bytes of the line, newline included */
} keyed;

typedef struct lines {
    keyed *key;
    char *text;
    int64_t n, room;
    size_t used, size;
} lines;

static void lines_finish(lines *l) {
    flip_free(l->key);
    flip_free(l->text);
    memset(l, 0, sizeof *l);
}

static flip_status add_line(lines *l, int64_t a, int64_t b, int64_t c, const char *text) {
    size_t length = strlen(text);
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 1024;
        FLIP_TRY(flip_grow(&l->key, (size_t)l->n, (size_t)l->room, sizeof *l->key, "predictions"));
    }
    if (l->used + length + 1 > l->size) {
        l->size = 2 * (l->size + length) + 4096;
        FLIP_TRY(flip_grow(&l->text, l->used, l->size, 1, "predictions"));
    }
    memcpy(l->text + l->used, text, length + 1);
    l->used += length;
    l->key[l->n++] = (keyed){{a, b, c}, (int64_t)length};
    return FLIP_OK;
}

typedef struct ordered {
    const keyed *key;
    const char *text;
} ordered;

static int by_key(const void *a, const void *b) {
    const int64_t *x = ((const ordered *)a)->key->key, *y = ((const ordered *)b)->key->key;
    for (int i = 0; i < 3; i++)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}

/* Sort by key, in new memory. */
static flip_status sort_lines(lines *l) {
    ordered *order = NULL;
    lines sorted = {.n = l->n, .room = l->n, .used = l->used, .size = l->used};
    size_t at = 0;
    flip_status status;
    FLIP_TRY_GOTO(flip_alloc(&order, (size_t)l->n, sizeof *order, "predictions"));
    FLIP_TRY_GOTO(flip_alloc(&sorted.key, (size_t)l->n, sizeof *sorted.key, "predictions"));
    FLIP_TRY_GOTO(flip_alloc(&sorted.text, l->used, 1, "predictions"));
    for (int64_t i = 0; i < l->n; i++) {
        order[i] = (ordered){&l->key[i], l->text + at};
        at += (size_t)l->key[i].length;
    }
    qsort(order, (size_t)l->n, sizeof *order, by_key);
    at = 0;
    for (int64_t i = 0; i < l->n; i++) {
        sorted.key[i] = *order[i].key;
        memcpy(sorted.text + at, order[i].text, (size_t)order[i].key->length);
        at += (size_t)order[i].key->length;
    }
    lines_finish(l);
    *l = sorted;
    memset(&sorted, 0, sizeof sorted);
done:
    flip_free(order);
    lines_finish(&sorted);
    return status;
}

/* Lines with key[0] in block r of n_keys go to rank r; afterwards each rank's are sorted. */
static flip_status deal_lines(lines *l, flip_comm *comm, int64_t n_keys) {
    int size = flip_comm_size(comm);
    int64_t block = (n_keys + size - 1) / size, bytes = 0;
    int64_t *out = NULL; /* [2, size]: lines, and bytes, to each rank */
    lines received = {0};
    flip_status status;
    FLIP_TRY(sort_lines(l));
    if (size == 1) return FLIP_OK;
    FLIP_TRY_GOTO(flip_alloc_zero(&out, 2 * (size_t)size, sizeof *out, "predictions"));
    for (int64_t i = 0; i < l->n; i++) {
        out[l->key[i].key[0] / block]++;
        out[size + l->key[i].key[0] / block] += l->key[i].length;
    }
    FLIP_TRY_GOTO(
        flip_comm_deal(comm, &received.key, &received.n, NULL, l->key, out, sizeof *l->key));
    FLIP_TRY_GOTO(flip_comm_deal(comm, &received.text, &bytes, NULL, l->text, out + size, 1));
    received.room = received.n;
    received.used = received.size = (size_t)bytes;
    lines_finish(l);
    *l = received;
    memset(&received, 0, sizeof received);
    FLIP_TRY_GOTO(sort_lines(l));
done:
    flip_free(out);
    lines_finish(&received);
    return status;
}

/* Rank 0 writes its text, then that of every other rank as it comes. */
static flip_status write_lines(const lines *l, flip_comm *comm, FILE *out, const char *path) {
    enum { TAG = 77, PIECE = 1 << 24 };
    int size = flip_comm_size(comm), rank = flip_comm_rank(comm);
    MPI_Comm mpi = flip_comm_mpi(comm);
    uint64_t used = l->used;
    bool failed = false;
    if (rank > 0) {
        MPI_Send(&used, 1, MPI_UINT64_T, 0, TAG, mpi);
        for (size_t at = 0; at < l->used; at += PIECE)
            MPI_Send(l->text + at, (int)(l->used - at < PIECE ? l->used - at : PIECE), MPI_BYTE, 0,
                     TAG, mpi);
        return FLIP_OK;
    }
    failed = fwrite(l->text, 1, l->used, out) != l->used;
    char *piece;
    FLIP_TRY(flip_alloc(&piece, PIECE, 1, "predictions"));
    for (int r = 1; r < size; r++) {
        MPI_Recv(&used, 1, MPI_UINT64_T, r, TAG, mpi, MPI_STATUS_IGNORE);
        for (uint64_t at = 0; at < used; at += PIECE) {
            size_t n = used - at < PIECE ? (size_t)(used - at) : PIECE;
            MPI_Recv(piece, (int)n, MPI_BYTE, r, TAG, mpi, MPI_STATUS_IGNORE);
            failed = failed || fwrite(piece, 1, n, out) != n;
        }
    }
    flip_free(piece);
    if (fflush(out) != 0 || failed)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot write predictions to '%s'", path);
    return FLIP_OK;
}

/* ---- what stands in a line ---- */

/* A name as a CSV field: quoted where it must be. 2 length + 3 bytes hold any. */
static void csv_field(char *out, size_t size, const char *name) {
    size_t n = 0;
    bool quote = strpbrk(name, ",\"\n\r") != NULL;
    if (quote && n + 2 < size) out[n++] = '"';
    for (; *name && n + 4 < size; name++) {
        if (*name == '"') out[n++] = '"';
        out[n++] = *name;
    }
    if (quote) out[n++] = '"';
    out[n] = 0;
}

static const char *class_text(const flip_data *data, int32_t c, char *buffer, size_t size) {
    if (c < 0) return "";
    if (data->class_name)
        csv_field(buffer, size, data->class_name[c]);
    else
        snprintf(buffer, size, "%d", c);
    return buffer;
}

/* ",prediction,p(class 0),…" of a row of logits. */
static int put_classes(char *out, size_t size, const flip_data *data, const double *logit) {
    char name[256];
    int32_t best = 0;
    double sum = 0;
    for (int32_t c = 1; c < data->n_classes; c++)
        if (logit[c] > logit[best]) best = c;
    for (int32_t c = 0; c < data->n_classes; c++)
        sum += exp(logit[c] - logit[best]);
    int n = snprintf(out, size, ",%s", class_text(data, best, name, sizeof name));
    for (int32_t c = 0; c < data->n_classes && (size_t)n < size; c++)
        n += snprintf(out + n, size - (size_t)n, ",%.6g", exp(logit[c] - logit[best]) / sum);
    return n;
}

/* ",p(class)", quoted as a whole where the class's name needs it. */
static int put_class_column(char *out, size_t size, const flip_data *data, int32_t c) {
    char name[256], field[600];
    if (data->class_name)
        snprintf(name, sizeof name, "p(%.248s)", data->class_name[c]);
    else
        snprintf(name, sizeof name, "p(%d)", c);
    csv_field(field, sizeof field, name);
    return snprintf(out, size, ",%s", field);
}

static flip_status put_header(lines *l, const flip_data *data, const char *first, bool label) {
    char *line;
    size_t size = 256 + 640 * (size_t)data->n_classes; /* a column of the header and its comma */
    FLIP_TRY(flip_alloc(&line, size, 1, "header"));
    int n = snprintf(line, size, "%s", first);
    if (data->s.task == FLIP_TASK_REGRESSION) {
        for (int32_t k = 0; k < data->n_classes; k++)
            n += snprintf(line + n, size - (size_t)n, ",value%d", k);
    } else if (data->s.task == FLIP_TASK_LINK) {
        n += snprintf(line + n, size - (size_t)n, ",score");
    } else {
        n += snprintf(line + n, size - (size_t)n, ",prediction");
        for (int32_t c = 0; c < data->n_classes; c++)
            n += put_class_column(line + n, size - (size_t)n, data, c);
    }
    snprintf(line + n, size - (size_t)n, "%s\n", label ? ",label" : "");
    flip_status status = add_line(l, 0, 0, 0, line);
    flip_free(line);
    return status;
}

/* ---- names ---- */

/* Original id and name of the nodes in this rank's lines, in entries of `width` bytes, so that a
 * plan can fetch those of other ranks. All owned. */
typedef struct ends {
    size_t width;
    char *own, *halo; /* [n_own, width], [n_need, width] */
    flip_gid *need;   /* [n_need] ids of other ranks, ascending */
    int64_t n_need;
    flip_plan *plan;
} ends;

static void ends_finish(ends *e) {
    flip_plan_destroy(&e->plan);
    flip_free(e->own);
    flip_free(e->halo);
    flip_free(e->need);
}

static int ascending(const void *a, const void *b) {
    flip_gid x = *(const flip_gid *)a, y = *(const flip_gid *)b;
    return (x > y) - (x < y);
}

/* Which of the ids are of other ranks. */
static flip_status remote_ends(const flip_data *data, const flip_gid *ids, int64_t n_ids, ends *e) {
    flip_gid first = data->rank_first[flip_comm_rank(data->comm)];
    int64_t n = 0;
    FLIP_TRY(flip_alloc(&e->need, (size_t)n_ids, sizeof *e->need, "names"));
    for (int64_t i = 0; i < n_ids; i++)
        if (ids[i] < first || ids[i] >= first + data->n_own) e->need[n++] = ids[i];
    qsort(e->need, (size_t)n, sizeof *e->need, ascending);
    for (int64_t i = 0; i < n; i++)
        if (e->n_need == 0 || e->need[e->n_need - 1] != e->need[i])
            e->need[e->n_need++] = e->need[i];
    return FLIP_OK;
}

/* Entries of own nodes; as wide as the longest name of any rank. */
static flip_status own_ends(const flip_data *data, ends *e) {
    FLIP_TRY(flip_graph_name_size(data->graph, &e->width));
    int64_t widest = 8 + (int64_t)e->width;
    FLIP_TRY(flip_comm_max_i64(data->comm, &widest, 1));
    e->width = (size_t)widest;
    FLIP_TRY(flip_alloc_zero(&e->own, (size_t)data->n_own, e->width, "names"));
    for (int32_t v = 0; v < data->n_own; v++) {
        char *entry = e->own + (size_t)v * e->width;
        memcpy(entry, &data->original[v], 8);
        FLIP_TRY(flip_graph_node_name(data->graph, v, entry + 8, e->width - 8));
    }
    return FLIP_OK;
}

/* Entries of these nodes. Collective. */
static flip_status find_ends(const flip_data *data, const flip_gid *ids, int64_t n, ends *e) {
    int32_t narrow;
    FLIP_TRY(remote_ends(data, ids, n, e));
    FLIP_TRY(own_ends(data, e));
    FLIP_TRY(flip_narrow(&narrow, e->n_need, "nodes of other ranks"));
    FLIP_TRY(flip_alloc(&e->halo, (size_t)narrow, e->width, "names"));
    if (flip_comm_size(data->comm) == 1) return FLIP_OK;
    FLIP_TRY(
        flip_plan_create(&e->plan, data->comm, data->rank_first, e->need, narrow, FLIP_BYTES_HALO));
    return flip_plan_fetch(e->plan, e->own, e->width, e->halo);
}

/* The entry of node id. */
static const char *end_of(const flip_data *data, const ends *e, flip_gid id) {
    flip_gid first = data->rank_first[flip_comm_rank(data->comm)];
    if (id >= first && id < first + data->n_own) return e->own + (size_t)(id - first) * e->width;
    const flip_gid *at = bsearch(&id, e->need, (size_t)e->n_need, sizeof id, ascending);
    return e->halo + (size_t)(at - e->need) * e->width;
}

/* ---- nodes ---- */

/* A line about node v (of the time layout) at step t from its logits. */
typedef struct node_writer {
    const flip_data *data;
    lines *out;
    ends e;
    bool steps; /* a line a step */
    size_t size, room;
    char *line, *field; /* [size], [room] */
    double *row;        /* [n_classes] */
} node_writer;

static void node_writer_finish(node_writer *w) {
    ends_finish(&w->e);
    flip_free(w->line);
    flip_free(w->field);
    flip_free(w->row);
}

/* Collective: names of all nodes of the part. */
static flip_status node_writer_init(node_writer *w, const flip_data *data, lines *out) {
    const flip_layout *layout = data->layout;
    size_t n = (size_t)layout->n_rows, dim = (size_t)data->n_classes;
    flip_gid *ids;
    *w = (node_writer){.data = data, .out = out, .steps = data->steps > 1 && !data->label_constant};
    FLIP_TRY(flip_alloc(&ids, n, sizeof *ids, "names"));
    for (size_t v = 0; v < n; v++)
        ids[v] = layout->part_first[layout->part] + (flip_gid)v;
    flip_status status = find_ends(data, ids, (int64_t)n, &w->e);
    flip_free(ids);
    FLIP_TRY(status);
    w->room = 2 * w->e.width + 8;
    w->size = w->room + 512 + 24 * dim;
    FLIP_TRY(flip_alloc(&w->field, w->room, 1, "name"));
    FLIP_TRY(flip_alloc(&w->row, dim, sizeof *w->row, "scores"));
    return flip_alloc(&w->line, w->size, 1, "line");
}

static flip_status put_node(node_writer *w, int64_t v, int32_t t) {
    const flip_data *data = w->data;
    const flip_layout *layout = data->layout;
    const char *entry = end_of(data, &w->e, layout->part_first[layout->part] + v);
    csv_field(w->field, w->room, entry + 8);
    int n = snprintf(w->line, w->size, "%s", w->field);
    if (w->steps) n += snprintf(w->line + n, w->size - (size_t)n, ",%d", t);
    if (data->target)
        for (int32_t j = 0; j < data->n_classes; j++)
            n += snprintf(w->line + n, w->size - (size_t)n, ",%.9g", w->row[j]);
    else
        n += put_classes(w->line + n, w->size - (size_t)n, data, w->row);
    snprintf(w->line + n, w->size - (size_t)n, "\n");
    return add_line(w->out, layout->original[v], t, 0, w->line);
}

/* Lines of every node and step, block by block. */
static flip_status step_lines(flip_trainer *trainer, node_writer *w) {
    const flip_data *data = &trainer->data;
    const flip_layout *layout = data->layout;
    flip_var y;
    flip_trainer_begin(trainer);
    for (int32_t k = 0; k < layout->n_blocks; k++) {
        FLIP_TRY(flip_trainer_forward(trainer, k, &y));
        const flip_real *value = flip_tape_value(trainer->tape, y);
        FLIP_TRY(flip_tape_status(trainer->tape));
        int32_t steps = flip_layout_steps(layout, k), dim = data->n_classes;
        for (int64_t i = 0; i < (int64_t)layout->n_rows * steps; i++) {
            for (int32_t j = 0; j < dim; j++)
                w->row[j] = (double)value[i * dim + j];
            int32_t t = flip_layout_first(layout, k) + (int32_t)(i % steps);
            FLIP_TRY(put_node(w, i / steps, t));
        }
    }
    return FLIP_OK;
}

/* A line a node: the mean over the steps. */
static flip_status mean_lines(flip_trainer *trainer, node_writer *w) {
    const flip_data *data = &trainer->data;
    const flip_layout *layout = data->layout;
    int32_t dim = data->n_classes;
    flip_scores scores = {0};
    flip_status status;
    FLIP_TRY_GOTO(flip_scores_take(&scores, trainer, 0));
    /* every rank of the part has the sums: each writes its own nodes */
    int64_t first = data->rank_first[flip_comm_rank(data->comm)] - layout->part_first[layout->part];
    for (int64_t v = first; v < first + data->n_own; v++) {
        for (int32_t j = 0; j < dim; j++)
            w->row[j] = scores.sum[v * dim + j] / (layout->n_steps - layout->block_first[0]);
        FLIP_TRY_GOTO(put_node(w, v, 0));
    }
done:
    flip_scores_finish(&scores);
    return status;
}

static flip_status node_lines(flip_trainer *trainer, lines *l) {
    node_writer w;
    flip_status status;
    FLIP_TRY_GOTO(node_writer_init(&w, &trainer->data, l));
    FLIP_TRY_GOTO(trainer->data.label_constant ? mean_lines(trainer, &w) : step_lines(trainer, &w));
done:
    node_writer_finish(&w);
    return status;
}

/* ---- pairs ---- */

static flip_status pair_ends(const flip_data *data, const flip_pair_set *set, ends *e) {
    flip_gid *ids;
    FLIP_TRY(flip_alloc(&ids, 2 * (size_t)set->n, sizeof *ids, "ends of pairs"));
    for (int64_t i = 0; i < 2 * set->n; i++)
        ids[i] = i % 2 ? set->v[i / 2] : set->u[i / 2];
    flip_status status = find_ends(data, ids, 2 * set->n, e);
    flip_free(ids);
    return status;
}

static flip_status pair_lines(const flip_trainer *trainer, const flip_scored *items, flip_part part,
                              lines *l) {
    const flip_data *data = &trainer->data;
    const flip_pair_set *set = &data->set[part];
    ends e = {0};
    char *line = NULL, *field[2] = {NULL, NULL}, label[256];
    double *row = NULL;
    size_t size, room;
    flip_status status;
    FLIP_TRY_GOTO(pair_ends(data, set, &e));
    room = 2 * e.width + 8;
    size = 2 * room + 1024 + 24 * (size_t)data->n_classes;
    FLIP_TRY_GOTO(flip_alloc(&line, size, 1, "line"));
    FLIP_TRY_GOTO(flip_alloc(&field[0], room, 1, "name"));
    FLIP_TRY_GOTO(flip_alloc(&field[1], room, 1, "name"));
    FLIP_TRY_GOTO(flip_alloc(&row, (size_t)data->n_classes, sizeof *row, "scores"));
    for (int64_t i = 0; i < set->n; i++) {
        int64_t end[2];
        for (int k = 0; k < 2; k++) {
            const char *entry = end_of(data, &e, k ? set->v[i] : set->u[i]);
            memcpy(&end[k], entry, 8);
            csv_field(field[k], room, entry + 8);
        }
        int n = snprintf(line, size, "%s,%s,%d", field[0], field[1], set->step[i] + data->lead);
        for (int32_t j = 0; j < data->n_classes; j++)
            row[j] = (double)items->score[i * data->n_classes + j];
        if (data->s.task == FLIP_TASK_LINK)
            n += snprintf(line + n, size - (size_t)n, ",%.6g,%d\n", 1 / (1 + exp(-row[0])),
                          set->label[i]);
        else
            n += put_classes(line + n, size - (size_t)n, data, row);
        if (data->s.task == FLIP_TASK_EDGE)
            snprintf(line + n, size - (size_t)n, ",%s\n",
                     class_text(data, set->label[i], label, sizeof label));
        FLIP_TRY_GOTO(add_line(l, end[0], set->step[i], end[1], line));
    }
done:
    ends_finish(&e);
    flip_free(line);
    flip_free(field[0]);
    flip_free(field[1]);
    flip_free(row);
    return status;
}

/* ---- all ---- */

flip_status flip_predict(flip_comm *comm, const flip_settings *settings, const flip_io *io) {
    flip_trainer trainer = {0};
    const flip_data *data = &trainer.data;
    lines l = {0}, header = {0};
    flip_scores scores = {0};
    FILE *out = stdout;
    const char *path = settings->output[0] ? settings->output : "standard output";
    flip_status status;
    FLIP_TRY_GOTO(flip_trainer_load(&trainer, comm, settings, io));
    if (trainer.head) {
        bool links = data->s.task == FLIP_TASK_LINK;
        FLIP_TRY_GOTO(put_header(&header, data, "source,destination,step", true));
        FLIP_TRY_GOTO(flip_scores_take(
            &scores, &trainer, links ? FLIP_SCORE_TEST | FLIP_SCORE_ITEMS : FLIP_SCORE_ALL));
        for (int p = links ? FLIP_PART_TEST : FLIP_PART_TRAIN; p < FLIP_PARTS; p++)
            FLIP_TRY_GOTO(pair_lines(&trainer, &scores.part[p], (flip_part)p, &l));
    } else {
        bool steps = data->steps > 1 && !data->label_constant;
        FLIP_TRY_GOTO(put_header(&header, data, steps ? "node,step" : "node", false));
        FLIP_TRY_GOTO(node_lines(&trainer, &l));
    }
    FLIP_TRY_GOTO(deal_lines(&l, comm, data->info->n_nodes));
    if (flip_comm_rank(comm) == 0) {
        if (settings->output[0] && !(out = fopen(settings->output, "w")))
            status = FLIP_FAIL(FLIP_ERROR_IO, "cannot write '%s': %s", path, strerror(errno));
        else if (fwrite(header.text, 1, header.used, out) != header.used)
            status = FLIP_FAIL(FLIP_ERROR_IO, "cannot write predictions to '%s'", path);
    }
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(write_lines(&l, comm, out, path));
done:
    if (out && out != stdout && fclose(out) != 0 && status == FLIP_OK)
        status = FLIP_FAIL(FLIP_ERROR_IO, "cannot write '%s': %s", path, strerror(errno));
    flip_scores_finish(&scores);
    lines_finish(&l);
    lines_finish(&header);
    flip_trainer_close(&trainer);
    return status;
}

/* Checkpoints: one container of kind "checkpoint", written by rank 0, read by every rank.
 *
 *   / attributes        settings (JSON), graph, fingerprint, real, epoch, best_epoch, loss,
 *                       best_metric, best_loss, steps (of the optimiser), n_classes, in_dim;
 *                       graph_nodes, graph_events, graph_steps: how large the graph was;
 *                       ranks, distribute, blocks, memory: how the run was spread out
 *   parameters/current  [n]  the slab: parameters, then running statistics of batch norms
 *   parameters/best     [n]  the slab of the best epoch
 *   parameters/shape    int64 [p, 3]  rows, columns, offset of each parameter
 *   parameters/names    text, one line each
 *   optimiser/moments   [m]
 *   embedding/…         learned features, a row a node: original (ids), name (hashes), current,
 *                       best, moment1, moment2
 *
 * Everything else that a run depends on (dropout, negatives) is a function of seed and epoch, so a
 * resumed run gives the bits of the uninterrupted one.
 */
#include "train/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const flip_type real_type = sizeof(flip_real) == 8 ? FLIP_TYPE_F64 : FLIP_TYPE_F32;

static flip_status write_table(flip_writer *writer, const flip_params *params, bool first) {
    int32_t n = flip_params_count(params), rows, cols;
    int64_t *shape = NULL, offset;
    char *names = NULL;
    size_t bytes = 0;
    flip_status status;
    for (int32_t p = 0; p < n; p++)
        bytes += strlen(flip_params_name(params, p)) + 1;
    FLIP_TRY_GOTO(flip_alloc(&shape, 3 * (size_t)n, sizeof *shape, "parameter table"));
    FLIP_TRY_GOTO(flip_alloc(&names, bytes + 1, 1, "parameter names"));
    names[0] = 0;
    for (int32_t p = 0; p < n; p++) {
        flip_params_shape(params, p, &rows, &cols, &offset);
        shape[3 * p] = rows;
        shape[3 * p + 1] = cols;
        shape[3 * p + 2] = offset;
        strcat(strcat(names, flip_params_name(params, p)), "\n");
    }
    FLIP_TRY_GOTO(flip_writer_rows(writer, "parameters/shape", FLIP_TYPE_I64, FLIP_TYPE_I64,
                                   first ? n : 0, 3, 0, shape));
    FLIP_TRY_GOTO(flip_writer_rows(writer, "parameters/names", FLIP_TYPE_U8, FLIP_TYPE_U8,
                                   first ? (int64_t)bytes : 0, 0, 0, names));
done:
    flip_free(shape);
    flip_free(names);
    return status;
}

static flip_status write_attributes(flip_writer *writer, const flip_trainer *trainer,
                                    const char *settings) {
    const flip_data *data = &trainer->data;
    const struct {
        const char *name;
        int64_t value;
    } whole[] = {{"fingerprint", (int64_t)flip_graph_fingerprint(data->graph)},
                 {"epoch", trainer->epoch},
                 {"best_epoch", trainer->best_epoch},
                 {"steps", flip_optimiser_steps(trainer->optimiser)},
                 {"n_classes", data->n_classes},
                 {"in_dim", data->in_dim},
                 {"graph_nodes", data->info->n_nodes},
                 {"graph_events", data->info->n_events},
                 {"graph_steps", data->info->n_steps},
                 {"ranks", flip_comm_size(data->comm)},
                 {"distribute", data->s.distribute},
                 {"blocks", data->s.blocks},
                 {"memory", data->s.memory}};
    FLIP_TRY(flip_writer_attribute_text(writer, "/", "settings", settings));
    FLIP_TRY(flip_writer_attribute_text(writer, "/", "graph", data->s.graph));
    FLIP_TRY(flip_writer_attribute_text(writer, "/", "real", FLIP_REAL_NAME));
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        FLIP_TRY(flip_writer_attribute_i64(writer, "/", whole[i].name, whole[i].value));
    FLIP_TRY(flip_writer_attribute_f64(writer, "/", "loss", trainer->loss));
    FLIP_TRY(flip_writer_attribute_f64(writer, "/", "best_metric", trainer->best_metric));
    return flip_writer_attribute_f64(writer, "/", "best_loss", trainer->best_loss);
}

/* Where a run writes does not shape its result: without the names of its files, a run that was
 * stopped and resumed ends with the same bytes as one that was not. */
static char *settings_of_result(const flip_settings *settings, const flip_io *io) {
    flip_settings kept = *settings;
    kept.report[0] = kept.checkpoint[0] = kept.resume[0] = '\0';
    kept.grown = false;
    return io->to_json(&kept);
}

flip_status flip_checkpoint_write(const flip_trainer *trainer, const char *path,
                                  const flip_io *io) {
    const flip_data *data = &trainer->data;
    bool first = flip_comm_rank(data->comm) == 0;
    int64_t n = first ? flip_params_size(trainer->params) : 0, n_moments;
    const flip_real *moments = flip_optimiser_moments(trainer->optimiser, &n_moments);
    flip_meter *meter = flip_comm_meter(data->comm);
    flip_writer *writer = NULL;
    char *settings = settings_of_result(&data->s, io);
    flip_status status;
    flip_meter_begin(meter, FLIP_STAGE_CHECKPOINT);
    FLIP_TRY_GOTO(flip_writer_create(&writer, data->comm, path, "checkpoint"));
    FLIP_TRY_GOTO(write_attributes(writer, trainer, settings));
    FLIP_TRY_GOTO(flip_writer_rows(writer, "parameters/current", real_type, real_type, n, 0, 0,
                                   flip_params_values(trainer->params)));
    FLIP_TRY_GOTO(
        flip_writer_rows(writer, "parameters/best", real_type, real_type, n, 0, 0, trainer->best));
    FLIP_TRY_GOTO(write_table(writer, trainer->params, first));
    FLIP_TRY_GOTO(flip_writer_rows(writer, "optimiser/moments", real_type, real_type,
                                   first ? n_moments : 0, 0, 0, moments));
    if (trainer->learned)
        FLIP_TRY_GOTO(flip_learned_write(trainer->learned, data, writer, real_type));
    FLIP_TRY_GOTO(flip_writer_commit(writer));
    if (first)
        meter->bytes[FLIP_BYTES_CHECKPOINT] += (uint64_t)(2 * n + n_moments) * sizeof *moments;
    if (trainer->learned) /* every rank its rows: current, best, two moments; ids and names */
        meter->bytes[FLIP_BYTES_CHECKPOINT] +=
            (uint64_t)data->n_own *
            (4 * (uint64_t)trainer->learned->dim * sizeof *moments + 2 * sizeof(int64_t));
done:
    flip_writer_destroy(&writer);
    free(settings);
    flip_meter_end(meter);
    return status;
}

/* ---- reading ---- */

static flip_status read_text(const flip_reader *reader, const char *name, char **text) {
    enum { MOST = 65536 };
    FLIP_TRY(flip_alloc(text, MOST, 1, name));
    return flip_reader_attribute_text(reader, "/", name, *text, MOST);
}

flip_status flip_checkpoint_settings(flip_settings *settings, flip_comm *comm, const char *path,
                                     const flip_io *io) {
    flip_reader *reader = NULL;
    char *json = NULL;
    flip_status status;
    FLIP_TRY_GOTO(flip_reader_open(&reader, comm, path, "checkpoint"));
    FLIP_TRY_GOTO(read_text(reader, "settings", &json));
    FLIP_TRY_GOTO(io->from_json(settings, json));
done:
    flip_free(json);
    flip_reader_close(&reader);
    return status;
}

flip_status flip_checkpoint_choices(flip_settings *settings, flip_comm *comm, const char *path) {
    static const char *const names[] = {"ranks", "distribute", "blocks", "memory"};
    int64_t theirs[4];
    flip_reader *reader = NULL;
    flip_status status;
    FLIP_TRY_GOTO(flip_reader_open(&reader, comm, path, "checkpoint"));
    for (int i = 0; i < 4; i++) {
        if (!flip_reader_has_attribute(reader, "/", names[i])) goto done; /* of an older version */
        FLIP_TRY_GOTO(flip_reader_attribute_i64(reader, "/", names[i], &theirs[i]));
    }
    if (theirs[1] <= FLIP_DISTRIBUTE_AUTO || theirs[1] > FLIP_DISTRIBUTE_GRID || theirs[2] < 1)
        FLIP_TRY_GOTO(FLIP_FAIL(FLIP_ERROR_INPUT,
                                "checkpoint '%s' names distribution %" PRId64 " and %" PRId64
                                " blocks, expected 1 to %d and at least 1",
                                path, theirs[1], theirs[2], FLIP_DISTRIBUTE_GRID));
    if (theirs[0] != flip_comm_size(comm) || theirs[3] != settings->memory) goto done;
    if (settings->distribute == FLIP_DISTRIBUTE_AUTO) settings->distribute = (int32_t)theirs[1];
    if (settings->blocks == FLIP_UNSET && settings->distribute == theirs[1])
        settings->blocks = theirs[2];
done:
    flip_reader_close(&reader);
    return status;
}

/* A slab of exactly n values. */
static flip_status read_slab(const flip_reader *reader, const char *name, int64_t n,
                             flip_real *out) {
    int64_t dims[3];
    flip_type type;
    FLIP_TRY(flip_reader_shape(reader, name, dims, &type));
    if (dims[0] != n || dims[1] > 1)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "checkpoint '%s', %s: found %" PRId64 " values, this model has %" PRId64,
                         flip_reader_path(reader), name, dims[0], n);
    return flip_reader_rows(reader, name, real_type, 0, n, out);
}

/* "40 nodes more (140), …": what has changed since the checkpoint's graph. */
static flip_status say_grown(flip_trainer *trainer, const flip_reader *reader) {
    const flip_graph_info *info = trainer->data.info;
    const struct {
        const char *attribute, *what;
        int64_t now;
    } all[] = {{"graph_nodes", "nodes", info->n_nodes},
               {"graph_events", "events", info->n_events},
               {"graph_steps", "steps", info->n_steps}};
    char *out = trainer->grown;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int64_t before = all[i].now;
        size_t used = strlen(out);
        if (flip_reader_has_attribute(reader, "/", all[i].attribute))
            FLIP_TRY(flip_reader_attribute_i64(reader, "/", all[i].attribute, &before));
        snprintf(out + used, sizeof trainer->grown - used, "%s%s %" PRId64 " -> %" PRId64,
                 i ? ", " : "", all[i].what, before, all[i].now);
    }
    return FLIP_OK;
}

/* The checkpoint must be of this graph or, where that is asked for, of one before it; for resuming
 * also of these settings. *other: it is of another graph. */
static flip_status check_origin(flip_trainer *trainer, const flip_reader *reader, const flip_io *io,
                                bool resume, bool *other) {
    const flip_data *data = &trainer->data;
    char *json = NULL, *graph = NULL;
    int64_t fingerprint;
    flip_status status;
    FLIP_TRY_GOTO(read_text(reader, "settings", &json));
    FLIP_TRY_GOTO(read_text(reader, "graph", &graph));
    FLIP_TRY_GOTO(flip_reader_attribute_i64(reader, "/", "fingerprint", &fingerprint));
    *other = (uint64_t)fingerprint != flip_graph_fingerprint(data->graph);
    if (resume) FLIP_TRY_GOTO(io->match(&data->s, json, flip_reader_path(reader)));
    if (resume && *other && !data->s.grown)
        status = FLIP_FAIL(FLIP_ERROR_USAGE,
                           "checkpoint '%s' was trained on '%s' (fingerprint %016" PRIx64
                           "), not on '%s' (%016" PRIx64
                           "); where this is that graph, grown or changed, --grown on takes what "
                           "it has learned",
                           flip_reader_path(reader), graph, (uint64_t)fingerprint, data->s.graph,
                           flip_graph_fingerprint(data->graph));
    if (status == FLIP_OK && *other && data->s.grown) status = say_grown(trainer, reader);
done:
    flip_free(json);
    flip_free(graph);
    return status;
}

/* As many values may be a model of other shapes: inputs and classes are compared by themselves. */
static flip_status check_shapes(const flip_trainer *trainer, const flip_reader *reader) {
    const flip_data *data = &trainer->data;
    int64_t in_dim, n_classes;
    FLIP_TRY(flip_reader_attribute_i64(reader, "/", "in_dim", &in_dim));
    FLIP_TRY(flip_reader_attribute_i64(reader, "/", "n_classes", &n_classes));
    if (in_dim != data->in_dim || n_classes != data->n_classes)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "checkpoint '%s' has %" PRId64 " inputs a node and %" PRId64
                         " classes, '%s' has %d and %d",
                         flip_reader_path(reader), in_dim, n_classes, data->s.graph, data->in_dim,
                         data->n_classes);
    return FLIP_OK;
}

static flip_status read_state(flip_trainer *trainer, const flip_reader *reader) {
    int64_t n, steps;
    flip_real *moments = flip_optimiser_moments(trainer->optimiser, &n);
    FLIP_TRY(read_slab(reader, "optimiser/moments", n, moments));
    FLIP_TRY(flip_reader_attribute_i64(reader, "/", "steps", &steps));
    flip_optimiser_set_steps(trainer->optimiser, steps);
    FLIP_TRY(flip_reader_attribute_f64(reader, "/", "loss", &trainer->loss));
    FLIP_TRY(flip_reader_attribute_f64(reader, "/", "best_metric", &trainer->best_metric));
    return flip_reader_attribute_f64(reader, "/", "best_loss", &trainer->best_loss);
}

/* What was best on the graph of before is not the best of this one: validation begins anew. */
static void forget_best(flip_trainer *trainer) {
    flip_trainer_keep(trainer);
    trainer->best_epoch = 0;
    trainer->best_metric = trainer->best_loss = NAN;
}

static flip_status read_learned(flip_trainer *trainer, const flip_reader *reader, bool state,
                                bool other) {
    int64_t n_taken = 0;
    if (!trainer->learned) return FLIP_OK;
    FLIP_TRY(flip_learned_read(trainer->learned, &trainer->data, reader, real_type, state, other,
                               &n_taken));
    size_t used = strlen(trainer->grown);
    if (trainer->grown[0])
        snprintf(trainer->grown + used, sizeof trainer->grown - used,
                 "; learned features of %" PRId64 " nodes taken over", n_taken);
    return FLIP_OK;
}

flip_status flip_checkpoint_read(flip_trainer *trainer, const char *path, const flip_io *io,
                                 bool state) {
    flip_reader *reader = NULL;
    bool other = false;
    int64_t n = flip_params_size(trainer->params);
    flip_real *values = flip_params_values(trainer->params);
    flip_status status;
    FLIP_TRY_GOTO(flip_reader_open(&reader, trainer->data.comm, path, "checkpoint"));
    FLIP_TRY_GOTO(check_origin(trainer, reader, io, state, &other));
    FLIP_TRY_GOTO(check_shapes(trainer, reader));
    FLIP_TRY_GOTO(read_slab(reader, "parameters/best", n, trainer->best));
    FLIP_TRY_GOTO(read_slab(reader, state ? "parameters/current" : "parameters/best", n, values));
    FLIP_TRY_GOTO(flip_reader_attribute_i64(reader, "/", "epoch", &trainer->epoch));
    FLIP_TRY_GOTO(flip_reader_attribute_i64(reader, "/", "best_epoch", &trainer->best_epoch));
    FLIP_TRY_GOTO(read_learned(trainer, reader, state, other));
    if (state) FLIP_TRY_GOTO(read_state(trainer, reader));
    if (state && other) forget_best(trainer);
done:
    flip_reader_close(&reader);
    return status;
}

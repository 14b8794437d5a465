/* How often batches read rows: --hot. Of a timeline a node's row of each step is counted, and rows
 * that hold for several steps are read as often as those together. */
#include "train/batch.h"

#include <string.h>

/* Epochs drawn to find what is hot: one alone leaves most counts at 0 or 1. They are none of
 * training's, which begin with 1; draws of non-edges have 24 bits for theirs. What is expected
 * without drawing counts as FORESEEN times as many more. */
enum { DRAWN = 4, DRAWN_FIRST = 0xFFFF00, FORESEEN = 4 };

/* An epoch's items as training has them: links have other non-edges in each. */
static flip_status begin_epoch(flip_batching *b, flip_data *data, int64_t epoch) {
    if (data->s.task == FLIP_TASK_LINK)
        FLIP_TRY(flip_data_sample(data, FLIP_PART_TRAIN, (uint64_t)epoch));
    return flip_batch_epoch(b, data, epoch);
}

/* Of own nodes at steps. */
static size_t places(const flip_data *data) {
    return (size_t)data->n_own * (size_t)data->steps;
}

/* How often an own node is a seed of an epoch's batches at a step, of all ranks: [n_own, steps]. */
static flip_status count_seeds(flip_batching *b, flip_data *data, double *seed) {
    memset(seed, 0, places(data) * sizeof *seed);
    flip_batch_slot *slot = b->pipe.slot;
    FLIP_TRY(begin_epoch(b, data, DRAWN_FIRST));
    for (int64_t k = 0; k < b->order.n_batches; k++) {
        FLIP_TRY(flip_batch_seeds(b, slot, data, k));
        flip_batch seeds = {.n_input = slot->n_seeds, .input = slot->seed, .step = slot->step};
        FLIP_TRY(flip_sampler_count(b->sampler, &seeds, data->steps, seed));
    }
    return FLIP_OK;
}

/* What is expected of the rows of step t from its seeds: seed and read [n_own, steps]; times, heat:
 * [n_own] of room. */
static flip_status foresee_step(flip_batching *b, const flip_data *data, int32_t t,
                                const double *seed, double *read, double *times, double *heat,
                                double *saved) {
    const int64_t steps = data->steps;
    double batches = (double)b->order.n_batches;
    int64_t n = 0;
    for (int32_t v = 0; v < data->n_own; v++) {
        n += seed[v * steps + t] > 0;
        times[v] = seed[v * steps + t] / batches;
    }
    FLIP_TRY(flip_comm_sum_i64(data->comm, &n, 1));
    memset(heat, 0, (size_t)data->n_own * sizeof *heat);
    if (n > 0) FLIP_TRY(flip_sampler_expect(b->sampler, times, t + 1, heat, saved));
    for (int32_t v = 0; v < data->n_own; v++) {
        read[v * steps + t] = heat[v] * batches;
        if (saved) saved[v] *= batches;
    }
    return FLIP_OK;
}

/* What is expected of an epoch without drawing: readings of rows [n_own, steps], and bytes that
 * lists save, which there are without steps. */
static flip_status foresee(flip_batching *b, flip_data *data, double *read, double *saved) {
    double *room = NULL, *seed, *times;
    size_t n = (size_t)data->n_own;
    flip_status status =
        flip_alloc(&room, places(data) + 2 * n, sizeof *room, "how often nodes are seeds");
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    seed = room;
    times = room + places(data);
    FLIP_TRY_GOTO(count_seeds(b, data, seed));
    memset(saved, 0, n * sizeof *saved);
    for (int32_t t = 0; t < data->steps; t++)
        FLIP_TRY_GOTO(foresee_step(b, data, t, seed, read, times, times + n,
                                   data->steps == 1 ? saved : NULL));
done:
    flip_free(room);
    return status;
}

/* How often a row is read in epochs drawn beforehand without training (GNNLab, EuroSys'22). */
static flip_status presample(flip_batching *b, flip_data *data, double *heat) {
    flip_batch_slot *slot = b->pipe.slot;
    memset(heat, 0, places(data) * sizeof *heat);
    for (int64_t epoch = DRAWN_FIRST; epoch < DRAWN_FIRST + DRAWN; epoch++) {
        FLIP_TRY(begin_epoch(b, data, epoch));
        for (int64_t k = 0; k < b->order.n_batches; k++) {
            FLIP_TRY(flip_batch_draw(b, slot, data, epoch, k));
            FLIP_TRY(flip_sampler_count(b->sampler, slot->batch, data->steps, heat));
        }
    }
    for (size_t i = 0; i < places(data); i++)
        heat[i] /= DRAWN;
    return FLIP_OK;
}

/* How many nodes would read it: its out-degree, at a step that of the edges that live. */
static flip_status out_degrees(const flip_data *data, double *heat) {
    flip_real *degree = NULL;
    int32_t life = data->s.edge_life > 0 ? (int32_t)data->s.edge_life : data->steps;
    flip_status status = flip_alloc(&degree, places(data), 2 * sizeof *degree, "degrees");
    status = flip_comm_agree(data->comm, status);
    if (status == FLIP_OK) status = flip_graph_degrees(data->graph, &data->events, life, degree);
    for (size_t i = 0; status == FLIP_OK && i < places(data); i++)
        heat[i] = (double)degree[2 * i + 1];
    flip_free(degree);
    return status;
}

/* heat [n_own, steps] becomes that of own rows, each of which holds for some steps. */
static void gather_rows(const flip_batching *b, const flip_data *data, double *heat) {
    const int64_t steps = data->steps;
    int64_t last = -1;
    for (int32_t v = 0; v < data->n_own; v++)
        for (int32_t t = 0; t < steps; t++) {
            int64_t row = flip_runs_row(&b->runs, v, t); /* not behind v * steps + t */
            double more = heat[v * steps + t];
            heat[row] = row == last ? heat[row] + more : more;
            last = row;
        }
}

flip_status flip_batch_heat(flip_batching *b, flip_data *data, double *heat, double *saved) {
    flip_status status;
    double *drawn = NULL;
    if (data->s.hot == FLIP_HOT_DEGREE) {
        memset(saved, 0, (size_t)data->n_own * sizeof *saved);
        FLIP_TRY(out_degrees(data, heat));
    } else {
        FLIP_TRY(foresee(b, data, heat, saved));
    }
    if (data->s.hot == FLIP_HOT_PRESAMPLE) {
        status = flip_alloc(&drawn, places(data), sizeof *drawn, "heat of rows");
        FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
        FLIP_TRY_GOTO(presample(b, data, drawn));
        FLIP_TRY_GOTO(flip_heat_smooth(data->comm, (int64_t)places(data), drawn, heat, FORESEEN));
        for (size_t i = 0; i < places(data); i++)
            heat[i] = drawn[i] / (1 + FORESEEN); /* of one epoch, as saved */
    }
    gather_rows(b, data, heat);
    status = FLIP_OK;
done:
    flip_free(drawn);
    return status;
}

/* Which nodes and steps are for training, validation and test. */
#include "train/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

flip_part flip_part_drawn(uint64_t seed, uint64_t key, int train, int valid) {
    double u = 100 * flip_random_uniform(seed, FLIP_STREAM_SPLIT, 1, key);
    return u < train ? FLIP_PART_TRAIN : u < train + valid ? FLIP_PART_VALID : FLIP_PART_TEST;
}

flip_status flip_data_step_split(flip_data *data, int64_t sizes[3]) {
    int64_t n = data->steps - data->s.first_step;
    if (strcmp(data->s.split_steps, "auto") != 0) {
        if (sscanf(data->s.split_steps, "%" SCNd64 ",%" SCNd64 ",%" SCNd64, &sizes[0], &sizes[1],
                   &sizes[2]) != 3)
            return FLIP_FAIL(FLIP_ERROR_INTERNAL, "split-steps '%s'", data->s.split_steps);
        if (sizes[0] + sizes[1] + sizes[2] > n)
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "--split-steps %s needs %" PRId64 " steps; '%s' has %" PRId64,
                             data->s.split_steps, sizes[0] + sizes[1] + sizes[2], data->s.graph, n);
        return FLIP_OK;
    }
    if (n < 3)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "'%s' has %" PRId64 " steps, too few to split into train, valid and test; "
                         "import it with a smaller --step",
                         data->s.graph, n);
    sizes[2] = n / 5 > 0 ? n / 5 : 1;
    sizes[1] = n / 10 > 0 ? n / 10 : 1;
    sizes[0] = n - sizes[1] - sizes[2];
    snprintf(data->s.split_steps, sizeof data->s.split_steps, "%" PRId64 ",%" PRId64 ",%" PRId64,
             sizes[0], sizes[1], sizes[2]);
    return FLIP_OK;
}

/* Masks [n_own, steps] by step. */
static flip_status split_by_steps(flip_data *data) {
    int64_t sizes[3];
    FLIP_TRY(flip_data_step_split(data, sizes));
    for (int64_t i = 0; i < (int64_t)data->n_own * data->steps; i++) {
        int64_t t = i % data->steps - data->s.first_step;
        for (int p = 0; p < FLIP_PARTS; p++) {
            data->mask[p][i] = t >= 0 && t < sizes[p];
            t -= sizes[p];
        }
    }
    return FLIP_OK;
}

/* ---- so many a class ---- */

typedef struct draw {
    uint64_t key; /* random; ties by node */
    int64_t node; /* original id */
} draw;

static int by_key(const void *a, const void *b) {
    const draw *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->node > y->node) - (x->node < y->node);
}

static draw node_draw(const flip_data *data, uint64_t seed, int32_t i) {
    flip_random4 r = flip_random(seed, FLIP_STREAM_SPLIT, 0, (uint64_t)data->original[i]);
    return (draw){((uint64_t)r.v[0] << 32) | r.v[1], data->original[i]};
}

static int32_t class_of(const flip_data *data, int32_t i) {
    return data->label[(int64_t)i * data->steps + data->steps - 1];
}

/* The `want` smallest draws of one class over all ranks, ascending, in chosen [size * want + want];
 * returns how many through n. */
static flip_status smallest_of_class(const flip_data *data, uint64_t seed, int32_t class,
                                     int64_t want, draw *chosen, int64_t *n) {
    int size = flip_comm_size(data->comm);
    draw *mine = chosen + (int64_t)size * want, *every;
    int64_t found = 0;
    FLIP_TRY(flip_alloc(&every, (size_t)data->n_own, sizeof *every, "split draws"));
    for (int32_t i = 0; i < data->n_own; i++)
        if (class_of(data, i) == class) every[found++] = node_draw(data, seed, i);
    qsort(every, (size_t)found, sizeof *every, by_key);
    for (int64_t k = 0; k < want; k++)
        mine[k] = k < found ? every[k] : (draw){UINT64_MAX, INT64_MAX};
    flip_free(every);
    FLIP_TRY(flip_comm_gather_all(data->comm, chosen, mine, (size_t)want * sizeof *mine));
    qsort(chosen, (size_t)(size * want), sizeof *chosen, by_key);
    for (*n = 0; *n < want && chosen[*n].node != INT64_MAX;)
        ++*n;
    return FLIP_OK;
}

/* random:TRAIN/VALID@SEED: so many nodes of every class train, so many valid, the others test. */
static flip_status split_per_class(flip_data *data, int64_t train, int64_t valid, uint64_t seed) {
    const int64_t most = data->info->n_nodes; /* more than every node is every node */
    train = train < most ? train : most;
    valid = valid < most - train ? valid : most - train;
    int64_t want = train + valid, n;
    draw *chosen;
    flip_status status = FLIP_OK;
    FLIP_TRY(flip_alloc(&chosen, (size_t)((flip_comm_size(data->comm) + 1) * want), sizeof *chosen,
                        "split draws"));
    for (int32_t c = 0; c < data->n_classes; c++) {
        FLIP_TRY_GOTO(smallest_of_class(data, seed, c, want, chosen, &n));
        for (int32_t i = 0; i < data->n_own; i++) {
            if (class_of(data, i) != c) continue;
            draw d = node_draw(data, seed, i);
            int p = FLIP_PART_TEST;
            if (n > train && by_key(&d, &chosen[n - 1]) <= 0) p = FLIP_PART_VALID;
            int64_t last = n < train ? n : train;
            if (last > 0 && by_key(&d, &chosen[last - 1]) <= 0) p = FLIP_PART_TRAIN;
            memset(data->mask[p] + (int64_t)i * data->steps, 1, (size_t)data->steps);
        }
    }
done:
    flip_free(chosen);
    return status;
}

/* ---- by the file, by chance ---- */

static flip_status split_of_file(flip_data *data, int64_t k) {
    const int8_t *split =
        k < data->info->n_splits ? flip_graph_split(data->graph, (int32_t)k) : NULL;
    if (k >= data->info->n_splits)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--split %" PRId64 ": '%s' has %d splits (counted from 0); --split "
                         "random:20/30@0 draws one",
                         k, data->s.graph, data->info->n_splits);
    for (int32_t i = 0; i < data->n_own; i++)
        if (split[i] >= 0 && split[i] < FLIP_PARTS)
            memset(data->mask[split[i]] + (int64_t)i * data->steps, 1, (size_t)data->steps);
    return FLIP_OK;
}

static void split_by_share(flip_data *data, int train, int valid) {
    for (int32_t i = 0; i < data->n_own; i++) {
        flip_part p = flip_part_drawn(0, (uint64_t)data->original[i], train, valid);
        memset(data->mask[p] + (int64_t)i * data->steps, 1, (size_t)data->steps);
    }
}

/* Drop what has no label or target from the masks; count the rest over the ranks. */
static flip_status count_items(flip_data *data) {
    for (int p = 0; p < FLIP_PARTS; p++) {
        data->n_items[p] = 0;
        for (int64_t i = 0; i < (int64_t)data->n_own * data->steps; i++) {
            bool there = data->label ? data->label[i] >= 0 : false;
            for (int32_t k = 0; data->target && k < data->n_classes; k++)
                there = there || data->target[i * data->n_classes + k] ==
                                     data->target[i * data->n_classes + k]; /* not NaN */
            if (i % data->steps < data->s.first_step) there = false;
            if (!there) data->mask[p][i] = 0;
            data->n_items[p] += data->mask[p][i];
        }
        if (data->label_constant) data->n_items[p] /= data->steps - data->s.first_step;
    }
    FLIP_TRY(flip_comm_sum_i64(data->comm, data->n_items, FLIP_PARTS));
    return FLIP_OK;
}

flip_status flip_data_node_splits(flip_data *data) {
    int64_t train, valid;
    long long seed = 0;
    const char *split = data->s.split;
    bool by_steps = strcmp(data->s.split_steps, "auto") != 0,
         automatic = strcmp(split, "auto") == 0;
    bool changes = data->steps > 1 && !data->label_constant;
    size_t n = (size_t)data->n_own * (size_t)data->steps;
    for (int p = 0; p < FLIP_PARTS; p++)
        FLIP_TRY(flip_alloc_zero(&data->mask[p], n, 1, "split masks"));
    if (by_steps && !automatic)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--split %s and --split-steps %s: give one of them",
                         split, data->s.split_steps);
    if (automatic && !by_steps && data->info->n_splits == 0 && changes) by_steps = true;
    if (automatic && !by_steps && data->info->n_splits > 0) split = "0";
    if (by_steps) {
        data->label_constant =
            false; /* the same node is for training in one step, for test later */
        FLIP_TRY(split_by_steps(data));
        flip_data_note(data, "steps for train, valid and test: %s", data->s.split_steps);
    } else if (strcmp(split, "auto") == 0 && data->target) {
        split_by_share(data, 60, 20);
        flip_data_note(data, "no splits in the file: 60/20/20 percent of the nodes, seed 0");
    } else if (strncmp(split, "random:", 7) == 0 || strcmp(split, "auto") == 0) {
        if (split[0] == 'a') split = "random:20/30@0";
        if (sscanf(split, "random:%" SCNd64 "/%" SCNd64 "@%lld", &train, &valid, &seed) < 2)
            return FLIP_FAIL(FLIP_ERROR_INTERNAL, "split '%s'", split);
        if (data->target)
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "--split %s draws so many a class; a regression has none", split);
        FLIP_TRY(split_per_class(data, train, valid, (uint64_t)seed));
        if (automatic)
            flip_data_note(data, "no splits in the file: 20 train and 30 valid nodes a class, the "
                                 "rest test, seed 0");
    } else {
        FLIP_TRY(split_of_file(data, strtoll(split, NULL, 10)));
    }
    if (split != data->s.split) snprintf(data->s.split, sizeof data->s.split, "%s", split);
    return count_items(data);
}

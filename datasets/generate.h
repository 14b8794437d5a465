/* What the generators share: the event stream, draws, and the node columns. Private. */
#ifndef FLIPBOOK_DATASETS_GENERATE_H
#define FLIPBOOK_DATASETS_GENERATE_H

#include <flipbook/container.h>
#include <flipbook/generate.h>

typedef struct flip_made_event {
    flip_gid dst, src;
    int32_t step, label;
    float weight;
    int32_t unused;
} flip_made_event;

/* Events an item may send at a step go through here; those outside the window are dropped. */
typedef struct flip_made_sink {
    flip_gid first, last; /* destinations wanted now */
    flip_made_event *events;
    int64_t n, capacity;
    flip_status status;
} flip_made_sink;
void flip_made_push(flip_made_sink *sink, const flip_made_event *event);

typedef struct flip_generator {
    const char *name;
    const flip_generate_common *common;
    int32_t n_classes;
    const char *class_names;       /* lines, or NULL */
    const char *event_label_names; /* lines, or NULL: events have no labels */
    bool undirected, weighted, merge_duplicates;
    double expected_events; /* sizes the windows; the same on every rank */
    void *self;
    /* Called in order of steps, from 0 again for each window; may keep state. */
    flip_status (*begin_step)(void *self, int32_t step);
    int64_t (*n_items)(void *self, int32_t step);
    void (*emit)(void *self, int32_t step, int64_t item, flip_made_sink *sink);
    void (*features)(void *self, flip_gid node, float *out);
    /* Class of a node at a step; `changes`: labels are rows (node, step, class). */
    int32_t (*label)(void *self, flip_gid node, int32_t step);
    bool labels_change;
} flip_generator;

/* Events a window, about; tests lower it. The same on every rank. */
extern int64_t flip_generate_window;

/* Collective: writes the whole file. */
flip_status flip_generator_run(const flip_generator *generator, flip_comm *comm, const char *path,
                               flip_generate_counts *counts);
/* Refuses what no generator can use; `name` as in "flipbook generate NAME". */
flip_status flip_generate_check(const flip_generate_common *common, const char *name);
flip_status flip_generate_range(const char *option, double value, double low, double high);

/* ---- draws ---- */

/* What a draw is for; keeps draws of the same item apart. */
typedef enum flip_draw {
    FLIP_DRAW_BLOCK,
    FLIP_DRAW_MOVE,
    FLIP_DRAW_MOVE_TO,
    FLIP_DRAW_COUNT,
    FLIP_DRAW_TARGET,
    FLIP_DRAW_CENTRE,
    FLIP_DRAW_NOISE,
    FLIP_DRAW_AXIS,
    FLIP_DRAW_ACTIVITY,
    FLIP_DRAW_PARTNER,
    FLIP_DRAW_AMOUNT,
    FLIP_DRAW_RING,
    FLIP_DRAW_ROUND
} flip_draw;
/* The counter of draw number k of an item at a step: item < 2^40, k < 2^24, step < 2^32. */
static inline uint64_t flip_draw_a(flip_draw use, int64_t step) {
    return (uint64_t)use << 56 | (uint64_t)step;
}
static inline uint64_t flip_draw_b(int64_t item, int64_t k) {
    return (uint64_t)item << 24 | (uint64_t)k;
}
double flip_draw_uniform(uint64_t seed, flip_draw use, int64_t step, int64_t item, int64_t k);
double flip_draw_normal(uint64_t seed, flip_draw use, int64_t step, int64_t item, int64_t k);
int64_t flip_draw_below(uint64_t seed, flip_draw use, int64_t step, int64_t item, int64_t k,
                        int64_t n);
/* floor(mean) or one more, so that the expectation is `mean`. */
int32_t flip_draw_round(uint64_t seed, flip_draw use, int64_t step, int64_t item, double mean);
int32_t flip_draw_poisson(uint64_t seed, flip_draw use, int64_t step, int64_t item, double mean);

/* features = centre of the class + unit noise */
void flip_class_features(const flip_generate_common *common, flip_gid node, int32_t class_index,
                         float *out);

#endif

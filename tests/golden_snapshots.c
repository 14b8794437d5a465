/* golden cases: preprocessing of graphs that change. */
#include "golden.h"

#include <flipbook/snapshots.h>

#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- preprocessing: the adjacency's entries a step against sorted lists ---- */

typedef struct entries {
    int64_t *ptr; /* [steps + 1] */
    int64_t *src, *dst;
    double *value, *old; /* old: `changed` alone */
    int64_t n;
} entries;

static entries entries_new(golden *g, int32_t steps, int64_t most) {
    size_t n = (size_t)most + 1;
    return (entries){.ptr = golden_memory(g, (size_t)steps + 1, sizeof(int64_t)),
                     .src = golden_memory(g, n, sizeof(int64_t)),
                     .dst = golden_memory(g, n, sizeof(int64_t)),
                     .value = golden_memory(g, n, sizeof(double)),
                     .old = golden_memory(g, n, sizeof(double))};
}

static void entries_add(entries *list, int64_t dst, int64_t src, double value, double old) {
    list->dst[list->n] = dst;
    list->src[list->n] = src;
    list->old[list->n] = old;
    list->value[list->n++] = value;
}

/* Value of entry e at step t; false where it is not alive. */
static bool value_at(const flip_csr *a, int64_t e, int32_t t, double *value) {
    for (int64_t r = a->run_ptr[e]; r < a->run_ptr[e + 1]; r++) {
        int64_t i = a->value_ptr[r] + t - a->run_first[r];
        if (t < a->run_first[r] || i >= a->value_ptr[r + 1]) continue;
        *value = a->value ? (double)a->value[i] : 1;
        return true;
    }
    return false;
}

static void compare_longs(golden *g, const char *prefix, const char *name, const int64_t *got,
                          int64_t n) {
    char tensor[64];
    double *wide = golden_memory(g, (size_t)n + 1, sizeof *wide);
    snprintf(tensor, sizeof tensor, "%s_%s", prefix, name);
    for (int64_t i = 0; i < n; i++)
        wide[i] = (double)got[i];
    golden_compare(g, tensor, wide, n);
}

static void compare_entries(golden *g, const char *prefix, const entries *list, int32_t steps,
                            const char *values) {
    char tensor[64];
    compare_longs(g, prefix, "ptr", list->ptr, steps + 1);
    compare_longs(g, prefix, "src", list->src, list->n);
    compare_longs(g, prefix, "dst", list->dst, list->n);
    snprintf(tensor, sizeof tensor, "%s_%s", prefix, values);
    golden_compare(g, tensor, list->value, list->n);
}

static entries entries_of(golden *g, const flip_csr *a) {
    entries list = entries_new(g, a->n_steps, a->n_values);
    for (int32_t t = 0; t < a->n_steps; t++) {
        for (int64_t v = 0; v < a->n_rows; v++)
            for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
                double value;
                if (value_at(a, e, t, &value)) entries_add(&list, v, a->col[e], value, 0);
            }
        list.ptr[t + 1] = list.n;
    }
    return list;
}

/* What a step adds to, removes from and changes in the step before. */
static void compare_differences(golden *g, const flip_csr *a) {
    entries added = entries_new(g, a->n_steps, a->n_values),
            removed = entries_new(g, a->n_steps, a->n_values),
            changed = entries_new(g, a->n_steps, a->n_values);
    for (int32_t t = 0; t < a->n_steps; t++) {
        for (int64_t v = 0; v < a->n_rows; v++)
            for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
                double now = 0, old = 0;
                bool is = value_at(a, e, t, &now), was = t > 0 && value_at(a, e, t - 1, &old);
                if (is && !was) entries_add(&added, v, a->col[e], now, 0);
                if (was && !is) entries_add(&removed, v, a->col[e], old, 0);
                if (is && was && now != old) entries_add(&changed, v, a->col[e], now, old);
            }
        added.ptr[t + 1] = added.n;
        removed.ptr[t + 1] = removed.n;
        changed.ptr[t + 1] = changed.n;
    }
    compare_entries(g, "added", &added, a->n_steps, "w");
    compare_entries(g, "removed", &removed, a->n_steps, "w");
    compare_entries(g, "changed", &changed, a->n_steps, "w");
    golden_compare(g, "changed_w_old", changed.old, changed.n);
}

/* The numbers that graph difference sends, from the events alone. */
static void compare_counts(golden *g, const flip_adjacency_params *params) {
    const size_t n = (size_t)params->n_steps;
    const flip_events events = {.n = golden_load(g, "ev_src").n,
                                .src = golden_long(g, "ev_src"),
                                .dst = golden_long(g, "ev_dst"),
                                .weight = golden_load(g, "ev_w").value,
                                .step = golden_int(g, "ev_step")};
    flip_difference *d = golden_memory(g, n, sizeof *d);
    int64_t *ptr[4];
    for (int i = 0; i < 4; i++)
        ptr[i] = golden_memory(g, n + 1, sizeof **ptr);
    golden_try(g, flip_snapshots_differences(d, &events, params));
    for (size_t t = 0; t < n; t++) {
        ptr[0][t + 1] = ptr[0][t] + d[t].entries;
        ptr[1][t + 1] = ptr[1][t] + d[t].added;
        ptr[2][t + 1] = ptr[2][t] + d[t].removed;
        ptr[3][t + 1] = ptr[3][t] + d[t].changed;
    }
    static const char *const names[] = {"life", "added", "removed", "changed"};
    for (int i = 0; i < 4; i++)
        compare_longs(g, names[i], "ptr", ptr[i], (int64_t)n + 1);
}

static void compare_band(golden *g, int32_t steps, int32_t window) {
    size_t n = (size_t)steps * (size_t)steps;
    flip_real *identity = golden_memory(g, n, sizeof *identity);
    for (int32_t t = 0; t < steps; t++)
        identity[t * steps + t] = 1;
    golden_begin(g);
    flip_var x = flip_tape_input(g->tape, 1, steps, steps, identity, false);
    golden_compare_var(g, "M", flip_band(g->tape, x, window));
}

void case_prep(golden *g) {
    int32_t steps = (int32_t)golden_dim(g, "steps"), life = (int32_t)golden_setting(g, "edge_life"),
            window = (int32_t)golden_setting(g, "bandwidth");
    const struct {
        flip_adjacency_kind kind;
        int32_t window;
        const char *prefix, *values;
    } rows[] = {{FLIP_ADJACENCY_SUM, 0, "life", "mult"},
                {FLIP_ADJACENCY_WSUM, 0, "life", "w"},
                {FLIP_ADJACENCY_GCN, 0, "norm", "w"},
                {FLIP_ADJACENCY_GCN, window, "mtr", "w"}};
    compare_band(g, steps, window);
    for (size_t i = 0; i < COUNT(rows); i++) {
        flip_adjacency_params params = {
            .kind = rows[i].kind, .n_steps = steps, .edge_life = life, .window = rows[i].window};
        flip_adjacency *adjacency = golden_adjacency(g, &params);
        if (!adjacency) return;
        entries list = entries_of(g, &adjacency->a);
        compare_entries(g, rows[i].prefix, &list, steps, rows[i].values);
        if (rows[i].kind == FLIP_ADJACENCY_WSUM) {
            compare_differences(g, &adjacency->a);
            compare_counts(g, &params);
        }
        flip_adjacency_destroy(&adjacency);
    }
}

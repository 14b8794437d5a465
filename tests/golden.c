/* Reading a golden case and comparing with it. */
#include "golden.h"
#include "device.h"

#include <datasets/npy.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void golden_fail(golden *g, const char *format, ...) {
    if (g->failures++ > 0) return; /* the first reason is told */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(g->why, sizeof g->why, format, arguments);
    va_end(arguments);
}

void golden_try(golden *g, flip_status status) {
    if (status != FLIP_OK) golden_fail(g, "%s in %s", flip_error_message(), flip_error_where());
}

bool golden_open(golden *g, const char *folder, const char *name) {
    char path[8192];
    json_error_t error;
    memset(g, 0, sizeof *g);
    snprintf(g->folder, sizeof g->folder, "%s/%s", folder, name);
    snprintf(path, sizeof path, "%s/case.json", g->folder);
    g->json = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!g->json) return false;
    json_t *tolerance = json_object_get(g->json, "tolerance");
    g->tolerance = json_number_value(
        json_object_get(tolerance, sizeof(flip_real) == 8 ? "float64" : "float32"));
    g->checked = golden_memory(g, json_array_size(json_object_get(g->json, "tensors")) + 1, 1);
    return true;
}

void golden_close(golden *g) {
    flip_tape_destroy(&g->tape);
    flip_params_destroy(&g->params);
    for (int i = 0; i < g->n_memory; i++)
        flip_free(g->memory[i]);
    json_decref(g->json);
    flip_error_clear();
}

void *golden_memory(golden *g, size_t count, size_t size) {
    void *memory = NULL;
    if (g->n_memory == GOLDEN_MEMORY || flip_alloc_zero(&memory, count, size, "golden") != FLIP_OK)
        abort();
    g->memory[g->n_memory++] = memory;
    return memory;
}

int64_t golden_dim(golden *g, const char *name) {
    return json_integer_value(json_object_get(json_object_get(g->json, "dims"), name));
}

double golden_setting(golden *g, const char *name) {
    json_t *value = json_object_get(json_object_get(g->json, "settings"), name);
    if (!json_is_number(value)) golden_fail(g, "no setting '%s'", name);
    return json_number_value(value);
}

static json_t *entry_of(golden *g, const char *tensor, size_t *index) {
    json_t *tensors = json_object_get(g->json, "tensors");
    for (*index = 0; *index < json_array_size(tensors); ++*index) {
        json_t *one = json_array_get(tensors, *index);
        if (strcmp(json_string_value(json_object_get(one, "name")), tensor) == 0) return one;
    }
    return NULL;
}

static const char *field(json_t *entry, const char *key) {
    const char *text = json_string_value(json_object_get(entry, key));
    return text ? text : "";
}

bool golden_has(golden *g, const char *tensor) {
    size_t i;
    return entry_of(g, tensor, &i) != NULL;
}

golden_tensor golden_load(golden *g, const char *tensor) {
    char path[8192];
    size_t i;
    golden_tensor t = {.n = 1};
    json_t *entry = entry_of(g, tensor, &i);
    if (!entry) {
        golden_fail(g, "the case has no tensor '%s'", tensor);
        t.value = golden_memory(g, 1, sizeof(double));
        return t;
    }
    snprintf(path, sizeof path, "%s/%s", g->folder, field(entry, "file"));
    flip_status status = flip_npy_load(path, FLIP_TYPE_F64, &t.value, &t.n_dims, t.shape);
    golden_try(g, status);
    if (status != FLIP_OK) {
        t.value = golden_memory(g, 1, sizeof(double));
        return t;
    }
    if (g->n_memory == GOLDEN_MEMORY) abort();
    g->memory[g->n_memory++] = t.value;
    json_t *shape = json_object_get(entry, "shape");
    for (int32_t d = 0; d < t.n_dims; d++) {
        t.n *= t.shape[d];
        if (json_integer_value(json_array_get(shape, (size_t)d)) != t.shape[d])
            golden_fail(g, "%s: shape in the file differs from case.json", tensor);
    }
    return t;
}

#define LOAD_AS(function, type)                                                                    \
    type *function(golden *g, const char *tensor) {                                                \
        golden_tensor t = golden_load(g, tensor);                                                  \
        type *out = golden_memory(g, (size_t)t.n, sizeof(type));                                   \
        for (int64_t i = 0; i < t.n; i++)                                                          \
            out[i] = (type)t.value[i];                                                             \
        return out;                                                                                \
    }
LOAD_AS(golden_real, flip_real)
LOAD_AS(golden_int, int32_t)
LOAD_AS(golden_long, int64_t)
LOAD_AS(golden_mask, uint8_t)

void golden_compare(golden *g, const char *tensor, const double *got, int64_t n) {
    size_t index;
    json_t *entry = entry_of(g, tensor, &index);
    golden_tensor want = golden_load(g, tensor);
    double most = 0, worst = 0;
    if (!entry || g->failures) return;
    g->checked[index] = true;
    g->compared++;
    if (n != want.n) {
        golden_fail(g, "%s: %lld values, expected %lld", tensor, (long long)n, (long long)want.n);
        return;
    }
    if (!got) {
        golden_fail(g, "%s: no values", tensor);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        double difference = fabs(got[i] - want.value[i]);
        most = fmax(most, fabs(want.value[i]));
        worst = isnan(difference) ? INFINITY : fmax(worst, difference);
    }
    double tolerance = strncmp(field(entry, "dtype"), "int", 3) == 0 ? 0 : g->tolerance;
    if (!(worst <= tolerance * most))
        golden_fail(g, "%s: largest difference %.3g, largest value %.3g, tolerance %.0e", tensor,
                    worst, most, tolerance);
}

void golden_compare_real(golden *g, const char *tensor, const flip_real *got, int64_t n) {
    double *wide = NULL;
    if (got) wide = golden_memory(g, (size_t)n, sizeof(double));
    for (int64_t i = 0; got && i < n; i++)
        wide[i] = (double)got[i];
    golden_compare(g, tensor, wide, n);
}

void golden_compare_var(golden *g, const char *tensor, flip_var x) {
    int32_t rows, steps, dim;
    golden_try(g, flip_tape_status(g->tape));
    flip_tape_shape(g->tape, x, &rows, &steps, &dim);
    golden_compare_real(g, tensor, flip_tape_value(g->tape, x), (int64_t)rows * steps * dim);
}

void golden_swap_axes(int64_t a, int64_t b, int64_t dim, const flip_real *x, flip_real *out) {
    for (int64_t i = 0; i < a; i++)
        for (int64_t j = 0; j < b; j++)
            memcpy(out + (j * a + i) * dim, x + (i * b + j) * dim, (size_t)dim * sizeof *x);
}

void golden_compare_steps(golden *g, const char *tensor, const flip_real *x) {
    golden_tensor t = golden_load(g, tensor);
    flip_real *turned = golden_memory(g, (size_t)t.n, sizeof *turned);
    if (x) golden_swap_axes(t.shape[1], t.shape[0], t.shape[2], x, turned);
    golden_compare_real(g, tensor, x ? turned : NULL, t.n);
}

/* ---- a pass through the tape ---- */

static void need_params(golden *g) {
    if (!g->params) golden_try(g, flip_params_create(&g->params));
}

flip_param golden_param(golden *g, const char *tensor) {
    need_params(g);
    golden_tensor t = golden_load(g, tensor);
    int32_t rows = t.n_dims == 2 ? (int32_t)t.shape[0] : 1;
    return flip_params_add(g->params, tensor, rows, (int32_t)(t.n / rows), FLIP_INIT_ZERO);
}

void golden_reload(golden *g) {
    for (flip_param p = 0; p < flip_params_count(g->params); p++) {
        int32_t rows, cols;
        int64_t offset;
        const char *name = flip_params_name(g->params, p);
        flip_params_shape(g->params, p, &rows, &cols, &offset);
        if (!golden_has(g, name)) {
            golden_fail(g, "the case has no parameter '%s'", name);
            continue;
        }
        golden_tensor t = golden_load(g, name);
        if (t.n != (int64_t)rows * cols) {
            golden_fail(g, "'%s' has %lld values, the model %d x %d", name, (long long)t.n, rows,
                        cols);
            continue;
        }
        for (int64_t i = 0; i < t.n; i++)
            flip_params_values(g->params)[offset + i] = (flip_real)t.value[i];
    }
}

void golden_begin(golden *g) {
    need_params(g);
    golden_try(g, flip_params_finish(g->params, 0));
    if (!g->failures) golden_reload(g);
    flip_tape_params settings = {.params = g->params, .kernels = test_kernels()};
    golden_try(g, flip_tape_create(&g->tape, &settings));
    if (!test_placed(g->params)) golden_fail(g, "the parameters are not on the device");
    if (g->tape) flip_tape_reset(g->tape, true, 0);
}

flip_var golden_input(golden *g, const char *tensor) {
    golden_tensor t = golden_load(g, tensor);
    int32_t rows = (int32_t)t.shape[0];
    flip_var x =
        flip_tape_input(g->tape, rows, 1, (int32_t)(t.n / rows), golden_real(g, tensor), true);
    g->var[g->n_vars] = x;
    g->var_name[g->n_vars++] = tensor;
    return x;
}

/* The gradient tensor "of" a variable or parameter. */
static void compare_gradient(golden *g, json_t *entry) {
    const char *name = field(entry, "name"), *of = field(entry, "of");
    for (int i = 0; i < g->n_vars; i++) {
        int32_t rows, steps, dim;
        if (strcmp(of, g->var_name[i]) != 0) continue;
        flip_tape_shape(g->tape, g->var[i], &rows, &steps, &dim);
        golden_compare_real(g, name, flip_tape_gradient(g->tape, g->var[i]),
                            (int64_t)rows * steps * dim);
        return;
    }
    flip_param p = flip_params_find(g->params, of);
    if (p == FLIP_PARAM_NONE) return;
    int32_t rows, cols;
    int64_t offset;
    flip_params_shape(g->params, p, &rows, &cols, &offset);
    golden_compare(g, name, flip_params_gradients(g->params) + offset, (int64_t)rows * cols);
}

void golden_backward(golden *g, flip_var loss) {
    size_t i;
    json_t *entry;
    if (golden_has(g, "loss")) {
        double value = flip_tape_scalar(g->tape, loss);
        golden_compare(g, "loss", &value, 1);
    }
    golden_try(g, flip_tape_backward(g->tape, loss));
    json_array_foreach(json_object_get(g->json, "tensors"), i, entry) {
        if (!g->checked[i] && strcmp(field(entry, "role"), "gradient") == 0)
            compare_gradient(g, entry);
    }
}

void golden_backward_up(golden *g, flip_var y) {
    golden_compare_var(g, "Y", y);
    golden_backward(g, flip_inner(g->tape, y, golden_real(g, "up_Y")));
}

flip_adjacency *golden_adjacency(golden *g, const flip_adjacency_params *params) {
    static flip_gid rank_first[2]; /* one rank */
    const char *prefix = golden_has(g, "ev_src") ? "ev_" : "";
    char name[4][16];
    const char *columns[] = {"src", "dst", "w", "step"};
    for (int i = 0; i < 4; i++)
        snprintf(name[i], sizeof name[i], "%s%s", prefix, columns[i]);
    double *weight = golden_has(g, name[2]) ? golden_load(g, name[2]).value : NULL;
    flip_events events = {.n = golden_load(g, name[0]).n,
                          .src = golden_long(g, name[0]),
                          .dst = golden_long(g, name[1]),
                          .weight = weight,
                          .step = golden_has(g, name[3]) ? golden_int(g, name[3]) : NULL};
    flip_adjacency *adjacency = NULL;
    rank_first[1] = golden_dim(g, "nodes");
    golden_try(g, flip_adjacency_create(&adjacency, NULL, rank_first, NULL, &events, params));
    return adjacency;
}

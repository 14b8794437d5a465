/* --node-table: a CSV with one row a node: its id, its class, numbers that are features, its split.
 */
#include "datasets/import_private.h"
#include "datasets/read_number.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum role { ROLE_NONE, ROLE_ID, ROLE_LABEL, ROLE_FEATURE, ROLE_SPLIT } role;

typedef struct table {
    flip_import_state *s;
    flip_text text;
    flip_layout layout;
    uint8_t *role; /* [n_columns] */
    flip_field *field;
    int64_t room;          /* rows allocated */
    int64_t *line_of_code; /* [codes] 0 = not yet */
    int64_t codes;
    int32_t n_features;
    bool labels, splits;
} table;

static flip_status bad_field(const table *t, const char *line, int32_t column,
                             const char *expected) {
    flip_field f = t->field[column];
    return FLIP_FAIL(FLIP_ERROR_INPUT, "%s:%lld:%lld: column %d (%s) is '%.*s', expected %s",
                     flip_text_path(&t->text), (long long)t->text.line,
                     (long long)(f.at - line + 1), column + 1,
                     t->layout.names ? t->layout.names[column] : "no name",
                     f.length < 40 ? (int)f.length : 40, f.at, expected);
}

/* ---- roles ---- */

static role role_of_name(const char *name) {
    static const struct {
        const char *name;
        role role;
    } usual[] = {{"id", ROLE_ID},         {"node", ROLE_ID},     {"nodeid", ROLE_ID},
                 {"name", ROLE_ID},       {"account", ROLE_ID},  {"accountid", ROLE_ID},
                 {"label", ROLE_LABEL},   {"class", ROLE_LABEL}, {"y", ROLE_LABEL},
                 {"isfraud", ROLE_LABEL}, {"split", ROLE_SPLIT}};
    char plain[32];
    size_t n = 0;
    for (; *name && n + 1 < sizeof plain; name++)
        if (isalnum((unsigned char)*name)) plain[n++] = (char)tolower((unsigned char)*name);
    plain[n] = '\0';
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (!strcmp(plain, usual[i].name)) return usual[i].role;
    return ROLE_NONE;
}

static flip_status set_role(table *t, int32_t column, role what) {
    for (int32_t c = 0; c < t->layout.n_columns && what != ROLE_FEATURE && what != ROLE_NONE; c++)
        if (t->role[c] == what && c != column)
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "'%s': columns %d and %d are both the node's %s; --node-columns says "
                             "which is meant",
                             flip_text_path(&t->text), c + 1, column + 1,
                             what == ROLE_ID      ? "id"
                             : what == ROLE_LABEL ? "label"
                                                  : "split");
    t->role[column] = (uint8_t)what;
    return FLIP_OK;
}

static flip_status find_columns(const table *t, const char *name, int32_t *first, int32_t *last) {
    char *end;
    long from = strtol(name, &end, 10), to = from;
    for (int32_t c = 0; t->layout.names && c < t->layout.n_columns; c++)
        if (!strcmp(t->layout.names[c], name)) {
            *first = *last = c;
            return FLIP_OK;
        }
    if (end != name && *end == '-') to = strtol(end + 1, &end, 10);
    if (end != name && !*end && from >= 1 && to >= from && to <= t->layout.n_columns) {
        *first = (int32_t)from - 1;
        *last = (int32_t)to - 1;
        return FLIP_OK;
    }
    const char *near = t->layout.names ? flip_suggest(name, (const char *const *)t->layout.names,
                                                      (size_t)t->layout.n_columns)
                                       : NULL;
    if (near)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "'%s' has no column '%s'; did you mean '%s'?",
                         t->s->p->node_table, name, near);
    return FLIP_FAIL(FLIP_ERROR_USAGE,
                     "'%s' has no column '%s'; give a name of its header, or numbers from 1 to %d",
                     t->s->p->node_table, name, t->layout.n_columns);
}

static flip_status take_item(table *t, char *item) {
    static const char *const names[] = {"id", "label", "feature", "split"};
    static const role roles[] = {ROLE_ID, ROLE_LABEL, ROLE_FEATURE, ROLE_SPLIT};
    char *equals = strchr(item, '=');
    int32_t first = 0, last = 0;
    if (equals) *equals = '\0';
    for (size_t i = 0; i < 4 && equals; i++) {
        if (strcmp(item, names[i]) != 0) continue;
        FLIP_TRY(find_columns(t, equals + 1, &first, &last));
        for (int32_t c = first; c <= last; c++)
            FLIP_TRY(set_role(t, c, roles[i]));
        return FLIP_OK;
    }
    const char *near = flip_suggest(item, names, 4);
    return FLIP_FAIL(FLIP_ERROR_USAGE,
                     "--node-columns has '%s', expected id=COLUMN, label=COLUMN, feature=COLUMN or "
                     "split=COLUMN%s%s%s",
                     item, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static flip_status roles_from_text(table *t, const char *text) {
    char *copy = strdup(text), *rest = copy;
    flip_status status = FLIP_OK;
    if (!copy) return FLIP_FAIL(FLIP_ERROR_MEMORY, "cannot allocate --node-columns");
    while (rest && status == FLIP_OK)
        status = take_item(t, strsep(&rest, ","));
    free(copy);
    return status;
}

/* Usual names; other columns of numbers are features. Without a header: id, label. */
static flip_status roles_by_guess(table *t) {
    int32_t n = t->layout.n_columns;
    if (!t->layout.names) {
        if (n != 2)
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "'%s' has %d columns and no header that names them; say what they "
                             "are: --node-columns id=1,label=2,feature=3-%d",
                             t->s->p->node_table, n, n);
        t->role[0] = ROLE_ID;
        t->role[1] = ROLE_LABEL;
        return FLIP_OK;
    }
    bool id = false;
    for (int32_t c = 0; c < n; c++) {
        role what = role_of_name(t->layout.names[c]);
        bool number = t->layout.kinds[c] == 'i' || t->layout.kinds[c] == 'f';
        FLIP_TRY(set_role(t, c, what != ROLE_NONE ? what : number ? ROLE_FEATURE : ROLE_NONE));
        id = id || what == ROLE_ID;
    }
    if (!id) t->role[0] = ROLE_ID; /* the first column, then */
    return FLIP_OK;
}

/* A column of words beside no label is often the class that was wanted. */
static void tell_left_out(const table *t) {
    for (int32_t c = 0; c < t->layout.n_columns && t->layout.names; c++) {
        if (t->role[c] != ROLE_NONE) continue;
        flip_import_note(t->s, "column '%s' of %s is not used%s%s%s", t->layout.names[c],
                         t->s->p->node_table,
                         t->labels ? "" : "; if it is the class: --node-columns id=…,label=",
                         t->labels ? "" : t->layout.names[c], t->labels ? "" : ",feature=…");
        return;
    }
}

static flip_status choose_roles(table *t) {
    bool id = false;
    int32_t n = t->layout.n_columns;
    FLIP_TRY(flip_alloc_zero(&t->role, (size_t)n, 1, "columns of nodes"));
    FLIP_TRY(flip_alloc(&t->field, (size_t)n, sizeof *t->field, "fields of nodes"));
    FLIP_TRY(t->s->p->node_columns ? roles_from_text(t, t->s->p->node_columns) : roles_by_guess(t));
    for (int32_t c = 0; c < n; c++) {
        id = id || t->role[c] == ROLE_ID;
        t->labels = t->labels || t->role[c] == ROLE_LABEL;
        t->splits = t->splits || t->role[c] == ROLE_SPLIT;
        t->n_features += t->role[c] == ROLE_FEATURE;
    }
    if (!t->s->p->node_columns) tell_left_out(t);
    if (!id)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--node-columns '%s' names no id column; add id=COLUMN",
                         t->s->p->node_columns);
    return FLIP_OK;
}

/* ---- rows ---- */

static flip_status take_id(table *t, const char *line, int32_t column, uint32_t *code) {
    flip_ids *ids = &t->s->ids;
    flip_field f = t->field[column];
    int64_t id;
    if (f.length == 0) return bad_field(t, line, column, "a node id");
    bool plain = flip_is_plain_integer(f.at, f.length);
    if (ids->kind != FLIP_IDS_TEXT && plain &&
        flip_parse_integer(f.at, f.length, &id) == FLIP_NUMBER_OVERFLOW)
        return bad_field(t, line, column, "an id below 2^63; --ids text keeps such ids as text");
    if (ids->kind != FLIP_IDS_TEXT && plain) {
        flip_parse_integer(f.at, f.length, &id);
        return flip_ids_map(ids, &id, 1, code);
    }
    if (ids->kind != FLIP_IDS_TEXT) {
        if (t->s->reader.id_policy == FLIP_IDS_ONLY_NUMBERS)
            return bad_field(t, line, column, "an integer id (--ids number)");
        FLIP_TRY(flip_ids_to_text(ids));
        flip_import_note(t->s, "ids are text because of '%.*s' in %s:%lld",
                         f.length < 30 ? (int)f.length : 30, f.at, flip_text_path(&t->text),
                         (long long)t->text.line);
    }
    return flip_ids_text(ids, f.at, f.length, code);
}

static flip_status once(table *t, const char *line, int32_t column, uint32_t code) {
    if (code >= t->codes) {
        int64_t codes = 2 * (int64_t)code + 1024;
        FLIP_TRY(flip_grow(&t->line_of_code, (size_t)t->codes, (size_t)codes,
                           sizeof *t->line_of_code, "rows of nodes"));
        memset(t->line_of_code + t->codes, 0, (size_t)(codes - t->codes) * sizeof *t->line_of_code);
        t->codes = codes;
    }
    if (t->line_of_code[code]) {
        char expected[96];
        snprintf(expected, sizeof expected, "each node once; it stands in line %lld too",
                 (long long)t->line_of_code[code]);
        return bad_field(t, line, column, expected);
    }
    t->line_of_code[code] = t->text.line;
    return FLIP_OK;
}

static flip_status take_feature(table *t, const char *line, int32_t column, float *out) {
    flip_field f = t->field[column];
    double value = NAN;
    flip_number kind =
        f.length ? flip_parse_double(f.at, f.length, &value) : FLIP_NUMBER_NOT_FINITE;
    if (kind == FLIP_NUMBER_NOT_FINITE) value = NAN;
    if (kind == FLIP_NUMBER_NOT_FINITE && !t->s->p->allow_nan)
        return bad_field(t, line, column, "a finite number; --allow-nan keeps such values");
    if (kind == FLIP_NUMBER_TEXT || kind == FLIP_NUMBER_OVERFLOW || fabs(value) > FLT_MAX)
        return bad_field(t, line, column,
                         "a number (as --node-columns or the lines above make it a feature)");
    *out = (float)value;
    return FLIP_OK;
}

static flip_status take_split(table *t, const char *line, int32_t column, int8_t *out) {
    static const struct {
        const char *word;
        int8_t split;
    } words[] = {{"0", 0}, {"train", 0}, {"1", 1},   {"valid", 1}, {"val", 1},
                 {"2", 2}, {"test", 2},  {"-1", -1}, {"none", -1}, {"", -1}};
    flip_field f = t->field[column];
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i].word) == f.length && !memcmp(words[i].word, f.at, f.length)) {
            *out = words[i].split;
            return FLIP_OK;
        }
    return bad_field(t, line, column, "train, valid, test or none (0, 1, 2, -1)");
}

static flip_status more_rows(table *t) {
    flip_import_state *s = t->s;
    size_t kept = (size_t)s->n_table, room = kept * 3 / 2 + 1024, width = (size_t)t->n_features;
    FLIP_TRY(flip_grow(&s->table_code, kept, room, sizeof *s->table_code, "nodes"));
    if (t->labels)
        FLIP_TRY(
            flip_grow(&s->table_class, kept, room, sizeof *s->table_class, "classes of nodes"));
    if (t->splits) FLIP_TRY(flip_grow(&s->table_split, kept, room, 1, "splits of nodes"));
    if (width)
        FLIP_TRY(flip_grow(&s->table_values, kept * width, room * width, sizeof(float),
                           "features of nodes"));
    t->room = (int64_t)room;
    return FLIP_OK;
}

static flip_status take_row(table *t, const char *line) {
    flip_import_state *s = t->s;
    int64_t row = s->n_table;
    int32_t k = 0;
    uint32_t code;
    if (row == t->room) FLIP_TRY(more_rows(t));
    for (int32_t c = 0; c < t->layout.n_columns; c++) {
        flip_field f = t->field[c];
        switch ((role)t->role[c]) {
        case ROLE_ID:
            FLIP_TRY(take_id(t, line, c, &s->table_code[row]));
            FLIP_TRY(once(t, line, c, s->table_code[row]));
            break;
        case ROLE_LABEL:
            s->table_class[row] = -1;
            if (f.length == 0) break;
            FLIP_TRY(flip_names_add(&s->node_classes, f.at, f.length, 1 << 20, &code));
            s->table_class[row] = (int32_t)code;
            break;
        case ROLE_FEATURE:
            FLIP_TRY(take_feature(t, line, c, &s->table_values[row * t->n_features + k++]));
            break;
        case ROLE_SPLIT:
            FLIP_TRY(take_split(t, line, c, &s->table_split[row]));
            break;
        case ROLE_NONE:
            break;
        }
    }
    s->n_table++;
    return FLIP_OK;
}

static flip_status read_line(table *t, char *line, char *end) {
    int32_t n;
    bool comment;
    if (flip_line_skipped(&t->layout, line, end, &comment)) return FLIP_OK;
    bool whole = flip_split(line, end, t->layout.delimiter, t->field, t->layout.n_columns, &n);
    if (!whole)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "%s:%lld: a quoted field does not end on its line",
                         flip_text_path(&t->text), (long long)t->text.line);
    if (n != t->layout.n_columns)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "%s:%lld: found %d fields, expected %d, split at %s",
                         flip_text_path(&t->text), (long long)t->text.line, n, t->layout.n_columns,
                         flip_delimiter_name(t->layout.delimiter));
    return take_row(t, line);
}

static flip_status read_rows(table *t) {
    bool header = t->layout.header;
    for (;;) {
        if (t->text.begin == t->text.limit) FLIP_TRY(flip_text_fill(&t->text));
        if (t->text.begin == t->text.limit) break;
        char *next, *line = t->text.buffer + t->text.begin, *end = flip_line_end(line, &next);
        bool comment;
        if (header && !flip_line_skipped(&t->layout, line, end, &comment))
            header = false;
        else
            FLIP_TRY(read_line(t, line, end));
        t->text.line++;
        t->text.begin += (size_t)(next - line);
    }
    if (t->s->n_table == 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' holds no rows, only a header",
                         t->s->p->node_table);
    return FLIP_OK;
}

static void describe(table *t) {
    char *out = t->s->report->features;
    size_t room = sizeof t->s->report->features, used = 0;
    for (int32_t c = 0, k = 0; c < t->layout.n_columns && used < room - 1; c++) {
        if (t->role[c] != ROLE_FEATURE || ++k > 6) continue;
        int n =
            t->layout.names
                ? snprintf(out + used, room - used, "%s%s", k > 1 ? ", " : "", t->layout.names[c])
                : snprintf(out + used, room - used, "%scolumn %d", k > 1 ? ", " : "", c + 1);
        used += n > 0 ? (size_t)n : 0;
    }
    if (t->n_features > 6 && used < room)
        snprintf(out + used, room - used, ", … (%d columns)", t->n_features);
}

flip_status flip_import_read_table(flip_import_state *s) {
    table t = {.s = s};
    const flip_import_params *p = s->p;
    flip_status status;
    if (!p->node_table) return FLIP_OK;
    FLIP_TRY_GOTO(flip_text_open(&t.text, p->node_table));
    FLIP_TRY_GOTO(
        flip_layout_detect(&t.layout, &t.text, &(flip_layout_params){.comment = p->comment}));
    FLIP_TRY_GOTO(choose_roles(&t));
    FLIP_TRY_GOTO(read_rows(&t));
    s->n_table_features = t.n_features;
    describe(&t);
done:
    flip_free(t.role);
    flip_free(t.field);
    flip_free(t.line_of_code);
    flip_layout_finish(&t.layout);
    flip_text_close(&t.text);
    return status;
}

/* ---- writing, by node ---- */

static flip_status write_features(flip_import_state *s, const int64_t *row_of) {
    int64_t n = s->numbering.n_nodes, width = s->n_table_features, nnz = 0, n_bad = 0;
    for (int64_t i = 0; i < s->n_table * width; i++) {
        nnz += s->table_values[i] != 0;
        n_bad += !isfinite(s->table_values[i]);
    }
    if (8 * nnz + 8 * n >= 4 * n * width) { /* dense is smaller */
        int64_t rows = flip_import_window(width, sizeof(float));
        float *buffer;
        flip_status status = FLIP_OK;
        FLIP_TRY(flip_alloc(&buffer, (size_t)(rows * width), sizeof *buffer, "features"));
        for (int64_t first = 0; first < n && status == FLIP_OK; first += rows) {
            int64_t some = n - first < rows ? n - first : rows;
            for (int64_t v = 0; v < some; v++)
                memcpy(buffer + v * width, s->table_values + row_of[first + v] * width,
                       (size_t)width * sizeof *buffer);
            status = flip_writer_rows(s->writer, "features/values", FLIP_TYPE_F32, FLIP_TYPE_F32,
                                      some, width, 0, buffer);
        }
        flip_free(buffer);
        return status == FLIP_OK && n_bad ? flip_import_kept_nan(s, n_bad) : status;
    }
    flip_sparse x = {.n = n, .nnz = nnz, .n_columns = width};
    flip_status status;
    FLIP_TRY_GOTO(flip_alloc(&x.indptr, (size_t)n + 1, sizeof *x.indptr, "features"));
    FLIP_TRY_GOTO(flip_alloc(&x.indices, (size_t)nnz, sizeof *x.indices, "features"));
    FLIP_TRY_GOTO(flip_alloc(&x.values, (size_t)nnz, sizeof *x.values, "features"));
    x.indptr[0] = 0;
    for (int64_t v = 0, at = 0; v < n; v++) {
        for (int64_t c = 0; c < width; c++) {
            float value = s->table_values[row_of[v] * width + c];
            if (value == 0) continue;
            x.indices[at] = (int32_t)c;
            x.values[at++] = value;
        }
        x.indptr[v + 1] = at;
    }
    FLIP_TRY_GOTO(flip_import_write_csr(s, &x, s->p->node_table));
done:
    flip_free(x.indptr);
    flip_free(x.indices);
    flip_free(x.values);
    return status;
}

static flip_status missing_row(const flip_import_state *s, int64_t v) {
    const flip_numbering *n = &s->numbering;
    char id[64];
    if (n->name_ptr)
        snprintf(id, sizeof id, "%.*s",
                 (int)(n->name_ptr[v + 1] - n->name_ptr[v]) < 60
                     ? (int)(n->name_ptr[v + 1] - n->name_ptr[v])
                     : 60,
                 n->name + n->name_ptr[v]);
    else
        snprintf(id, sizeof id, "%lld", (long long)(n->number ? n->number[v] : v));
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "'%s' has no row for node '%s' of the edges; every node needs its features%s",
                     s->p->node_table, id,
                     n->name_ptr && !s->report->header && !s->p->header
                         ? " (if the first line of the edges names the columns, give --header yes)"
                         : "");
}

/* Classes in the order of their names; the class of each node from the table or from the edges. */
static flip_status write_classes(flip_import_state *s, const int64_t *row_of) {
    int64_t n = s->numbering.n_nodes, n_none = 0;
    flip_names *names = &s->node_classes;
    uint32_t *order = NULL;
    int32_t *class_of = NULL, *label = NULL;
    char *text = NULL;
    size_t bytes;
    bool integers;
    flip_status status;
    FLIP_TRY_GOTO(flip_alloc(&order, (size_t)names->n, sizeof *order, "order of classes"));
    FLIP_TRY_GOTO(flip_alloc(&class_of, (size_t)names->n, sizeof *class_of, "order of classes"));
    FLIP_TRY_GOTO(flip_alloc(&label, (size_t)n, sizeof *label, "classes of nodes"));
    FLIP_TRY_GOTO(flip_names_order(names, order, &integers));
    for (int64_t c = 0; c < names->n; c++)
        class_of[order[c]] = (int32_t)c;
    for (int64_t v = 0; v < n; v++) {
        int32_t code =
            s->table_class ? (row_of[v] < 0 ? -1 : s->table_class[row_of[v]]) : s->edge_class[v];
        label[v] = code < 0 ? -1 : class_of[code];
        n_none += code < 0;
    }
    s->n_classes = names->n;
    FLIP_TRY_GOTO(
        flip_writer_rows(s->writer, "labels/class", FLIP_TYPE_I32, FLIP_TYPE_I32, n, 0, 0, label));
    FLIP_TRY_GOTO(flip_names_join(names, order, '\n', &text, NULL, &bytes));
    FLIP_TRY_GOTO(flip_import_write_text(s, "labels/names", text, bytes));
    snprintf(s->report->nodes, sizeof s->report->nodes, "%lld classes, %lld nodes without one",
             (long long)s->n_classes, (long long)n_none);
done:
    flip_free(order);
    flip_free(class_of);
    flip_free(label);
    flip_free(text);
    return status;
}

static flip_status write_split(flip_import_state *s, const int64_t *row_of) {
    int64_t n = s->numbering.n_nodes, count[4] = {0};
    int8_t *split;
    FLIP_TRY(flip_alloc(&split, (size_t)n, 1, "splits"));
    for (int64_t v = 0; v < n; v++) {
        split[v] = row_of[v] < 0 ? -1 : s->table_split[row_of[v]];
        count[split[v] + 1]++;
    }
    snprintf(s->report->splits, sizeof s->report->splits,
             "1; %lld train, %lld valid, %lld test, %lld unused", (long long)count[1],
             (long long)count[2], (long long)count[3], (long long)count[0]);
    flip_status status =
        flip_writer_rows(s->writer, "splits", FLIP_TYPE_I8, FLIP_TYPE_I8, 1, n, 0, split);
    flip_free(split);
    return status;
}

flip_status flip_import_write_table(flip_import_state *s) {
    int64_t *row_of, n = s->numbering.n_nodes;
    flip_status status = FLIP_OK;
    if (s->n_table == 0 && !s->edge_class) return FLIP_OK;
    FLIP_TRY(flip_alloc(&row_of, (size_t)n, sizeof *row_of, "rows of nodes"));
    memset(row_of, 0xFF, (size_t)n * sizeof *row_of);
    for (int64_t i = 0; i < s->n_table; i++)
        row_of[s->table_code[i]] = i;
    for (int64_t v = 0; v < n && s->n_table_features && status == FLIP_OK; v++)
        if (row_of[v] < 0) status = missing_row(s, v);
    if (status == FLIP_OK && s->n_table_features) status = write_features(s, row_of);
    if (status == FLIP_OK && (s->table_class || s->edge_class)) status = write_classes(s, row_of);
    if (status == FLIP_OK && s->table_split) status = write_split(s, row_of);
    flip_free(row_of);
    return status;
}

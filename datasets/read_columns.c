/* From --columns, the header or the places of the columns to their roles. */
#include "datasets/read_columns.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *flip_role_name(flip_role role) {
    static const char *const names[FLIP_ROLE_COUNT] = {"-",    "src",   "dst",       "weight",
                                                       "time", "label", "src_class", "dst_class"};
    return names[role];
}

/* Names in the wild, lower case, without blanks, '_', '-' and '.'. */
static const struct {
    const char *name;
    flip_role role;
} aliases[] = {
    {"src", FLIP_ROLE_SOURCE},
    {"source", FLIP_ROLE_SOURCE},
    {"sourceid", FLIP_ROLE_SOURCE},
    {"sourcenode", FLIP_ROLE_SOURCE},
    {"sourcenodeid", FLIP_ROLE_SOURCE},
    {"from", FLIP_ROLE_SOURCE},
    {"fromid", FLIP_ROLE_SOURCE},
    {"fromnode", FLIP_ROLE_SOURCE},
    {"fromnodeid", FLIP_ROLE_SOURCE},
    {"sender", FLIP_ROLE_SOURCE},
    {"senderid", FLIP_ROLE_SOURCE},
    {"u", FLIP_ROLE_SOURCE},
    {"node1", FLIP_ROLE_SOURCE},
    {"id1", FLIP_ROLE_SOURCE},
    {"head", FLIP_ROLE_SOURCE},
    {"payer", FLIP_ROLE_SOURCE},
    {"dst", FLIP_ROLE_TARGET},
    {"dest", FLIP_ROLE_TARGET},
    {"destination", FLIP_ROLE_TARGET},
    {"target", FLIP_ROLE_TARGET},
    {"targetid", FLIP_ROLE_TARGET},
    {"targetnode", FLIP_ROLE_TARGET},
    {"targetnodeid", FLIP_ROLE_TARGET},
    {"to", FLIP_ROLE_TARGET},
    {"toid", FLIP_ROLE_TARGET},
    {"tonode", FLIP_ROLE_TARGET},
    {"tonodeid", FLIP_ROLE_TARGET},
    {"receiver", FLIP_ROLE_TARGET},
    {"receiverid", FLIP_ROLE_TARGET},
    {"recipient", FLIP_ROLE_TARGET},
    {"v", FLIP_ROLE_TARGET},
    {"node2", FLIP_ROLE_TARGET},
    {"id2", FLIP_ROLE_TARGET},
    {"tail", FLIP_ROLE_TARGET},
    {"payee", FLIP_ROLE_TARGET},
    {"weight", FLIP_ROLE_WEIGHT},
    {"w", FLIP_ROLE_WEIGHT},
    {"value", FLIP_ROLE_WEIGHT},
    {"amount", FLIP_ROLE_WEIGHT},
    {"rating", FLIP_ROLE_WEIGHT},
    {"time", FLIP_ROLE_TIME},
    {"t", FLIP_ROLE_TIME},
    {"timestamp", FLIP_ROLE_TIME},
    {"ts", FLIP_ROLE_TIME},
    {"unixtime", FLIP_ROLE_TIME},
    {"date", FLIP_ROLE_TIME},
    {"datetime", FLIP_ROLE_TIME},
    {"day", FLIP_ROLE_TIME},
    {"step", FLIP_ROLE_TIME},
    {"label", FLIP_ROLE_LABEL},
    {"srcclass", FLIP_ROLE_SOURCE_CLASS},
    {"dstclass", FLIP_ROLE_TARGET_CLASS},
};

flip_role flip_role_of_name(const char *name, size_t length) {
    char plain[32];
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        if (strchr(" _-.#", name[i])) continue;
        if (n + 1 == sizeof plain) return FLIP_ROLE_NONE;
        plain[n++] = (char)tolower((unsigned char)name[i]);
    }
    plain[n] = '\0';
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (!strcmp(aliases[i].name, plain)) return aliases[i].role;
    return FLIP_ROLE_NONE;
}

static flip_role role_named(const char *name) {
    for (int role = FLIP_ROLE_SOURCE; role < FLIP_ROLE_COUNT; role++)
        if (!strcmp(name, flip_role_name((flip_role)role))) return (flip_role)role;
    return FLIP_ROLE_NONE;
}

static flip_status set_role(flip_columns *columns, int32_t column, flip_role role,
                            const char *path) {
    if (role != FLIP_ROLE_NONE && columns->column[role] >= 0 && columns->column[role] != column)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "'%s': columns %d and %d are both %s; --columns says which is meant", path,
                         columns->column[role] + 1, column + 1, flip_role_name(role));
    if (role != FLIP_ROLE_NONE) columns->column[role] = column;
    columns->role[column] = (uint8_t)role;
    return FLIP_OK;
}

/* "a, b, c", or as many as fit and "…". */
static const char *list_names(const char *const *names, size_t n, char *text, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(names[i]);
        if (used + length + 8 > size) {
            memcpy(text + used, "…", sizeof "…");
            break;
        }
        used += (size_t)snprintf(text + used, size - used, "%s%s", names[i], i + 1 < n ? ", " : "");
    }
    return text;
}

/* A column called `name`, or number `name` counted from 1; refuses with the nearest name. */
static flip_status find_column(const flip_columns *columns, const char *name, const char *path,
                               int32_t *column) {
    char *end, list[160] = "";
    long number = strtol(name, &end, 10);
    for (*column = 0; *column < columns->n; ++*column)
        if (columns->name[*column] && !strcmp(columns->name[*column], name)) return FLIP_OK;
    if (*name && !*end && number >= 1 && number <= columns->n) {
        *column = (int32_t)number - 1;
        return FLIP_OK;
    }
    const char **known;
    FLIP_TRY(flip_alloc(&known, (size_t)columns->n, sizeof *known, "column names"));
    size_t n_known = 0;
    for (int32_t c = 0; c < columns->n; c++)
        if (columns->name[c]) known[n_known++] = columns->name[c];
    const char *near = flip_suggest(name, known, n_known);
    flip_status status =
        near      ? FLIP_FAIL(FLIP_ERROR_USAGE, "'%s' has no column '%s'; did you mean '%s'?", path,
                              name, near)
        : n_known ? FLIP_FAIL(FLIP_ERROR_USAGE, "'%s' has no column '%s'; it has %s", path, name,
                              list_names(known, n_known, list, sizeof list))
                  : FLIP_FAIL(FLIP_ERROR_USAGE,
                              "'%s' has no column '%s' and no header; give a number from 1 to %d, "
                              "or names with --columns",
                              path, name, columns->n);
    flip_free(known);
    return status;
}

static flip_status replace_name(char **slot, const char *name) {
    char *copy = strdup(name);
    if (!copy) return FLIP_FAIL(FLIP_ERROR_MEMORY, "cannot allocate a column name");
    free(*slot);
    *slot = copy;
    return FLIP_OK;
}

/* One item of --columns: a name for place `at`, "-" to leave it out, or role=column. */
static flip_status take_item(flip_columns *columns, const char *item, int32_t at, bool by_name,
                             const char *path) {
    char role_text[32];
    const char *equals = strchr(item, '=');
    if (!by_name) {
        flip_role role = role_named(item);
        if (strcmp(item, "-") != 0 && strcmp(item, "_") != 0)
            FLIP_TRY(replace_name(&columns->name[at], item));
        return set_role(columns, at, role, path);
    }
    int32_t column;
    if (!equals)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--columns has '%s' beside role=column items; write every item as "
                         "role=column, or every item as a name",
                         item);
    snprintf(role_text, sizeof role_text, "%.*s", (int)(equals - item), item);
    flip_role role = role_named(role_text);
    if (role == FLIP_ROLE_NONE) {
        static const char *const roles[] = {"src",   "dst",       "weight",   "time",
                                            "label", "src_class", "dst_class"};
        const char *near = flip_suggest(role_text, roles, sizeof roles / sizeof *roles);
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--columns has '%s', expected src, dst, weight, time, label, src_class or "
                         "dst_class before '='%s%s%s",
                         role_text, near ? "; did you mean '" : "", near ? near : "",
                         near ? "'?" : "");
    }
    FLIP_TRY(find_column(columns, equals + 1, path, &column));
    return set_role(columns, column, role, path);
}

/* Is item `at` of the list '-'? */
static bool left_out(const char *text, int32_t at) {
    for (; at > 0; at--)
        text = strchr(text, ',') + 1;
    text += strspn(text, " ");
    return (*text == '-' || *text == '_') && (text[1] == ',' || !text[1]);
}

static flip_status from_text(flip_columns *columns, const char *text, const char *path) {
    bool by_name = strchr(text, '=') != NULL;
    int32_t n_items = 1;
    for (const char *p = text; *p; p++)
        n_items += *p == ',';
    if (!by_name && n_items != columns->n)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--columns names %d columns, but '%s' has %d; give every column a name, "
                         "'-' for one to leave out",
                         n_items, path, columns->n);
    char *copy = strdup(text), *rest = copy;
    if (!copy) return FLIP_FAIL(FLIP_ERROR_MEMORY, "cannot allocate --columns");
    flip_status status = FLIP_OK;
    for (int32_t at = 0; rest && status == FLIP_OK; at++) {
        char *item = strsep(&rest, ",");
        while (*item == ' ')
            item++;
        status = take_item(columns, item, at, by_name, path);
    }
    /* "source,target": usual names stand for roles that no column was given by its own name */
    for (int32_t c = 0; c < columns->n && !by_name && status == FLIP_OK; c++) {
        const char *name = columns->name[c];
        if (!name || columns->role[c] != FLIP_ROLE_NONE || left_out(text, c)) continue;
        flip_role role = flip_role_of_name(name, strlen(name));
        if (role != FLIP_ROLE_NONE && columns->column[role] < 0)
            status = set_role(columns, c, role, path);
    }
    free(copy);
    return status;
}

static flip_status from_header(flip_columns *columns, const char *path,
                               const flip_columns_params *params) {
    for (int32_t c = 0; c < columns->n; c++) {
        flip_role role = flip_role_of_name(columns->name[c], strlen(columns->name[c]));
        /* the first of several likely names wins, except for the two ends */
        if (role != FLIP_ROLE_SOURCE && role != FLIP_ROLE_TARGET && columns->column[role] >= 0)
            continue;
        if (params->plain && role == FLIP_ROLE_TIME) continue;
        FLIP_TRY(set_role(columns, c, role, path));
    }
    return FLIP_OK;
}

/* No names: src dst [time | weight] or src dst weight time. */
static flip_status from_places(flip_columns *columns, const flip_layout *layout, const char *path,
                               const flip_columns_params *params) {
    char third = columns->n > 2 ? layout->kinds[2] : 0,
         fourth = columns->n > 3 ? layout->kinds[3] : 0;
    columns->guessed = true;
    if (columns->n < 2)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "%s:%lld: found one column, expected at least a source and a target; is "
                         "the delimiter right? (--delimiter)",
                         path, (long long)layout->first_line);
    FLIP_TRY(set_role(columns, 0, FLIP_ROLE_SOURCE, path));
    FLIP_TRY(set_role(columns, 1, FLIP_ROLE_TARGET, path));
    if (columns->n > 4 || third == 't' || fourth == 't' || (columns->n == 4 && third == 'd'))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "'%s' has %d columns and no header that names them; say what they are: "
                         "--columns src,dst,weight,time ('-' leaves one out)",
                         path, columns->n);
    if (columns->n == 4) {
        FLIP_TRY(set_role(columns, 2, FLIP_ROLE_WEIGHT, path));
        if (!params->plain) FLIP_TRY(set_role(columns, 3, FLIP_ROLE_TIME, path));
    } else if (columns->n == 3) {
        bool time = !params->plain && (params->stepped || third == 'd');
        FLIP_TRY(set_role(columns, 2, time ? FLIP_ROLE_TIME : FLIP_ROLE_WEIGHT, path));
    }
    return FLIP_OK;
}

static flip_status set_label(flip_columns *columns, const char *label, const char *path) {
    int32_t column;
    if (!label) return FLIP_OK;
    columns->sign = !strcmp(label, "sign");
    if (columns->sign && columns->column[FLIP_ROLE_WEIGHT] < 0)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--label sign needs a weight column, and '%s' has none; name it with "
                         "--columns src,dst,weight,time",
                         path);
    if (columns->sign) return FLIP_OK;
    flip_role role = role_named(label);
    if (role != FLIP_ROLE_NONE && columns->column[role] >= 0)
        column = columns->column[role];
    else
        FLIP_TRY(find_column(columns, label, path, &column));
    columns->column[FLIP_ROLE_LABEL] = column;
    if (column == columns->column[FLIP_ROLE_SOURCE] ||
        column == columns->column[FLIP_ROLE_TARGET] || column == columns->column[FLIP_ROLE_TIME])
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--label names column %d, which is the %s column",
                         column + 1, flip_role_name((flip_role)columns->role[column]));
    if (column ==
        columns->column[FLIP_ROLE_WEIGHT]) /* the label is the weight: adjacency weight 1 */
        columns->column[FLIP_ROLE_WEIGHT] = -1;
    columns->role[column] = FLIP_ROLE_LABEL;
    return FLIP_OK;
}

flip_status flip_columns_choose(flip_columns *columns, const flip_layout *layout, const char *path,
                                const flip_columns_params *params) {
    *columns = (flip_columns){.n = layout->n_columns};
    for (int role = 0; role < FLIP_ROLE_COUNT; role++)
        columns->column[role] = -1;
    FLIP_TRY(flip_alloc_zero(&columns->role, (size_t)columns->n, 1, "columns"));
    FLIP_TRY(flip_alloc_zero(&columns->name, (size_t)columns->n, sizeof(char *), "columns"));
    for (int32_t c = 0; c < columns->n && layout->names; c++)
        FLIP_TRY(replace_name(&columns->name[c], layout->names[c]));
    if (params->columns)
        FLIP_TRY(from_text(columns, params->columns, path));
    else if (layout->names)
        FLIP_TRY(from_header(columns, path, params));
    bool ends = columns->column[FLIP_ROLE_SOURCE] >= 0 && columns->column[FLIP_ROLE_TARGET] >= 0;
    if (!ends && params->columns)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--columns '%s' names no %s column; it needs src and dst", params->columns,
                         columns->column[FLIP_ROLE_SOURCE] < 0 ? "src" : "dst");
    if (!ends && layout->names &&
        (columns->n > 4 || columns->column[FLIP_ROLE_SOURCE] >= 0 ||
         columns->column[FLIP_ROLE_TARGET] >= 0))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "'%s': its header does not say which columns are the ends of an edge (the "
                         "first is '%s'); say it: --columns src=COLUMN,dst=COLUMN",
                         path, columns->name[0]);
    if (!ends) {
        memset(columns->role, 0, (size_t)columns->n);
        for (int role = 0; role < FLIP_ROLE_COUNT; role++)
            columns->column[role] = -1;
        FLIP_TRY(from_places(columns, layout, path, params));
    }
    return set_label(columns, params->label, path);
}

void flip_columns_finish(flip_columns *columns) {
    for (int32_t c = 0; columns->name && c < columns->n; c++)
        free(columns->name[c]);
    flip_free(columns->name);
    flip_free(columns->role);
    columns->name = NULL;
    columns->role = NULL;
}

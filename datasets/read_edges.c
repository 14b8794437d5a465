/* The main loop of import. Every line first takes the fast way: one pass over its bytes, numbers
 * straight into the columns. What that way does not know (comments, quotes, text ids, negative ids,
 * faults) takes the careful way, which knows everything and names what is wrong. */
#include "datasets/read_edges.h"
#include "datasets/read_number.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- batches: ids become codes a few hundred at a time ---- */

static void time_range(flip_edges *edges, const int64_t *time, int64_t n, bool first) {
    if (edges->time_double) {
        for (int64_t i = 0; i < n; i++) {
            double value;
            memcpy(&value, &time[i], sizeof value);
            if ((first && i == 0) || value < edges->double_least) edges->double_least = value;
            if ((first && i == 0) || value > edges->double_most) edges->double_most = value;
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        if ((first && i == 0) || time[i] < edges->time_least) edges->time_least = time[i];
        if ((first && i == 0) || time[i] > edges->time_most) edges->time_most = time[i];
    }
}

static flip_status flush(flip_edge_reader *r) {
    int64_t n = r->n_batch;
    flip_edge_chunk *chunk = r->chunk;
    if (n > 0) {
        if (r->ids->kind == FLIP_IDS_TEXT) {
            for (int64_t i = 0; i < n; i++) {
                chunk->src[chunk->n + i] = (uint32_t)r->src[i];
                chunk->dst[chunk->n + i] = (uint32_t)r->dst[i];
            }
        } else {
            FLIP_TRY(flip_ids_map(r->ids, r->src, n, chunk->src + chunk->n));
            flip_id_kind kind = r->ids->kind;
            FLIP_TRY(flip_ids_map(r->ids, r->dst, n, chunk->dst + chunk->n));
            if (r->ids->kind != kind) /* a target ended direct mode: the sources' codes too */
                FLIP_TRY(flip_ids_map(r->ids, r->src, n, chunk->src + chunk->n));
        }
        if (chunk->time && r->step < 0)
            time_range(r->edges, chunk->time + chunk->n, n, r->edges->n == 0);
        chunk->n += n;
        r->edges->n += n;
        r->n_batch = 0;
    }
    return flip_edges_room(r->edges, FLIP_EDGE_BATCH, &r->chunk);
}

/* ---- the fast way ---- */

static inline const char *fast_time(flip_edge_reader *r, const char *p, int64_t *time) {
    double value;
    int64_t integer;
    bool whole;
    if (r->time_form != FLIP_TIME_NUMBER) {
        const char *start = p, *end;
        double fraction;
        while (*p != r->layout->delimiter && *p != '\n' && *p != '\r' && *p != '"')
            p++;
        for (end = p; end > start && end[-1] == ' ';)
            end--;
        if (r->time_form != FLIP_TIME_DATE || *p == '"' || r->edges->time_double ||
            !flip_parse_date(start, (size_t)(end - start), &integer, &fraction) || fraction != 0)
            return NULL;
        value = (double)integer;
    } else {
        p = flip_scan_number(p, &value, &integer, &whole);
        if (!p || (!whole && !r->edges->time_double)) return NULL;
    }
    if (r->bounded && value < r->start) return NULL;
    if (r->edges->time_double)
        memcpy(time, &value, sizeof value);
    else
        *time = integer;
    return p;
}

/* A label's field ends at the delimiter; blanks and a \r before the line's end are not part of it.
 */
static inline const char *fast_label(flip_edge_reader *r, const char *p, int32_t *label) {
    const char *start = p, *end;
    char delimiter = r->layout->delimiter;
    uint32_t code;
    while (*p != delimiter && *p != '\n' && *p != '"' && !(delimiter == ' ' && *p == '\t'))
        p++;
    for (end = p; end > start && (end[-1] == ' ' || end[-1] == '\r' || end[-1] == '\t');)
        end--;
    if (*p == '"' || end == start) return NULL;
    if (!flip_names_find(r->labels, start, (size_t)(end - start), &code)) return NULL;
    *label = (int32_t)code;
    return p;
}

static inline const char *fast_weight(flip_edge_reader *r, const char *p, int64_t at) {
    double value;
    int64_t integer;
    bool whole;
    p = flip_scan_number(p, &value, &integer, &whole);
    if (!p || fabs(value) > FLT_MAX) return NULL;
    if (r->columns->sign) {
        if (value == 0) return NULL;
        r->chunk->label[at] = value > 0;
        return p;
    }
    r->chunk->weight[at] = (float)value;
    r->weights_differ |= value != 1;
    return p;
}

static inline const char *fast_line(flip_edge_reader *r, const char *p) {
    const uint8_t *role = r->columns->role;
    const char delimiter = r->layout->delimiter;
    const bool blanks = delimiter == ' ';
    const int32_t n = r->columns->n;
    const int64_t k = r->n_batch, at = r->chunk->n + k;
    while (blanks && (*p == ' ' || *p == '\t'))
        p++;
    for (int32_t c = 0; c < n; c++) {
        while (!blanks && *p == ' ')
            p++;
        switch (role[c]) {
        case FLIP_ROLE_SOURCE:
            p = flip_scan_id(p, &r->src[k]);
            break;
        case FLIP_ROLE_TARGET:
            p = flip_scan_id(p, &r->dst[k]);
            break;
        case FLIP_ROLE_WEIGHT:
            p = fast_weight(r, p, at);
            break;
        case FLIP_ROLE_TIME:
            p = fast_time(r, p, &r->chunk->time[at]);
            break;
        case FLIP_ROLE_LABEL:
            p = fast_label(r, p, &r->chunk->label[at]);
            break;
        default:
            while (*p != delimiter && *p != '\n' && *p != '"' && !(blanks && *p == '\t'))
                p++;
            if (*p == '"') return NULL;
        }
        if (!p) return NULL;
        while (!blanks && *p == ' ')
            p++;
        if (c + 1 < n) {
            if (*p != delimiter && !(blanks && *p == '\t')) return NULL;
            p++;
        }
        while (blanks && (*p == ' ' || *p == '\t'))
            p++;
    }
    p += *p == '\r';
    return *p == '\n' ? p + 1 : NULL;
}

/* ---- the careful way ---- */

/* "file:line:column: weight is 'abc', expected a number; …" */
static flip_status bad_field(const flip_edge_reader *r, const char *line, int32_t column,
                             const char *expected) {
    flip_field field = r->field[column];
    int shown = field.length < 40 ? (int)field.length : 40;
    const char *name = r->columns->name[column];
    flip_role role = (flip_role)r->columns->role[column];
    return FLIP_FAIL(FLIP_ERROR_INPUT, "%s:%lld:%lld: column %d (%s) is '%.*s%s', expected %s",
                     flip_text_path(r->text), (long long)r->text->line,
                     (long long)(field.at - line + 1), column + 1,
                     name ? name : flip_role_name(role), shown, field.at,
                     field.length > 40 ? "…" : "", expected);
}

static flip_status wrong_count(const flip_edge_reader *r, int32_t n) {
    char names[160] = "";
    size_t used = 0;
    for (int32_t c = 0; c < r->columns->n && used < sizeof names - 1; c++) {
        const char *name = r->columns->name[c] ? r->columns->name[c]
                                               : flip_role_name((flip_role)r->columns->role[c]);
        int wrote = snprintf(names + used, sizeof names - used, "%s%s", c ? ", " : "", name);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "%s:%lld: found %d field%s, expected %d (%s), split at %s; mend the line, or "
                     "name the delimiter with --delimiter",
                     flip_text_path(r->text), (long long)r->text->line, n, n == 1 ? "" : "s",
                     r->columns->n, names, flip_delimiter_name(r->layout->delimiter));
}

static flip_status begin_text_ids(flip_edge_reader *r, const flip_field *field) {
    FLIP_TRY(flush(r));
    FLIP_TRY(flip_ids_to_text(r->ids));
    r->text_line = r->text->line;
    int length =
        field->length < sizeof r->text_id - 1 ? (int)field->length : (int)sizeof r->text_id - 1;
    snprintf(r->text_id, sizeof r->text_id, "%.*s", length, field->at);
    return FLIP_OK;
}

/* One end of the edge: an integer id, or the code of a text id. */
static flip_status take_id(flip_edge_reader *r, const char *line, int32_t column, int64_t *id) {
    flip_field *field = &r->field[column];
    uint32_t code;
    if (r->ids->kind != FLIP_IDS_TEXT) {
        flip_number kind = flip_parse_integer(field->at, field->length, id);
        if (kind == FLIP_NUMBER_OVERFLOW)
            return bad_field(r, line, column,
                             "an id below 2^63; --ids text keeps such ids as text");
        if (kind == FLIP_NUMBER_OK && flip_is_plain_integer(field->at, field->length))
            return FLIP_OK;
    }
    if (field->length == 0) return bad_field(r, line, column, "a node id");
    if (r->ids->kind != FLIP_IDS_TEXT) {
        if (r->id_policy == FLIP_IDS_ONLY_NUMBERS)
            return bad_field(r, line, column, "an integer id (--ids number)");
        if (flip_is_missing(field->at, field->length))
            return bad_field(r, line, column, "a node id; --ids text takes the word as a name");
        FLIP_TRY(begin_text_ids(r, field));
    }
    FLIP_TRY(flip_ids_text(r->ids, field->at, field->length, &code));
    *id = code;
    return FLIP_OK;
}

static flip_status take_both_ids(flip_edge_reader *r, const char *line, int64_t id[2]) {
    int32_t source = r->columns->column[FLIP_ROLE_SOURCE],
            target = r->columns->column[FLIP_ROLE_TARGET];
    bool text = r->ids->kind == FLIP_IDS_TEXT;
    FLIP_TRY(take_id(r, line, source, &id[0]));
    FLIP_TRY(take_id(r, line, target, &id[1]));
    if (!text && r->ids->kind == FLIP_IDS_TEXT) /* the second id, or the first, changed the kind */
        FLIP_TRY(take_id(r, line, source, &id[0]));
    return FLIP_OK;
}

static flip_status time_of_field(flip_edge_reader *r, const char *line, int32_t column,
                                 int64_t *integer, double *value, bool *whole) {
    flip_field field = r->field[column];
    double fraction = 0;
    *whole = true;
    if (r->time_form == FLIP_TIME_DATE) {
        if (!flip_parse_date(field.at, field.length, integer, &fraction))
            return bad_field(r, line, column,
                             "a date such as 2010-11-08 or 2010-11-08T18:45:11Z; another form: "
                             "--time-format '%d.%m.%Y'");
    } else if (r->time_form == FLIP_TIME_PATTERN) {
        if (!flip_parse_pattern(field.at, field.length, r->time_pattern, integer))
            return bad_field(r, line, column, "a date of the form given by --time-format");
    } else if (flip_parse_integer(field.at, field.length, integer) != FLIP_NUMBER_OK) {
        flip_number kind = flip_parse_double(field.at, field.length, value);
        *whole = false;
        if (kind == FLIP_NUMBER_OK) return FLIP_OK;
        return bad_field(r, line, column,
                         kind == FLIP_NUMBER_NOT_FINITE ? "a time; leave the line out"
                         : kind == FLIP_NUMBER_OVERFLOW
                             ? "a time that fits a number"
                             : "a time in numbers; for dates see --time-format");
    }
    *value = (double)*integer + fraction;
    *whole = fraction == 0;
    return FLIP_OK;
}

static flip_status take_time(flip_edge_reader *r, const char *line, int32_t column, int64_t *time) {
    double value;
    bool whole;
    FLIP_TRY(time_of_field(r, line, column, time, &value, &whole));
    if (r->bounded && value < r->start)
        return bad_field(r, line, column, "a time not before --start");
    if (!whole && !r->edges->time_double) {
        FLIP_TRY(flush(r));
        if (!flip_edges_times_to_double(r->edges))
            return bad_field(r, line, column,
                             "an integer, as times before it are integers beyond 2^53");
    }
    if (r->edges->time_double && whole && (*time > 1ll << 53 || *time < -(1ll << 53)))
        return bad_field(r, line, column, "a time below 2^53, as other times have fractions");
    if (r->edges->time_double) memcpy(time, &value, sizeof value);
    return FLIP_OK;
}

static flip_status take_weight(flip_edge_reader *r, const char *line, int32_t column,
                               double *value) {
    flip_number kind = flip_parse_double(r->field[column].at, r->field[column].length, value);
    if (kind == FLIP_NUMBER_NOT_FINITE)
        return bad_field(r, line, column, "a finite number; leave the line or the column out");
    if (kind == FLIP_NUMBER_OVERFLOW || (kind == FLIP_NUMBER_OK && fabs(*value) > FLT_MAX))
        return bad_field(r, line, column, "a number within the range of 32-bit floats (3.4e38)");
    if (kind != FLIP_NUMBER_OK)
        return bad_field(r, line, column,
                         "a number; other columns: --columns src,dst,- leaves this one out");
    if (r->columns->sign && *value == 0)
        return bad_field(r, line, column,
                         "a number above or below 0, as --label sign takes its sign");
    return FLIP_OK;
}

static flip_status take_label(flip_edge_reader *r, const char *line, int32_t column,
                              int32_t *label) {
    enum { CLASSES_MOST = 1 << 20 };
    flip_field field = r->field[column];
    uint32_t code;
    *label = -1;
    if (field.length == 0) {
        r->n_unlabelled++;
        return FLIP_OK;
    }
    if (r->labels->n == CLASSES_MOST && !flip_names_find(r->labels, field.at, field.length, &code))
        return bad_field(r, line, column,
                         "one of at most 1048576 classes; is this column a class?");
    FLIP_TRY(flip_names_add(r->labels, field.at, field.length, CLASSES_MOST, &code));
    *label = (int32_t)code;
    return FLIP_OK;
}

/* The class of a node named on an edge: the same on every edge of the node. */
static flip_status take_class(flip_edge_reader *r, const char *line, int32_t column,
                              uint32_t node) {
    uint32_t code;
    if (column < 0 || r->field[column].length == 0) return FLIP_OK;
    flip_field field = r->field[column];
    if (node >= r->node_class_room) {
        int64_t room = 2 * (int64_t)node + 1024;
        FLIP_TRY(flip_grow(&r->node_class, (size_t)r->node_class_room, (size_t)room,
                           sizeof(int32_t), "classes of nodes"));
        memset(r->node_class + r->node_class_room, 0xFF,
               (size_t)(room - r->node_class_room) * sizeof(int32_t));
        r->node_class_room = room;
    }
    FLIP_TRY(flip_names_add(r->classes, field.at, field.length, FLIP_NODES_MOST, &code));
    int32_t before = r->node_class[node];
    if (before >= 0 && before != (int32_t)code) {
        char expected[96];
        size_t length;
        const char *text = flip_names_text(r->classes, before, &length);
        snprintf(expected, sizeof expected, "'%.*s', the class of the same node in lines above",
                 length < 40 ? (int)length : 40, text);
        return bad_field(r, line, column, expected);
    }
    r->node_class[node] = (int32_t)code;
    return FLIP_OK;
}

static flip_status take_classes(flip_edge_reader *r, const char *line) {
    const int32_t *column = r->columns->column;
    if (column[FLIP_ROLE_SOURCE_CLASS] < 0 && column[FLIP_ROLE_TARGET_CLASS] < 0) return FLIP_OK;
    const uint32_t *src = r->chunk->src + r->chunk->n, *dst = r->chunk->dst + r->chunk->n;
    FLIP_TRY(flush(r)); /* the codes of this line's nodes */
    FLIP_TRY(take_class(r, line, column[FLIP_ROLE_SOURCE_CLASS], *src));
    return take_class(r, line, column[FLIP_ROLE_TARGET_CLASS], *dst);
}

static flip_status take_row(flip_edge_reader *r, const char *line) {
    const int32_t *column = r->columns->column;
    int64_t id[2], time = 0;
    int32_t label = -1;
    double weight = 1;
    FLIP_TRY(take_both_ids(r, line, id));
    if (column[FLIP_ROLE_TIME] >= 0) FLIP_TRY(take_time(r, line, column[FLIP_ROLE_TIME], &time));
    if (column[FLIP_ROLE_WEIGHT] >= 0)
        FLIP_TRY(take_weight(r, line, column[FLIP_ROLE_WEIGHT], &weight));
    if (column[FLIP_ROLE_LABEL] >= 0)
        FLIP_TRY(take_label(r, line, column[FLIP_ROLE_LABEL], &label));
    if (r->columns->sign) label = weight > 0;
    int64_t at = r->chunk->n + r->n_batch;
    r->src[r->n_batch] = id[0];
    r->dst[r->n_batch] = id[1];
    if (r->chunk->time) r->chunk->time[at] = time;
    if (r->chunk->weight) r->chunk->weight[at] = (float)weight;
    if (r->chunk->label) r->chunk->label[at] = label;
    r->weights_differ |= r->chunk->weight && weight != 1;
    r->n_batch++;
    return take_classes(r, line);
}

static flip_status careful_line(flip_edge_reader *r, char *line, char **next) {
    bool comment;
    int32_t n;
    char *end = flip_line_end(line, next);
    if (flip_line_skipped(r->layout, line, end, &comment)) {
        r->n_comments += comment;
        r->n_empty += !comment;
        if (comment && !r->first_comment) r->first_comment = r->text->line;
        if (comment) r->last_comment = r->text->line;
        return FLIP_OK;
    }
    if (!flip_split(line, end, r->layout->delimiter, r->field, r->columns->n, &n))
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "%s:%lld: a quoted field does not end on its line, or text follows its "
                         "closing quote; quotes inside a field are doubled",
                         flip_text_path(r->text), (long long)r->text->line);
    return n == r->columns->n ? take_row(r, line) : wrong_count(r, n);
}

/* ---- the loop ---- */

/* Lines up to the header, which need not be in this part of the file. */
static flip_status skip_header(flip_edge_reader *r) {
    flip_text *text = r->text;
    while (text->line <= r->layout->header_line) {
        if (text->begin == text->limit) FLIP_TRY(flip_text_fill(text));
        if (text->begin == text->limit) break;
        bool comment;
        char *next, *line = text->buffer + text->begin, *end = flip_line_end(line, &next);
        bool skipped = flip_line_skipped(r->layout, line, end, &comment);
        r->n_comments += skipped && comment;
        if (skipped && comment && !r->first_comment) r->first_comment = text->line;
        text->begin += (size_t)(next - line);
        text->line++;
    }
    return FLIP_OK;
}

static flip_status read_block(flip_edge_reader *r) {
    flip_text *text = r->text;
    const bool fast = r->ids->kind != FLIP_IDS_TEXT &&
                      r->columns->column[FLIP_ROLE_SOURCE_CLASS] < 0 &&
                      r->columns->column[FLIP_ROLE_TARGET_CLASS] < 0;
    char *line = text->buffer + text->begin, *limit = text->buffer + text->limit;
    while (line < limit) {
        char *next = fast ? (char *)fast_line(r, line) : NULL;
        if (next)
            r->n_batch++;
        else
            FLIP_TRY(careful_line(r, line, &next));
        text->line++;
        line = next;
        if (r->n_batch == FLIP_EDGE_BATCH) FLIP_TRY(flush(r));
        if (fast && r->ids->kind == FLIP_IDS_TEXT)
            break; /* ids turned to text: no fast way any more */
    }
    text->begin = (size_t)(line - text->buffer);
    return FLIP_OK;
}

/* Snapshots: the step stands in the time column. */
static void set_steps(flip_edge_reader *r, int64_t first_chunk, int64_t first) {
    for (int64_t c = first_chunk; c < r->edges->n_chunks; c++, first = 0)
        for (int64_t i = first; i < r->edges->chunk[c].n; i++)
            r->edges->chunk[c].time[i] = r->step;
}

static flip_status read_rest(flip_edge_reader *r) {
    FLIP_TRY(flush(r)); /* room for the first batch */
    int64_t first_chunk = r->edges->n_chunks - 1, first = r->chunk->n;
    FLIP_TRY(skip_header(r));
    for (;;) {
        if (r->text->begin == r->text->limit) FLIP_TRY(flip_text_fill(r->text));
        if (r->text->begin == r->text->limit) break;
        FLIP_TRY(read_block(r));
        int64_t size = flip_source_size(r->text->source);
        if (r->progress && size > 0)
            r->progress(r->user, (double)flip_source_done(r->text->source) / (double)size);
    }
    FLIP_TRY(flush(r));
    if (r->step >= 0) set_steps(r, first_chunk, first);
    return FLIP_OK;
}

flip_status flip_edges_read(flip_edge_reader *r, flip_text *text, const flip_layout *layout,
                            const flip_columns *columns) {
    flip_status status;
    r->text = text;
    r->layout = layout;
    r->columns = columns;
    r->n_batch = 0;
    r->field = NULL;
    r->src = r->dst = NULL;
    FLIP_TRY_GOTO(flip_alloc(&r->field, (size_t)columns->n, sizeof *r->field, "fields"));
    FLIP_TRY_GOTO(flip_alloc(&r->src, FLIP_EDGE_BATCH, sizeof *r->src, "ids"));
    FLIP_TRY_GOTO(flip_alloc(&r->dst, FLIP_EDGE_BATCH, sizeof *r->dst, "ids"));
    if (r->id_policy == FLIP_IDS_ONLY_TEXT) FLIP_TRY_GOTO(flip_ids_to_text(r->ids));
    bool classes = columns->column[FLIP_ROLE_SOURCE_CLASS] >= 0 ||
                   columns->column[FLIP_ROLE_TARGET_CLASS] >= 0;
    if (classes) FLIP_TRY_GOTO(flip_ids_to_number(r->ids));
    FLIP_TRY_GOTO(read_rest(r));
done:
    flip_free(r->field);
    flip_free(r->src);
    flip_free(r->dst);
    return status;
}

void flip_edge_reader_finish(flip_edge_reader *reader) {
    flip_free(reader->node_class);
    reader->node_class = NULL;
}

/* The files of an import into columns of edges, and their times into steps. */
#include "datasets/import_private.h"
#include "datasets/read_number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- how times are written ---- */

static const struct {
    const char *name;
    double seconds;
} units[] = {{"seconds", 1},  {"s", 1},         {"ms", 1e-3},    {"milliseconds", 1e-3},
             {"us", 1e-6},    {"ns", 1e-9},     {"minutes", 60}, {"hours", 3600},
             {"days", 86400}, {"weeks", 604800}};

static flip_status choose_time_form(flip_import_state *s, char kind) {
    const char *format = s->p->time_format ? s->p->time_format : "auto";
    s->unit = 1;
    s->reader.time_form = kind == 'd' ? FLIP_TIME_DATE : FLIP_TIME_NUMBER;
    if (!strcmp(format, "auto")) return FLIP_OK;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(format, units[i].name)) {
            s->unit = units[i].seconds;
            s->reader.time_form = FLIP_TIME_NUMBER;
            return FLIP_OK;
        }
    s->reader.time_form = !strcmp(format, "iso") ? FLIP_TIME_DATE : FLIP_TIME_PATTERN;
    s->reader.time_pattern = format;
    if (s->reader.time_form == FLIP_TIME_PATTERN && !strchr(format, '%'))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--time-format is '%s', expected auto, seconds, ms, us, ns, minutes, "
                         "hours, days, weeks, iso, or a pattern such as '%%d.%%m.%%Y %%H:%%M'",
                         format);
    return FLIP_OK;
}

/* --start: in the unit of the file's times. */
static flip_status parse_start(flip_import_state *s) {
    const char *text = s->p->start;
    int64_t seconds;
    double value;
    if (!text) return FLIP_OK;
    s->reader.bounded = true;
    if (flip_parse_double(text, strlen(text), &value) == FLIP_NUMBER_OK) {
        s->reader.start = value;
        return FLIP_OK;
    }
    bool date = flip_parse_date(text, strlen(text), &seconds, &value);
    if (!date && s->reader.time_form == FLIP_TIME_PATTERN) {
        value = 0;
        date = flip_parse_pattern(text, strlen(text), s->reader.time_pattern, &seconds);
    }
    if (!date)
        return FLIP_FAIL(
            FLIP_ERROR_USAGE,
            "--start is '%s', expected a time as in the file, or a date such as 2010-11-08", text);
    s->reader.start = ((double)seconds + value) / s->unit;
    return FLIP_OK;
}

static flip_status parse_id_policy(flip_import_state *s) {
    const char *ids = s->p->ids ? s->p->ids : "auto";
    if (!strcmp(ids, "auto"))
        s->reader.id_policy = FLIP_IDS_AUTO;
    else if (!strcmp(ids, "number"))
        s->reader.id_policy = FLIP_IDS_ONLY_NUMBERS;
    else if (!strcmp(ids, "text"))
        s->reader.id_policy = FLIP_IDS_ONLY_TEXT;
    else
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--ids is '%s', expected auto, number or text", ids);
    return FLIP_OK;
}

/* ---- files ---- */

static void describe_columns(flip_import_state *s, const flip_columns *columns) {
    char *out = s->report->columns;
    size_t room = sizeof s->report->columns, used = 0;
    for (int32_t c = 0; c < columns->n && used < room - 1; c++) {
        flip_role role = (flip_role)columns->role[c];
        const char *name = columns->name[c] ? columns->name[c] : flip_role_name(role);
        bool same = !strcmp(name, flip_role_name(role));
        int n = same ? snprintf(out + used, room - used, "%s%s", c ? ", " : "", name)
                     : snprintf(out + used, room - used, "%s%s%s%s", c ? ", " : "", name,
                                role ? " = " : " (not used)", role ? flip_role_name(role) : "");
        used += n > 0 ? (size_t)n : 0;
    }
    s->report->guessed = columns->guessed;
}

/* The first file decides which columns there are; all others must agree. */
static flip_status begin_columns(flip_import_state *s, const flip_layout *layout,
                                 const flip_columns *columns) {
    int32_t time = columns->column[FLIP_ROLE_TIME];
    s->begun = true;
    s->edges.has_time = time >= 0 || s->snapshots;
    s->edges.has_weight = columns->column[FLIP_ROLE_WEIGHT] >= 0 && !columns->sign;
    s->edges.has_label = columns->column[FLIP_ROLE_LABEL] >= 0 || columns->sign;
    s->has_sign = columns->sign;
    s->stepped = time >= 0 || s->snapshots;
    FLIP_TRY(choose_time_form(s, time >= 0 ? layout->kinds[time] : 'i'));
    FLIP_TRY(parse_start(s));
    s->report->header = layout->header;
    snprintf(s->report->delimiter, sizeof s->report->delimiter, "%s",
             flip_delimiter_name(layout->delimiter));
    describe_columns(s, columns);
    if (time < 0 && (s->p->step || s->p->n_steps > 1))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         s->snapshots ? "--step and --steps do not go with snapshots, where each "
                                        "of the files (as '%s') is a step"
                                      : "--step needs times, and '%s' has no time column; name it "
                                        "with --columns src,dst,time",
                         s->file[0]);
    return FLIP_OK;
}

static flip_status same_columns(flip_import_state *s, const flip_columns *columns,
                                const char *path) {
    bool time = columns->column[FLIP_ROLE_TIME] >= 0,
         weight = columns->column[FLIP_ROLE_WEIGHT] >= 0;
    bool agree = (s->snapshots || time == s->edges.has_time) &&
                 weight == (s->edges.has_weight || s->has_sign);
    if (agree) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "'%s' has other columns than '%s' (%s); all files of a graph need the same",
                     path, s->file[0], s->report->columns);
}

static void file_progress(void *user, double fraction) {
    flip_import_state *s = user;
    flip_import_progress(s, "reading", ((double)s->report->n_files + fraction) / s->n_files);
}

/* Several files are dealt whole, in runs, so that ranks hold the lines in their order. */
static bool is_mine(const flip_import_state *s, int32_t number) {
    int64_t size = flip_comm_size(s->p->comm);
    return s->n_files == 1 || number * size / s->n_files == flip_comm_rank(s->p->comm);
}

/* This rank's part of the file: all of it, or lines of an equal share of its bytes. */
static flip_status open_part(flip_import_state *s, const char *path, flip_text *text) {
    int size = flip_comm_size(s->p->comm);
    if (size == 1 || s->n_files > 1) return FLIP_OK; /* as it is open for its layout */
    bool bare_cr = text->bare_cr;
    flip_text_close(text);
    return flip_text_open_part(text, path, flip_comm_rank(s->p->comm), size, bare_cr);
}

static flip_status read_one(flip_import_state *s, int32_t number, flip_text *text,
                            flip_layout *layout, flip_columns *columns) {
    const flip_import_params *p = s->p;
    const char *path = s->file[number];
    FLIP_TRY(flip_text_open(text, path));
    FLIP_TRY(flip_layout_detect(layout, text,
                                &(flip_layout_params){.delimiter = p->delimiter,
                                                      .header = p->header,
                                                      .comment = p->comment}));
    FLIP_TRY(flip_columns_choose(columns, layout, path,
                                 &(flip_columns_params){.columns = p->columns,
                                                        .label = p->label,
                                                        .stepped = p->step || p->n_steps > 0,
                                                        .plain = s->snapshots || s->upper}));
    if (!s->begun)
        FLIP_TRY(begin_columns(s, layout, columns));
    else
        FLIP_TRY(same_columns(s, columns, path));
    s->reader.step = s->snapshots ? number : -1;
    snprintf(s->report->packing, sizeof s->report->packing, "%s",
             flip_wrapping_name(flip_source_wrapping(text->source)));
    if (!is_mine(s, number)) return FLIP_OK;
    FLIP_TRY(open_part(s, path, text));
    return flip_edges_read(&s->reader, text, layout, columns);
}

/* A snapshot without any edge is a step without edges, not an error. */
static bool has_rows(const char *path) {
    char head[4096];
    size_t got = 0;
    bool rows = true;
    flip_source *source = NULL;
    if (flip_source_open(&source, path) != FLIP_OK) return true; /* the reader will say it */
    if (flip_source_read(source, head, sizeof head, &got) == FLIP_OK && got < sizeof head) {
        rows = false;
        bool line_start = true, comment = false;
        for (size_t i = 0; i < got && !rows; i++) {
            if (line_start) comment = head[i] == '#' || head[i] == '%';
            line_start = head[i] == '\n';
            rows = !comment && !strchr(" \t\r\n", head[i]);
        }
    }
    flip_source_close(&source);
    return rows;
}

flip_status flip_import_read_edges(flip_import_state *s) {
    flip_ids_init(&s->ids, &s->edges);
    s->reader.edges = &s->edges;
    s->reader.ids = &s->ids;
    s->reader.labels = &s->edge_labels;
    s->reader.classes = &s->node_classes;
    s->reader.progress = file_progress;
    s->reader.user = s;
    FLIP_TRY(parse_id_policy(s));
    if (s->p->node_table) FLIP_TRY(flip_ids_to_number(&s->ids));
    for (int32_t i = 0; i < s->n_files; i++) {
        flip_text text = {0};
        flip_layout layout = {0};
        flip_columns columns = {0};
        flip_status status = FLIP_OK;
        bool needed = is_mine(s, i) || !s->begun; /* the first one tells the columns to all */
        if (needed && (!s->snapshots || has_rows(s->file[i])))
            status = read_one(s, i, &text, &layout, &columns);
        flip_columns_finish(&columns);
        flip_layout_finish(&layout);
        flip_text_close(&text);
        FLIP_TRY(status);
        s->report->n_files++;
    }
    s->report->n_rows = s->edges.n;
    s->report->n_comments = s->reader.n_comments;
    s->report->first_comment = s->reader.first_comment;
    s->report->last_comment = s->reader.last_comment;
    s->report->n_empty = s->reader.n_empty;
    return FLIP_OK;
}

/* ---- steps ---- */

static double least(const flip_import_state *s) {
    return s->edges.time_double ? s->edges.double_least : (double)s->edges.time_least;
}

static double most(const flip_import_state *s) {
    return s->edges.time_double ? s->edges.double_most : (double)s->edges.time_most;
}

/* "2010-11-08 18:45:11" where the time can be seconds since 1970, else the number. */
static void show_time(const flip_import_state *s, double time, char *out, size_t size) {
    double seconds = time * s->unit;
    bool date = s->reader.time_form != FLIP_TIME_NUMBER || (seconds > 3e8 && seconds < 5e9);
    time_t whole = (time_t)floor(seconds);
    struct tm when;
    if (date && gmtime_r(&whole, &when))
        strftime(out, size, "%Y-%m-%d %H:%M:%S", &when);
    else
        snprintf(out, size, "%.15g", time);
}

/* A width that people use and that gives 20 to 200 steps. */
static void suggest_width(const flip_import_state *s, char *out, size_t size) {
    static const struct {
        const char *name;
        double seconds;
    } usual[] = {{"1s", 1},     {"10s", 10},   {"60s", 60},    {"10min", 600},   {"1h", 3600},
                 {"6h", 21600}, {"1d", 86400}, {"7d", 604800}, {"14d", 1209600}, {"30d", 2592000}};
    double span = (most(s) - least(s)) * s->unit;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (span / usual[i].seconds <= 200 && span / usual[i].seconds >= 5) {
            snprintf(out, size, "--step %s makes %.0f steps, --steps 1 a static graph",
                     usual[i].name, floor(span / usual[i].seconds) + 1);
            return;
        }
    snprintf(out, size,
             "--steps 100 cuts them into 100 equal ones, --steps 1 makes a static graph");
}

/* Neither --step nor --steps: small whole numbers are steps themselves, other times need a word. */
static flip_status width_unsaid(flip_import_state *s) {
    flip_binning *b = &s->binning;
    enum { COUNTABLE = 5000 };
    char from[64], to[64], advice[160];
    bool plain = s->reader.time_form == FLIP_TIME_NUMBER && !s->edges.time_double;
    if (plain && s->edges.time_most - COUNTABLE < s->edges.time_least) {
        b->width = 1;
        b->whole_width = 1;
        flip_import_note(
            s, "no --step given: the times are whole numbers %lld to %lld, each is taken as a step",
            (long long)s->edges.time_least, (long long)s->edges.time_most);
        return FLIP_OK;
    }
    show_time(s, least(s), from, sizeof from);
    show_time(s, most(s), to, sizeof to);
    suggest_width(s, advice, sizeof advice);
    return FLIP_FAIL(FLIP_ERROR_USAGE,
                     "'%s' has times from %s to %s, and no --step says how long a step is; %s",
                     s->file[0], from, to, advice);
}

static flip_status width_by_step(flip_import_state *s) {
    flip_binning *b = &s->binning;
    bool in_seconds;
    if (!flip_parse_duration(s->p->step, &b->width, &in_seconds))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--step is '%s', expected a duration such as 14d, 12h, 30min, 1200000s, "
                         "500ms, or a number in the unit of the times",
                         s->p->step);
    if (in_seconds) b->width /= s->unit;
    if (!(b->width > 0))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--step is '%s', expected more than 0", s->p->step);
    if (!b->in_double && b->width == floor(b->width) && b->width < 9e18)
        b->whole_width = (int64_t)b->width;
    return FLIP_OK;
}

/* N equal steps from the first time to the last one. */
static flip_status width_by_count(flip_import_state *s) {
    flip_binning *b = &s->binning;
    b->count = s->p->n_steps;
    if (b->in_double) {
        double span = most(s) - b->start;
        if (!isfinite(span))
            return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s': times from %g to %g are too far apart",
                             s->file[0], b->start, most(s));
        b->width = span / (double)b->count;
        if (!(b->width > 0)) b->width = 1;
        return FLIP_OK;
    }
    if (__builtin_sub_overflow(s->edges.time_most, b->start_integer, &b->span) ||
        b->span == INT64_MAX)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s': times from %lld to %lld are too far apart",
                         s->file[0], (long long)s->edges.time_least, (long long)s->edges.time_most);
    b->span++; /* the last time lies inside the last step */
    b->width = (double)b->span / (double)b->count;
    return FLIP_OK;
}

static flip_status set_start(flip_import_state *s) {
    flip_binning *b = &s->binning;
    b->in_double = s->edges.time_double;
    b->start = s->reader.bounded ? s->reader.start : least(s);
    if (!b->in_double && b->start != floor(b->start)) {
        if (!flip_edges_times_to_double(&s->edges))
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "--start %s has a fraction, but times beyond 2^53 need a whole number",
                             s->p->start);
        b->in_double = true;
    }
    b->start_integer = b->in_double        ? 0
                       : s->reader.bounded ? (int64_t)b->start
                                           : s->edges.time_least;
    return FLIP_OK;
}

static flip_status count_steps(flip_import_state *s) {
    flip_binning *b = &s->binning;
    double steps = floor((most(s) - b->start) / b->width) + 1;
    int64_t since, last;
    if (!(steps < 2147483648.0) ||
        (!b->in_double && __builtin_sub_overflow(s->edges.time_most, b->start_integer, &since)))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--step %s makes %.4g steps, more than 2147483647; take longer steps (or "
                         "is the unit of the times another? --time-format ms)",
                         s->p->step ? s->p->step : "1", steps);
    last = s->edges.time_most;
    if (b->in_double) memcpy(&last, &s->edges.double_most, sizeof last);
    b->n_steps = b->count ? b->count : flip_binning_step(b, last) + 1;
    if (!b->count && b->n_steps > 100 * s->n_edges + 1000)
        flip_import_note(s,
                         "%lld steps for %lld edges: nearly all steps are empty; is the step (%s) "
                         "meant in another unit?",
                         (long long)b->n_steps, (long long)s->n_edges,
                         s->p->step ? s->p->step : "1");
    return FLIP_OK;
}

static void describe_width(const flip_import_state *s, char *out, size_t size) {
    double seconds = s->binning.width * s->unit;
    bool clock = s->p->step || s->reader.time_form != FLIP_TIME_NUMBER || s->p->time_format;
    if (clock && seconds >= 86400)
        snprintf(out, size, "%.15g (%.6g day%s)", s->binning.width, seconds / 86400,
                 seconds == 86400 ? "" : "s");
    else if (clock && seconds >= 3600)
        snprintf(out, size, "%.15g (%.6g hour%s)", s->binning.width, seconds / 3600,
                 seconds == 3600 ? "" : "s");
    else
        snprintf(out, size, "%.15g", s->binning.width);
}

flip_status flip_import_bin_times(flip_import_state *s) {
    char from[64], to[64], start[64], width[64];
    if (!s->stepped) return FLIP_OK;
    if (s->snapshots) {
        s->binning.n_steps = s->report->n_files;
        snprintf(s->report->time, sizeof s->report->time,
                 "each of the %lld files is a step, in the order of their names; first '%s'",
                 (long long)s->report->n_files, s->file[0]);
        return FLIP_OK;
    }
    if (s->p->n_steps < 0 || s->p->n_steps > INT32_MAX)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--steps is %lld, expected 1 to 2147483647",
                         (long long)s->p->n_steps);
    if (s->p->step && s->p->n_steps)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--step and --steps are both given; give the width or the number");
    FLIP_TRY(set_start(s));
    FLIP_TRY(s->p->step ? width_by_step(s) : s->p->n_steps ? width_by_count(s) : width_unsaid(s));
    FLIP_TRY(count_steps(s));
    show_time(s, least(s), from, sizeof from);
    show_time(s, most(s), to, sizeof to);
    show_time(s, s->binning.start, start, sizeof start);
    describe_width(s, width, sizeof width);
    snprintf(s->report->time, sizeof s->report->time, "%s to %s; step 0 starts at %s, width %s",
             from, to, start, width);
    return FLIP_OK;
}

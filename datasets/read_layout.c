/* What the first lines of a table show: its delimiter, its columns, and whether a header stands on
 * top. The rules, in order:
 *   delimiter  the first of , ; | tab that gives every line the same number (two or more) of fields
 *              (, and ; : the one that gives more); a tab whose fields are themselves several
 * numbers, and all other files, are split at runs of blanks and tabs; header     the first line has
 * no field that is a number or a date, and either some column below it has nothing else, or its
 * names are usual ones for the two ends of an edge. */
#include "datasets/read_text.h"
#include "datasets/read_columns.h"
#include "datasets/read_number.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLE = 100, COLUMNS_MOST = 1 << 16 };

typedef struct sample {
    char *copy; /* of the lines, owned */
    char *at[SAMPLE], *end[SAMPLE];
    int64_t line[SAMPLE];
    int32_t n;
} sample;

const char *flip_delimiter_name(char delimiter) {
    switch (delimiter) {
    case ' ':
        return "blanks";
    case '\t':
        return "tab";
    case ',':
        return "comma";
    case ';':
        return "semicolon";
    case '|':
        return "bar";
    default:
        return "character";
    }
}

static flip_status parse_params(flip_layout *layout, const flip_layout_params *params) {
    static const struct {
        const char *name;
        char delimiter;
    } named[] = {{"auto", 0},    {"tab", '\t'},      {"\\t", '\t'},
                 {"space", ' '}, {"blank", ' '},     {"blanks", ' '},
                 {"comma", ','}, {"semicolon", ';'}, {"bar", '|'}};
    const char *text = params->delimiter ? params->delimiter : "auto";
    bool known = strlen(text) == 1 && !strchr("\"\n\r0123456789.-+", *text);
    layout->delimiter = known ? *text : 0;
    for (size_t i = 0; i < sizeof named / sizeof *named && !known; i++)
        if (!strcmp(text, named[i].name)) {
            layout->delimiter = named[i].delimiter;
            known = true;
        }
    if (!known)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--delimiter is '%s', expected one character or auto, tab, space, comma, "
                         "semicolon, bar",
                         text);
    const char *comment = params->comment ? params->comment : "#%";
    if (strlen(comment) >= sizeof layout->comment)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--comment is '%s', expected at most %zu characters",
                         comment, sizeof layout->comment - 1);
    strcpy(layout->comment, comment);
    const char *header = params->header ? params->header : "auto";
    if (strcmp(header, "auto") && strcmp(header, "yes") && strcmp(header, "no"))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--header is '%s', expected auto, yes or no", header);
    return FLIP_OK;
}

/* Copies the first rows: splitting unquotes in place. */
static flip_status take_sample(sample *sample, const flip_layout *layout, const flip_text *text) {
    int64_t line = text->line;
    size_t bytes = text->limit - text->begin;
    FLIP_TRY(flip_alloc(&sample->copy, bytes + 1, 1, "first lines"));
    memcpy(sample->copy, text->buffer + text->begin, bytes);
    sample->copy[bytes] = '\0';
    for (char *at = sample->copy, *next; at < sample->copy + bytes && sample->n < SAMPLE;
         at = next) {
        bool comment;
        char *end = flip_line_end(at, &next);
        if (!flip_line_skipped(layout, at, end, &comment)) {
            sample->at[sample->n] = at;
            sample->end[sample->n] = end;
            sample->line[sample->n++] = line;
        }
        line++;
    }
    return FLIP_OK;
}

/* Fields of a line; delimiters inside quotes do not count. */
static int32_t count_fields(const char *p, const char *end, char delimiter) {
    bool quoted = false, blanks = delimiter == ' ';
    int32_t n = 1;
    while (blanks && end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    while (blanks && p < end && (*p == ' ' || *p == '\t'))
        p++;
    for (; p < end; p++) {
        bool here = *p == delimiter || (blanks && *p == '\t');
        quoted ^= *p == '"';
        if (!here || quoted) continue;
        n++;
        while (blanks && p + 1 < end && (p[1] == ' ' || p[1] == '\t'))
            p++;
    }
    return n;
}

/* Fields a line by a vote of the lines (Boyer and Moore's), 0 without a majority: a short or long
 * line here and there does not hide the table, the reader tells its number. */
static int32_t usual_fields(const sample *sample, char delimiter) {
    int32_t usual = 0, lead = 0, agree = 0;
    for (int32_t i = 0; i < sample->n; i++) {
        int32_t n = count_fields(sample->at[i], sample->end[i], delimiter);
        if (lead == 0) usual = n;
        lead += n == usual ? 1 : -1;
    }
    for (int32_t i = 0; i < sample->n; i++)
        agree += count_fields(sample->at[i], sample->end[i], delimiter) == usual;
    bool half_is_enough = delimiter != '\t'; /* of two lines, that is */
    return 2 * agree + half_is_enough > sample->n ? usual : 0;
}

/* Does a field between tabs hold several numbers, as in KONECT's "1 2<TAB>1<TAB>99"? */
static bool blanks_in_numbers(const sample *sample) {
    char *at = sample->at[sample->n - 1], *end = sample->end[sample->n - 1];
    bool number_before = false;
    for (char *p = at; p < end; p++) {
        bool digit = *p >= '0' && *p <= '9';
        if (*p == ' ' && number_before && p + 1 < end && p[1] >= '0' && p[1] <= '9') return true;
        if (!digit && !strchr(" \t.-", *p)) return false;
        number_before = digit;
    }
    return false;
}

static char guess_delimiter(const sample *sample) {
    static const char single[] = {',', ';', '|'};
    char best = 0;
    int32_t most = 0;
    for (size_t i = 0; i < sizeof single; i++) {
        int32_t n = usual_fields(sample, single[i]);
        if (n > 1 && n > most) {
            best = single[i];
            most = n;
        }
    }
    if (best) return best;
    return usual_fields(sample, '\t') > 1 && !blanks_in_numbers(sample) ? '\t' : ' ';
}

static char kind_of(flip_field field) {
    int64_t integer;
    double number;
    if (field.length == 0 || flip_is_missing(field.at, field.length)) return 0; /* says nothing */
    if (flip_parse_integer(field.at, field.length, &integer) == FLIP_NUMBER_OK) return 'i';
    if (flip_parse_double(field.at, field.length, &number) == FLIP_NUMBER_OK) return 'f';
    return flip_parse_date(field.at, field.length, &integer, &number) ? 'd' : 't';
}

/* What the fields of a column were, by kind; the majority names the column, so that one bad field
 * among numbers is met by the reader, which tells its line, and does not make the column text. */
typedef struct tally {
    int32_t integers, decimals, dates, texts;
} tally;

static void count_kind(tally *t, char kind) {
    t->integers += kind == 'i';
    t->decimals += kind == 'f';
    t->dates += kind == 'd';
    t->texts += kind == 't';
}

static char kind_of_column(const tally *t) {
    int32_t numbers = t->integers + t->decimals;
    if (numbers + t->dates + t->texts == 0) return 0;
    if (t->dates > numbers && t->dates >= t->texts) return 'd';
    if (numbers >= t->texts) return t->decimals ? 'f' : 'i';
    return 't';
}

static flip_status bad_quote(const flip_text *text, int64_t line) {
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "%s:%lld: a quoted field does not end on its line (or text follows its "
                     "closing quote); write it on one line, quotes inside doubled",
                     flip_text_path(text), (long long)line);
}

/* Kinds of the first line alone and of all the others together, [n_columns] each. */
static flip_status judge_columns(const flip_layout *layout, const flip_text *text, sample *sample,
                                 flip_field *names, flip_field *fields, char *first, tally *below) {
    for (int32_t i = 0; i < sample->n; i++) {
        int32_t n = 0;
        flip_field *row = i == 0 ? names : fields;
        if (!flip_split(sample->at[i], sample->end[i], layout->delimiter, row, layout->n_columns,
                        &n))
            return bad_quote(text, sample->line[i]);
        for (int32_t c = 0; c < n && c < layout->n_columns; c++) {
            char kind = kind_of(row[c]);
            if (i == 0)
                first[c] = kind;
            else
                count_kind(&below[c], kind);
        }
    }
    return FLIP_OK;
}

static bool looks_like_header(const flip_layout *layout, const char *first,
                              const flip_field *names) {
    bool contrast = false, source = false, target = false;
    for (int32_t c = 0; c < layout->n_columns; c++) {
        if (first[c] != 't') return false;
        contrast = contrast || (layout->kinds[c] && layout->kinds[c] != 't');
        flip_role role = flip_role_of_name(names[c].at, names[c].length);
        source = source || role == FLIP_ROLE_SOURCE;
        target = target || role == FLIP_ROLE_TARGET;
    }
    return contrast || (source && target);
}

static flip_status keep_names(flip_layout *layout, const flip_field *fields) {
    FLIP_TRY(
        flip_alloc_zero(&layout->names, (size_t)layout->n_columns, sizeof(char *), "column names"));
    for (int32_t c = 0; c < layout->n_columns; c++) {
        layout->names[c] = strndup(fields[c].at, fields[c].length);
        if (!layout->names[c]) return FLIP_FAIL(FLIP_ERROR_MEMORY, "cannot allocate a column name");
    }
    return FLIP_OK;
}

static flip_status judge(flip_layout *layout, flip_text *text, sample *sample,
                         const flip_layout_params *params, flip_field *fields, char *first,
                         tally *below) {
    flip_field *names = fields + layout->n_columns; /* the first line's */
    const char *header = params->header ? params->header : "auto";
    int32_t names_found =
        count_fields(sample->at[0], sample->end[0], layout->delimiter); /* before quotes go */
    FLIP_TRY(judge_columns(layout, text, sample, names, fields, first, below));
    for (int32_t c = 0; c < layout->n_columns; c++)
        layout->kinds[c] = kind_of_column(&below[c]);
    layout->header = !strcmp(header, "yes") ||
                     (!strcmp(header, "auto") && looks_like_header(layout, first, names));
    if (layout->header && names_found != layout->n_columns)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "%s:%lld: the header has %d names, but most lines below have %d fields; "
                         "mend the header",
                         flip_text_path(text), (long long)sample->line[0], names_found,
                         layout->n_columns);
    if (layout->header) FLIP_TRY(keep_names(layout, names));
    for (int32_t c = 0; c < layout->n_columns; c++) {
        if (!layout->header) count_kind(&below[c], first[c]);
        layout->kinds[c] = kind_of_column(&below[c]);
        if (!layout->kinds[c]) layout->kinds[c] = 't';
    }
    layout->n_sample = sample->n - layout->header;
    layout->header_line = layout->header ? sample->line[0] : 0;
    layout->first_line = sample->line[layout->header && sample->n > 1 ? 1 : 0];
    return FLIP_OK;
}

static flip_status empty_file(const flip_text *text) {
    return FLIP_FAIL(
        FLIP_ERROR_INPUT,
        "%s:1: the file holds no rows (it is empty, or all comments); expected one edge a line",
        flip_text_path(text));
}

flip_status flip_layout_detect(flip_layout *layout, flip_text *text,
                               const flip_layout_params *params) {
    flip_status status;
    flip_field *fields = NULL;
    char *first = NULL;
    tally *below = NULL;
    sample *sample = NULL;
    *layout = (flip_layout){0};
    FLIP_TRY(parse_params(layout, params));
    FLIP_TRY(flip_alloc_zero(&sample, 1, sizeof *sample, "first lines"));
    /* a first block of nothing but comments is passed over */
    for (;;) {
        if (text->begin == text->limit) FLIP_TRY_GOTO(flip_text_fill(text));
        if (text->begin == text->limit) {
            status = empty_file(text);
            goto done;
        }
        flip_free(sample->copy);
        sample->copy = NULL;
        FLIP_TRY_GOTO(take_sample(sample, layout, text));
        if (sample->n > 0) break;
        for (; text->begin < text->limit; text->begin++)
            text->line += text->buffer[text->begin] == '\n';
    }
    if (!layout->delimiter) layout->delimiter = guess_delimiter(sample);
    int32_t n = usual_fields(sample, layout->delimiter);
    if (n == 0) n = count_fields(sample->at[0], sample->end[0], layout->delimiter);
    if (n > COLUMNS_MOST) {
        status = FLIP_FAIL(FLIP_ERROR_INPUT, "%s:%lld: %d columns, more than %d",
                           flip_text_path(text), (long long)sample->line[0], n, COLUMNS_MOST);
        goto done;
    }
    layout->n_columns = n;
    FLIP_TRY_GOTO(flip_alloc_zero(&fields, 2 * (size_t)n, sizeof *fields, "fields"));
    FLIP_TRY_GOTO(flip_alloc_zero(&first, (size_t)n, 1, "column kinds"));
    FLIP_TRY_GOTO(flip_alloc_zero(&layout->kinds, (size_t)n, 1, "column kinds"));
    FLIP_TRY_GOTO(flip_alloc_zero(&below, (size_t)n, sizeof *below, "column kinds"));
    FLIP_TRY_GOTO(judge(layout, text, sample, params, fields, first, below));
done:
    flip_free(sample->copy);
    flip_free(sample);
    flip_free(fields);
    flip_free(first);
    flip_free(below);
    if (status != FLIP_OK) flip_layout_finish(layout);
    return status;
}

void flip_layout_finish(flip_layout *layout) {
    for (int32_t c = 0; layout->names && c < layout->n_columns; c++)
        free(layout->names[c]);
    flip_free(layout->names);
    flip_free(layout->kinds);
    layout->names = NULL;
    layout->kinds = NULL;
}

/* Blocks of whole lines, and the fields of a line. */
#include "datasets/read_text.h"

#include <string.h>

static const size_t block = 4u << 20, line_most = 64u << 20; /* bytes */
enum { SLACK = 64 };

flip_status flip_text_open(flip_text *text, const char *path) {
    *text = (flip_text){.line = 1, .stop = -1};
    return flip_source_open(&text->source, path);
}

flip_status flip_text_open_memory(flip_text *text, const char *name, const void *bytes,
                                  size_t size) {
    *text = (flip_text){.line = 1, .stop = -1};
    return flip_source_open_memory(&text->source, name, bytes, size);
}

void flip_text_close(flip_text *text) {
    flip_source_close(&text->source);
    flip_free(text->buffer);
    text->buffer = NULL;
}

const char *flip_text_path(const flip_text *text) {
    return flip_source_path(text->source);
}

/* Room for one more block after the unfinished line. */
static flip_status make_room(flip_text *text) {
    size_t kept = text->end - text->begin;
    if (kept > line_most)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "%s:%lld: a line of more than %zu MiB; is this a text file of edges?",
                         flip_text_path(text), (long long)text->line, line_most >> 20);
    if (text->capacity < kept + block / 2 && (kept || !text->capacity)) {
        int64_t size = flip_source_size(text->source);
        bool small = flip_source_wrapping(text->source) == FLIP_WRAPPING_PLAIN && size >= 0 &&
                     size < (int64_t)block;
        size_t capacity = text->capacity ? 2 * text->capacity
                          : small        ? (size_t)size + SLACK
                                         : block;
        char *bigger;
        FLIP_TRY(flip_alloc(&bigger, capacity + SLACK, 1, "text buffer"));
        if (kept) memcpy(bigger, text->buffer + text->begin, kept);
        flip_free(text->buffer);
        text->buffer = bigger;
        text->capacity = capacity;
    } else if (kept) {
        memmove(text->buffer, text->buffer + text->begin, kept);
    }
    text->offset += (int64_t)text->begin;
    text->begin = text->limit = 0;
    text->end = kept;
    return FLIP_OK;
}

static flip_status nul_byte(const flip_text *text, const char *at) {
    int64_t line = text->line, column = 1;
    for (const char *p = text->buffer; p < at; p++) {
        column++;
        if (*p == '\n') line++, column = 1;
    }
    return FLIP_FAIL(
        FLIP_ERROR_INPUT,
        "%s:%lld:%lld: found a NUL byte, expected text; the file is binary, damaged or UTF-16",
        flip_text_path(text), (long long)line, (long long)column);
}

/* The first block decides about the byte-order mark and about \r alone as line end. */
static void look_at_start(flip_text *text) {
    text->started = true;
    if (text->end >= 3 && !memcmp(text->buffer, "\xEF\xBB\xBF", 3)) {
        text->end -= 3;
        text->offset = 3;
        if (text->stop > 0 && text->stop <= 3) text->stop = 4; /* the first line is this part's */
        memmove(text->buffer, text->buffer + 3, text->end);
    }
    char *cr = memchr(text->buffer, '\r', text->end);
    text->bare_cr =
        cr && !memchr(text->buffer, '\n', text->end) && cr + 1 < text->buffer + text->end;
}

/* The last line of a part is the one that holds the byte before the next part. */
static void stop_at_part(flip_text *text) {
    int64_t last = text->stop - 1 - text->offset;
    if (last >= (int64_t)text->limit) return;
    char *end = last < 0 ? NULL : memchr(text->buffer + last, '\n', text->limit - (size_t)last);
    text->limit = end ? (size_t)(end + 1 - text->buffer) : text->begin;
    text->end = text->limit;
    text->ended = true;
}

flip_status flip_text_fill(flip_text *text) {
    while (!text->ended) {
        size_t got, old;
        FLIP_TRY(make_room(text));
        old = text->end;
        FLIP_TRY(flip_source_read(text->source, text->buffer + old, text->capacity - old, &got));
        text->ended = got < text->capacity - old;
        text->end += got;
        char *nul = memchr(text->buffer + old, '\0', got);
        if (nul) return nul_byte(text, nul);
        if (!text->started) look_at_start(text);
        if (text->bare_cr)
            for (char *p = text->buffer + old; p < text->buffer + text->end; p++)
                if (*p == '\r') *p = '\n';
        if (text->ended && text->end > 0 && text->buffer[text->end - 1] != '\n')
            text->buffer[text->end++] = '\n';
        memset(text->buffer + text->end, 0, SLACK - 1);
        char *last = text->end ? memrchr(text->buffer, '\n', text->end) : NULL;
        if (last) {
            text->limit = (size_t)(last + 1 - text->buffer);
            if (text->stop >= 0) stop_at_part(text);
            return FLIP_OK;
        }
    }
    text->begin = text->limit = text->end;
    return FLIP_OK;
}

/* ---- parts ---- */

static flip_status unpacked_size(const char *path, int64_t *size) {
    enum { BLOCK = 1 << 18 };
    flip_source *source;
    char *buffer = NULL;
    size_t got = 1;
    FLIP_TRY(flip_source_open(&source, path));
    flip_status status = FLIP_OK;
    *size = flip_source_size(source);
    if (flip_source_wrapping(source) != FLIP_WRAPPING_PLAIN || *size < 0) {
        *size = 0;
        status = flip_alloc(&buffer, BLOCK, 1, "read buffer");
        while (status == FLIP_OK && got > 0) {
            status = flip_source_read(source, buffer, BLOCK, &got);
            *size += (int64_t)got;
        }
    }
    flip_free(buffer);
    flip_source_close(&source);
    return status;
}

/* Reads over the first `bytes` bytes, counting lines; *at_start: the next byte begins a line. */
static flip_status read_over(flip_text *text, int64_t bytes, bool *at_start) {
    enum { BLOCK = 1 << 18 };
    char *buffer, line_end = text->bare_cr ? '\r' : '\n';
    FLIP_TRY(flip_alloc(&buffer, BLOCK, 1, "read buffer"));
    flip_status status = FLIP_OK;
    *at_start = true;
    while (bytes > 0 && status == FLIP_OK) {
        size_t got, want = bytes < BLOCK ? (size_t)bytes : BLOCK;
        status = flip_source_read(text->source, buffer, want, &got);
        if (status != FLIP_OK || got == 0) break;
        for (char *p = buffer; (p = memchr(p, line_end, (size_t)(buffer + got - p))); p++)
            text->line++;
        *at_start = buffer[got - 1] == line_end;
        bytes -= (int64_t)got;
        text->offset += (int64_t)got;
    }
    flip_free(buffer);
    return status;
}

flip_status flip_text_open_part(flip_text *text, const char *path, int part, int parts,
                                bool bare_cr) {
    int64_t size;
    bool at_start;
    *text = (flip_text){.line = 1, .stop = -1};
    FLIP_TRY(unpacked_size(path, &size));
    FLIP_TRY(flip_text_open(text, path));
    int64_t first = (int64_t)((__int128)size * part / parts);
    text->stop = (int64_t)((__int128)size * (part + 1) / parts);
    if (first == 0) return FLIP_OK;
    text->started = true; /* the byte-order mark is behind */
    text->bare_cr = bare_cr;
    FLIP_TRY(read_over(text, first, &at_start));
    if (at_start) return FLIP_OK;
    FLIP_TRY(flip_text_fill(text)); /* the rest of a line that began in another part */
    char *end = text->begin < text->limit ? memchr(text->buffer, '\n', text->limit) : NULL;
    if (!end) return FLIP_OK;
    text->begin = (size_t)(end + 1 - text->buffer);
    text->line++;
    return FLIP_OK;
}

char *flip_line_end(char *at, char **next) {
    char *end = strchr(at, '\n'); /* there is one: the block ends with it and holds no NUL */
    *next = end + 1;
    return end > at && end[-1] == '\r' ? end - 1 : end;
}

bool flip_line_skipped(const flip_layout *layout, const char *at, const char *end, bool *comment) {
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    *comment = at < end && *at && strchr(layout->comment, *at);
    return at == end || *comment;
}

static char *trim(char *at, char *end, flip_field *field) {
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *field = (flip_field){at, (size_t)(end - at)};
    return end;
}

/* A field in quotes, "" inside standing for one: unquoted in place. Returns the byte after it. */
static char *unquote(char *at, char *end, flip_field *field) {
    char *to = at, *p = at + 1;
    for (;; p++) {
        if (p >= end) return NULL;
        if (*p == '"') {
            if (p + 1 >= end || p[1] != '"') break;
            p++;
        }
        *to++ = *p;
    }
    *field = (flip_field){at, (size_t)(to - at)};
    return p + 1;
}

bool flip_split(char *at, char *end, char delimiter, flip_field *fields, int32_t most, int32_t *n) {
    flip_field field;
    bool blanks = delimiter == ' ';
    *n = 0;
    while (blanks && at < end && (*at == ' ' || *at == '\t'))
        at++;
    for (;;) {
        char *stop = at;
        while (stop < end && *stop == ' ' && !blanks)
            stop++;
        if (stop < end && *stop == '"') {
            stop = unquote(stop, end, &field);
            if (!stop) return false;
            while (stop < end && *stop == ' ' && !blanks)
                stop++;
            if (stop < end && *stop != delimiter && !(blanks && *stop == '\t')) return false;
        } else {
            stop = at;
            while (stop < end && *stop != delimiter && !(blanks && *stop == '\t'))
                stop++;
            trim(at, stop, &field);
        }
        if (*n < most) fields[*n] = field;
        ++*n;
        while (blanks && stop < end && (*stop == ' ' || *stop == '\t'))
            stop++;
        if (stop >= end) return true;
        at = blanks ? stop : stop + 1;
    }
}

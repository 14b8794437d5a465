/* Text in lines: blocks of whole lines from a source, fields of a line, and what kind of table the
 * first lines show (delimiter, header, columns).
 *
 *     buffer: [ used | begin … whole lines … limit | start of the next line … end )
 *
 * A byte-order mark is taken off, line ends are \n, \r\n or \r alone, a last line without an end
 * gets one, NUL bytes are refused. Lines hold at most 64 MiB. */
#ifndef FLIPBOOK_READ_TEXT_H
#define FLIPBOOK_READ_TEXT_H

#include "datasets/read_source.h"

typedef struct flip_text {
    flip_source *source; /* owned */
    char *buffer;        /* owned, [capacity + 64]; readable past end */
    size_t capacity, begin, limit, end;
    int64_t line;   /* number of the line at begin, counted from 1 */
    int64_t offset; /* of buffer[0] in the unpacked file, bytes */
    int64_t stop;   /* lines that begin at this offset or later are another part's; -1 = none */
    bool started, ended, bare_cr;
} flip_text;

flip_status flip_text_open(flip_text *text, const char *path);
flip_status flip_text_open_memory(flip_text *text, const char *name, const void *bytes,
                                  size_t size);
/* Part `part` of `parts` about equal ones: the lines that begin in it, with their numbers. The
 * whole beginning of the file is read over. bare_cr as flip_text_fill found it at the beginning. */
flip_status flip_text_open_part(flip_text *text, const char *path, int part, int parts,
                                bool bare_cr);
void flip_text_close(flip_text *text);
const char *flip_text_path(const flip_text *text);
/* More whole lines: [begin, limit) afterwards, empty only at the end of the data. Call it when
 * begin == limit. */
flip_status flip_text_fill(flip_text *text);

typedef struct flip_field {
    const char *at;
    size_t length;
} flip_field;

typedef struct flip_layout_params {
    const char
        *delimiter;     /* NULL or "auto", "tab", "space", "comma", "semicolon", or one character */
    const char *header; /* NULL or "auto", "yes", "no" */
    const char *comment; /* characters that begin a comment line; NULL = "#%"; "" = none */
} flip_layout_params;

typedef struct flip_layout {
    char delimiter; /* ' ': any run of blanks and tabs */
    bool header;
    char comment[16];
    int32_t n_columns;
    char **names;        /* [n_columns] of the header, or NULL; owned */
    int64_t first_line;  /* line of the first row of data */
    int64_t header_line; /* line of the header */
    int32_t n_sample;    /* rows seen, header not counted */
    char *kinds;         /* [n_columns] 'i' integers, 'f' numbers, 'd' dates, 't' text; owned */
} flip_layout;

/* Looks at the first lines without using them up. A file without any row is refused. */
flip_status flip_layout_detect(flip_layout *layout, flip_text *text,
                               const flip_layout_params *params);
void flip_layout_finish(flip_layout *layout);
const char *flip_delimiter_name(char delimiter);

/* Fields of the line [at, end) (no line end): at most `most` of them are stored, all are counted.
 * Quoted fields lose their quotes, in place. False: a quote without end. */
bool flip_split(char *at, char *end, char delimiter, flip_field *fields, int32_t most, int32_t *n);
/* The line that begins at `at`: its end without \r, and the beginning of the next. */
char *flip_line_end(char *at, char **next);
/* Is the line empty or a comment? */
bool flip_line_skipped(const flip_layout *layout, const char *at, const char *end, bool *comment);

#endif

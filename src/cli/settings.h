/* The one table of settings, and everything that is made from it. */
#ifndef FLIPBOOK_CLI_SETTINGS_H
#define FLIPBOOK_CLI_SETTINGS_H

#include <flipbook/train.h>
#include <jansson.h>
#include <stdio.h>

typedef enum flip_key_type {
    FLIP_KEY_HEAD,   /* a heading of the help text */
    FLIP_KEY_INT,    /* int64_t in [low, high] */
    FLIP_KEY_REAL,   /* double in [low, high] */
    FLIP_KEY_BYTES,  /* int64_t, suffix K M G T (powers of 1024) */
    FLIP_KEY_CHOICE, /* int32_t, index into choices */
    FLIP_KEY_SWITCH, /* bool; `--key` alone means on */
    FLIP_KEY_WORD,   /* char[FLIP_WORD_SIZE], checked by `pattern` */
    FLIP_KEY_PATH    /* char[FLIP_PATH_SIZE] */
} flip_key_type;

/* Which commands know a key. */
enum { FLIP_FOR_TRAIN = 1, FLIP_FOR_EVALUATE = 2, FLIP_FOR_PREDICT = 4 };

typedef struct flip_key {
    const char *name; /* without the dashes */
    flip_key_type type;
    size_t offset;        /* into flip_settings */
    const char *standard; /* the default, as a user would type it */
    double low, high;     /* INT, REAL, BYTES */
    bool can_be_auto;     /* INT, REAL, BYTES: `auto` = FLIP_UNSET */
    const char *choices;  /* CHOICE: "a|b|c"; WORD: what the help shows; INT: words that may
                             stand for the number, stored as FLIP_WORD_VALUE(index), or NULL */
    const char *ready;    /* "|a|b|": the choices of this version; NULL = all. Others are refused */
    bool (*pattern)(const char *text); /* WORD */
    int commands;                      /* FLIP_FOR_… */
    bool result; /* shapes the result: saved in checkpoints, must agree on --resume */
    const char *help;
} flip_key;

size_t flip_settings_table(const flip_key **table);
const flip_key *flip_settings_find(const char *name);
void flip_settings_default(flip_settings *settings);

/* Set one key from text. `where` begins the message of a bad value ("--lr", "'run.yaml' line 3,
 * lr"). */
flip_status flip_settings_set(flip_settings *settings, const flip_key *key, const char *text,
                              const char *where);
/* Read a YAML file of `key: value` lines. */
flip_status flip_settings_load(flip_settings *settings, const char *path, int command);
/* The whole command line: files named by --settings first, then the options in order. argv[0] is
 * the command's name; the one positional argument is the graph. */
flip_status flip_settings_parse(flip_settings *settings, int argc, char **argv, int command);
/* Values of later versions and combinations that make no sense. */
flip_status flip_settings_check(const flip_settings *settings);

/* Value as a user would type it; size FLIP_PATH_SIZE holds any. */
void flip_settings_format(const flip_settings *settings, const flip_key *key, char *text,
                          size_t size);
json_t *flip_settings_json(const flip_settings *settings); /* new reference; every key of train */
/* Keys of a JSON object made above; others in it are refused, absent ones keep their value. Only
 * keys with `result` set are taken. */
flip_status flip_settings_from_json(flip_settings *settings, const char *json);
/* Three columns; what the user asked for is marked. */
void flip_settings_print(const flip_settings *settings, const flip_settings *asked, FILE *out);
void flip_settings_help(FILE *out, int command);
/* Collective. Every rank must run the same program with the same settings. */
flip_status flip_settings_agree(const flip_settings *settings, flip_comm *comm);

#endif

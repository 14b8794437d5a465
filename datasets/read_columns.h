/* Which column of an edge list means what. */
#ifndef FLIPBOOK_READ_COLUMNS_H
#define FLIPBOOK_READ_COLUMNS_H

#include "datasets/read_text.h"

typedef enum flip_role {
    FLIP_ROLE_NONE, /* not used */
    FLIP_ROLE_SOURCE,
    FLIP_ROLE_TARGET,
    FLIP_ROLE_WEIGHT,
    FLIP_ROLE_TIME,
    FLIP_ROLE_LABEL,        /* class of the edge */
    FLIP_ROLE_SOURCE_CLASS, /* class of the source node, named on every edge */
    FLIP_ROLE_TARGET_CLASS,
    FLIP_ROLE_COUNT
} flip_role;
const char *flip_role_name(flip_role role);
/* The role a header's name suggests: "source", "from_id", "timestamp" … */
flip_role flip_role_of_name(const char *name, size_t length);

typedef struct flip_columns {
    int32_t n;
    uint8_t *role; /* [n] flip_role; the label column may have another role as well */
    char **name;   /* [n] as the user or the header calls it; owned */
    int32_t column[FLIP_ROLE_COUNT]; /* of each role, -1 = absent */
    bool sign;                       /* the label is the weight's sign */
    bool guessed;                    /* roles come from positions, not from names */
} flip_columns;

typedef struct flip_columns_params {
    const char
        *columns; /* "src,dst,weight,time", "src=from,dst=to", NULL = from the header or places */
    const char *label; /* NULL, "sign" or a column */
    bool stepped;      /* steps are asked for: a third number is a time */
    bool plain;        /* a snapshot or static file: never a time unless named */
} flip_columns_params;

flip_status flip_columns_choose(flip_columns *columns, const flip_layout *layout, const char *path,
                                const flip_columns_params *params);
void flip_columns_finish(flip_columns *columns);

#endif

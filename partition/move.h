/* Tables of a file in a new numbering: the machine behind write.c (move.c, travel.c). Private. */
#ifndef FLIPBOOK_PARTITION_MOVE_H
#define FLIPBOOK_PARTITION_MOVE_H

#include "partition/internal.h"

enum { FLIP_MOVE_COLUMNS = 4 };

typedef struct flip_moved_column {
    const char *name;
    flip_type type; /* on disk and in memory */
    int64_t dim2, dim3;
    size_t bytes;  /* an item */
    size_t offset; /* in a packed item */
} flip_moved_column;

typedef enum flip_table_kind {
    FLIP_TABLE_NODES,
    FLIP_TABLE_ROWS,
    FLIP_TABLE_NAMED
} flip_table_kind;

typedef struct flip_table {
    flip_table_kind kind; /* one item a node; a row of items a node; items that name their node */
    const char *index;    /* ROWS: row pointers; NAMED: the column that names the node */
    flip_moved_column columns[FLIP_MOVE_COLUMNS];
    int n_columns;
    size_t item_bytes;
    int64_t n_items;
    bool events; /* columns[0] is src, columns[1] may be step */
} flip_table;

typedef struct flip_move_header {
    flip_gid id; /* new */
    int64_t count;
} flip_move_header;

typedef struct flip_mover {
    flip_comm *comm;
    int rank, size;
    const flip_reader *reader;
    flip_writer *writer;
    const flip_partition *p;
    int64_t n;
    flip_gid *new_of; /* [n] new id of an old one */
    int64_t *new_ptr; /* [n + 1] items of new id i in the new table: new_ptr[i] … */
    int64_t *old_ptr; /* [n + 1] row pointers of the table at hand; NULL */
    flip_gid *bound;  /* [size + 1] who owns what of the window */
    size_t window_bytes;
    /* this rank's items of the window, in the order read */
    flip_move_header *headers;
    char *items;
    int64_t n_headers, headers_capacity, n_picked, items_capacity;
    /* … and what it owns of the window */
    char *own;
    int64_t n_own;
} flip_mover;

/* Bytes a window; 0 = by memory. Tests lower it. The same on every rank. */
extern size_t flip_move_window;

/* Collective: the mover's own arrays; finish frees them. */
flip_status flip_mover_init(flip_mover *mover, int64_t n_nodes);
void flip_mover_finish(flip_mover *mover);
/* Adds a column if the file has it. */
flip_status flip_table_column(flip_mover *mover, flip_table *table, const char *name);
/* Collective: reads, moves and writes a table; nothing where it has no columns. */
flip_status flip_table_move(flip_mover *mover, flip_table *table);

/* First entry of ascending ptr [n + 1] above `item`, less one: the row that holds it. */
int64_t flip_move_row(const int64_t *ptr, int64_t n, int64_t item);
/* mover->bound: ranges of the window low … high-1 with about equal items. */
void flip_move_bounds(flip_mover *mover, flip_gid low, flip_gid high);
/* Collective. mover->own [n_own] = this rank's items of the window, by new id; rows of events by
 * (step, source). */
flip_status flip_move_travel(flip_mover *mover, const flip_table *table);

#endif

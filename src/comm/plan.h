/* Inside the exchange plan: who gets which rows, and an exchange in flight. */
#ifndef FLIPBOOK_COMM_PLAN_H
#define FLIPBOOK_COMM_PLAN_H

#include "comm/internal.h"

typedef struct flip_neighbour {
    int rank;
    int64_t first, n; /* rows first … first+n-1 of the list */
} flip_neighbour;

/* One side of the plan: rows grouped by neighbour. */
typedef struct flip_side {
    flip_neighbour *peer; /* [n_peers] ascending rank */
    int n_peers;
    int64_t n_rows;
    int32_t *row; /* [n_rows] local row of each; NULL = row i is i */
    char *buffer; /* packed rows */
    size_t capacity;
    uint8_t *coded; /* the same on a coded wire, one neighbour's message after the other's */
    size_t coded_capacity;
} flip_side;

/* The plan on a device (plan_device.c). */
typedef struct flip_plan_device {
    const flip_kernels *kernels; /* borrowed */
    int32_t *index;              /* owned, the device's: all that follow */
    const int32_t *pack;         /* [owner.n_rows] own row of each packed row */
    const int32_t *give, *place; /* [n_halo] halo row of a packed row, and the other way round; NULL
                                    where they are the same */
    int32_t n_sums;              /* own rows to which copies add … */
    const int32_t *sum_row, *sum_ptr, *sum_index; /* … and the packed rows that each takes, in rank
                                                     order */
    flip_real *packed[2];                         /* owned: of own rows, of copies */
    size_t capacity[2];                           /* bytes */
    uint8_t *coded[2]; /* owned: the same on a coded wire, messages on whole words */
    size_t coded_capacity[2];
    flip_direct_requests requests;
} flip_plan_device;

enum { FLIP_PLAN_IDLE, FLIP_PLAN_FORWARD, FLIP_PLAN_BACKWARD };

struct flip_plan {
    flip_comm *comm; /* borrowed */
    flip_bytes counted_as;
    int32_t n_halo;
    int tag;
    flip_side owner;  /* own rows other ranks hold copies of */
    flip_side copies; /* halo rows */
    flip_mpi_requests requests;
    flip_plan_device *device; /* owned; NULL until rows go from device to device */
    /* the exchange in flight */
    int state; /* FLIP_PLAN_… */
    size_t row_bytes;
    flip_wire wire; /* how its rows travel */
    void *halo;     /* forward: where received rows go */
};

/* Bytes of the message to or from one neighbour. */
size_t flip_plan_message_bytes(const flip_plan *plan, const flip_neighbour *peer);

/* flip_plan_… between devices: what they do but for clocks, counters and the state. */
flip_status flip_plan_device_forward_begin(flip_plan *plan, const flip_real *own, flip_real *halo);
flip_status flip_plan_device_forward_end(flip_plan *plan);
flip_status flip_plan_device_backward_begin(flip_plan *plan, const flip_real *halo);
flip_status flip_plan_device_backward_end(flip_plan *plan, flip_real *own);
void flip_plan_device_finish(flip_plan *plan);

#endif

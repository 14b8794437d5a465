/* A graph whose features change from step to step, for tests of packing: node v's row changes at a
 * tenth of the steps, at some steps by less than codes tell apart, from DRIFT on to rows three
 * times as wide; every 41st node has no row before step 2, every 97th none at all. Before it:
 * NODES, STEPS, DIM, DRIFT. */
#ifndef FLIPBOOK_TESTS_CHANGING_H
#define FLIPBOOK_TESTS_CHANGING_H

#include <flipbook/container.h>

#include <string.h>

static double changing_uniform(int stream, int64_t v, int64_t t) {
    return flip_random_uniform(5 + (uint64_t)stream, FLIP_STREAM_TEST, (uint64_t)v, (uint64_t)t);
}

/* Node v at step t, given its row before (zeros at first): does the file have a row? */
static bool changing_row(int64_t v, int t, double drift, float row[DIM]) {
    double u = changing_uniform(0, v, t);
    if (v % 97 == 96 || (v % 41 == 40 && t < 2)) return false;
    if (t > 0 && u >= 0.12) return false;
    if (t > 0 && u < 0.02) {
        row[0] += 1e-6f;
        return true;
    }
    for (int j = 0; j < DIM; j++)
        row[j] =
            (float)(flip_random_normal(6, FLIP_STREAM_TEST, (uint64_t)v, (uint64_t)(t * DIM + j)) *
                    (t >= DRIFT ? drift : 1));
    return true;
}

#define CHANGING_OK(call)                                                                          \
    do {                                                                                           \
        if ((call) != FLIP_OK) fail_msg("%s: %s", #call, flip_error_message());                    \
    } while (0)

/* features/node, step and values; comm: its rank 0 writes all of them. Returns the rows. */
static int64_t changing_write(flip_writer *w, flip_comm *comm, double drift) {
    static float rows[STEPS][DIM];
    int64_t node[STEPS], all = 0;
    int32_t step[STEPS];
    bool mine = flip_comm_rank(comm) == 0;
    for (int64_t v = 0; v < NODES; v++) {
        float row[DIM] = {0};
        int64_t n = 0;
        for (int t = 0; t < STEPS; t++) {
            if (!changing_row(v, t, drift, row)) continue;
            node[n] = v;
            step[n] = t;
            memcpy(rows[n++], row, sizeof row);
        }
        if (n == 0) continue;
        all += n;
        n = mine ? n : 0;
        CHANGING_OK(
            flip_writer_rows(w, "features/node", FLIP_TYPE_I64, FLIP_TYPE_I64, n, 0, 0, node));
        CHANGING_OK(
            flip_writer_rows(w, "features/step", FLIP_TYPE_I32, FLIP_TYPE_I32, n, 0, 0, step));
        CHANGING_OK(
            flip_writer_rows(w, "features/values", FLIP_TYPE_F32, FLIP_TYPE_F32, n, DIM, 0, rows));
    }
    return all;
}

#endif

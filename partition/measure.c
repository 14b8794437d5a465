/* What a partition costs on 1, 2, 4 … ranks: halo rows and balance, exactly.
 *
 * A node u is a halo row of rank r when r owns the destination of one of u's events and not u. Each
 * node has a mask of the parts that need it, 64 parts at a time: the events are read once for each
 * 64 parts, masks of all ranks are joined, and each rank counts its share of the nodes. Ranks own
 * runs of parts, so a rank needs u when any bit of its run is set; a run that reaches into the next
 * 64 parts is remembered with one bit a node and rank count. */
#include "partition/internal.h"

#include <math.h>
#include <string.h>

enum { BITS = 64 };

typedef struct meter {
    flip_comm *comm;
    const flip_partition *p;
    int32_t *part_of;  /* [n_nodes] part of an old id */
    uint64_t *mask;    /* [n_nodes] by old id */
    uint32_t *counted; /* [n_nodes] bit i: at level i the last run of the parts so far is counted */
    int32_t n_levels;
    int32_t ranks[FLIP_PARTITION_ROWS];
    int32_t *run[FLIP_PARTITION_ROWS];  /* [n_parts] owned: rank of a part */
    int64_t *halo[FLIP_PARTITION_ROWS]; /* [ranks] owned */
    int64_t *part_events;               /* [n_parts] */
} meter;

static void levels(meter *m) {
    for (int32_t r = 1; r < m->p->n_parts && m->n_levels + 1 < FLIP_PARTITION_ROWS; r *= 2)
        m->ranks[m->n_levels++] = r;
    m->ranks[m->n_levels++] = m->p->n_parts;
}

static flip_status assign_runs(meter *m) {
    flip_status status = FLIP_OK;
    int32_t n_parts = m->p->n_parts;
    flip_gid *first = NULL;
    FLIP_TRY_GOTO(flip_alloc(&first, (size_t)n_parts + 1, sizeof *first, "rank ranges"));
    for (int32_t i = 0; i < m->n_levels; i++) {
        size_t ranks = (size_t)m->ranks[i];
        FLIP_TRY_GOTO(flip_alloc(&m->run[i], (size_t)n_parts, sizeof **m->run, "ranks of parts"));
        FLIP_TRY_GOTO(flip_alloc_zero(&m->halo[i], ranks, sizeof **m->halo, "halo rows"));
        flip_partition_ranks(n_parts, m->p->part_first, m->ranks[i], first);
        for (int32_t k = 0, r = 0; k < n_parts; k++) {
            while (r + 1 < m->ranks[i] && m->p->part_first[k] >= first[r + 1])
                r++;
            m->run[i][k] = r;
        }
    }
done:
    flip_free(first);
    return status;
}

/* Masks of parts base … base+63 from this rank's share of the events. */
static flip_status mark(meter *m, const flip_reader *reader, int32_t base) {
    flip_status status = FLIP_OK;
    flip_scan scan = {0};
    memset(m->mask, 0, sizeof *m->mask * (size_t)m->p->n_nodes);
    FLIP_TRY_GOTO(flip_scan_open(&scan, reader, flip_comm_rank(m->comm), flip_comm_size(m->comm)));
    do {
        FLIP_TRY_GOTO(flip_scan_next(&scan));
        for (int64_t i = 0; i < scan.n_rows; i++) {
            int32_t part = m->part_of[scan.first + i];
            if (base == 0) m->part_events[part] += scan.ptr[i + 1] - scan.ptr[i];
            if (part < base || part >= base + BITS) continue;
            for (int64_t e = scan.ptr[i]; e < scan.ptr[i + 1]; e++)
                m->mask[scan.src[e]] |= (uint64_t)1 << (part - base);
        }
    } while (scan.n_rows > 0);
done:
    flip_scan_close(&scan);
    return status;
}

static void count_node(meter *m, int64_t u, int32_t base) {
    int32_t last[FLIP_PARTITION_ROWS], own = m->part_of[u];
    int32_t end = base + BITS < m->p->n_parts ? base + BITS : m->p->n_parts;
    for (int32_t i = 0; i < m->n_levels; i++)
        last[i] = base > 0 && (m->counted[u] >> i & 1) ? m->run[i][base - 1] : -1;
    for (uint64_t bits = m->mask[u]; bits; bits &= bits - 1) {
        int32_t part = base + __builtin_ctzll(bits);
        for (int32_t i = 0; i < m->n_levels; i++) {
            int32_t run = m->run[i][part];
            if (run == last[i] || run == m->run[i][own]) continue;
            m->halo[i][run]++;
            last[i] = run;
        }
    }
    m->counted[u] = 0;
    for (int32_t i = 0; i < m->n_levels; i++)
        if (last[i] == m->run[i][end - 1]) m->counted[u] |= (uint32_t)1 << i;
}

static void fill_row(const meter *m, int32_t i, flip_partition_row *row) {
    const flip_partition *p = m->p;
    double nodes = 0, events = 0, most_nodes = 0, most_events = 0;
    *row = (flip_partition_row){.ranks = m->ranks[i]};
    for (int32_t r = 0; r < m->ranks[i]; r++) {
        row->halo_sum += m->halo[i][r];
        if (m->halo[i][r] > row->halo_max) row->halo_max = m->halo[i][r];
    }
    for (int32_t k = 0; k < p->n_parts; k++) {
        if (k == 0 || m->run[i][k] != m->run[i][k - 1]) nodes = events = 0;
        nodes += (double)(p->part_first[k + 1] - p->part_first[k]);
        events += (double)m->part_events[k];
        most_nodes = fmax(most_nodes, nodes);
        most_events = fmax(most_events, events);
    }
    row->node_balance = p->n_nodes > 0 ? most_nodes * row->ranks / (double)p->n_nodes : 1;
    row->edge_balance = p->n_events > 0 ? most_events * row->ranks / (double)p->n_events : 1;
}

static flip_status prepare(meter *m) {
    size_t n = (size_t)m->p->n_nodes;
    FLIP_TRY(flip_alloc(&m->part_of, n, sizeof *m->part_of, "parts of nodes"));
    FLIP_TRY(flip_alloc(&m->mask, n, sizeof *m->mask, "masks of parts"));
    FLIP_TRY(flip_alloc_zero(&m->counted, n, sizeof *m->counted, "counted runs"));
    FLIP_TRY(flip_alloc_zero(&m->part_events, (size_t)m->p->n_parts, sizeof *m->part_events,
                             "events of parts"));
    for (int32_t k = 0; k < m->p->n_parts; k++)
        for (int64_t i = m->p->part_first[k]; i < m->p->part_first[k + 1]; i++)
            m->part_of[m->p->order[i]] = k;
    levels(m);
    return assign_runs(m);
}

flip_status flip_partition_measure(flip_partition_row rows[FLIP_PARTITION_ROWS], int32_t *n_rows,
                                   flip_comm *comm, const flip_reader *graph,
                                   const flip_partition *p) {
    flip_status status = FLIP_OK;
    int rank = flip_comm_rank(comm), size = flip_comm_size(comm);
    meter m = {.comm = comm, .p = p};
    FLIP_TRY_GOTO(flip_comm_agree(comm, prepare(&m)));
    for (int32_t base = 0; base < p->n_parts; base += BITS) {
        FLIP_TRY_GOTO(flip_comm_agree(comm, mark(&m, graph, base)));
        FLIP_TRY_GOTO(flip_comm_or_u64(comm, m.mask, (size_t)p->n_nodes));
        for (int64_t u = flip_share(p->n_nodes, rank, size);
             u < flip_share(p->n_nodes, rank + 1, size); u++)
            count_node(&m, u, base);
    }
    FLIP_TRY_GOTO(flip_comm_sum_i64(comm, m.part_events, (size_t)p->n_parts));
    for (int32_t i = 0; i < m.n_levels; i++) {
        FLIP_TRY_GOTO(flip_comm_sum_i64(comm, m.halo[i], (size_t)m.ranks[i]));
        fill_row(&m, i, &rows[i]);
    }
    *n_rows = m.n_levels;
done:
    for (int32_t i = 0; i < m.n_levels; i++) {
        flip_free(m.run[i]);
        flip_free(m.halo[i]);
    }
    flip_free(m.part_of);
    flip_free(m.mask);
    flip_free(m.counted);
    flip_free(m.part_events);
    return status;
}

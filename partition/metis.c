/* METIS 5 behind a wall. This file alone knows METIS: its 32-bit indices, and what it does to input
 * that it does not like. Tried on 5.1.0, bare:
 *
 *   one part                        SIGFPE, or part[] never written   -> answered here
 *   empty parts                     METIS_OK                          -> counted, filled
 *   ids out of range, asymmetric,   METIS_OK and garbage              -> checked, refused
 *     self loops, bad pointers
 *   loads beyond 2^31, negative,    everything in one part            -> scaled, capped, checked
 *     all zero, one heavy
 *   edge weights beyond 2^31        negative cut                      -> scaled; cut counted by us
 *   edge weights all zero           heap corrupt                      -> refused
 *   SIGTERM while it works          trapped, -4, our handler never    -> it works in a child
 *   prints to stdout                "Cannot bisect ..."               -> the child's is closed
 *
 * METIS works in a forked child that shares only the result with us: a crash, an abort or the
 * machine's out-of-memory killer ends the child, and we take another method. The child calls no
 * MPI, touches no memory but its own and leaves by _exit, so it may be forked after MPI_Init; it
 * dies with its parent. Where no process can be forked, METIS runs here with signals held back. */
#include "partition/metis.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <metis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static_assert(sizeof(idx_t) == sizeof(int32_t), "this file is written for METIS's 32-bit idx_t");

/* Sums METIS forms in idx_t stay below this. */
enum { MOST = 1 << 30 };

typedef struct problem {
    idx_t n, n_constraints, n_parts;
    idx_t *ptr, *adj, *weight, *load; /* adj borrowed; the others owned; weight NULL = 1 */
    idx_t options[METIS_NOPTIONS];
    real_t tolerance[FLIP_METIS_CONSTRAINTS];
} problem;

#define REFUSE(status, ...)                                                                        \
    do {                                                                                           \
        snprintf(reason, FLIP_METIS_REASON, __VA_ARGS__);                                          \
        return status;                                                                             \
    } while (0)

/* ---- checks -----------------------------------------------------------------------------------
 */

static flip_status check_params(const flip_metis_params *p, char *reason) {
    if (p->n_parts < 1)
        REFUSE(FLIP_ERROR_USAGE, "%d parts asked for, at least 1 needed", p->n_parts);
    if (!(p->imbalance >= 1.001 && p->imbalance <= 1000))
        REFUSE(FLIP_ERROR_USAGE, "imbalance %g is not from 1.001 to 1000", p->imbalance);
    return FLIP_OK;
}

static flip_status check_row(const flip_metis_graph *g, int64_t v, char *reason) {
    for (int64_t e = g->ptr[v]; e < g->ptr[v + 1]; e++) {
        int64_t u = g->adj[e];
        if (u < 0 || u >= g->n)
            REFUSE(FLIP_ERROR_INPUT, "node %lld has neighbour %lld, ids are 0 to %lld",
                   (long long)v, (long long)u, (long long)g->n - 1);
        if (u == v) REFUSE(FLIP_ERROR_INPUT, "node %lld has a self loop", (long long)v);
        if (e > g->ptr[v] && u <= g->adj[e - 1])
            REFUSE(FLIP_ERROR_INPUT, "neighbours of node %lld are not ascending", (long long)v);
        if (g->weight && g->weight[e] <= 0)
            REFUSE(FLIP_ERROR_INPUT, "edge %lld-%lld has weight %d, not above 0", (long long)v,
                   (long long)u, g->weight[e]);
    }
    return FLIP_OK;
}

/* Symmetry in one pass: rows ascend, so when rows are walked in order, the next entry not yet met
 * of row u must be v each time row v names u. `next` [n] starts as ptr. */
static flip_status check_symmetry(const flip_metis_graph *g, int64_t *next, char *reason) {
    for (int64_t v = 0; v < g->n; v++)
        for (int64_t e = g->ptr[v]; e < g->ptr[v + 1]; e++) {
            int64_t u = g->adj[e], back = next[u]++;
            if (back >= g->ptr[u + 1] || g->adj[back] != v)
                REFUSE(FLIP_ERROR_INPUT, "node %lld names %lld, but not the other way round",
                       (long long)v, (long long)u);
            if (g->weight && g->weight[back] != g->weight[e])
                REFUSE(FLIP_ERROR_INPUT, "edge %lld-%lld has two weights, %d and %d", (long long)v,
                       (long long)u, g->weight[e], g->weight[back]);
        }
    return FLIP_OK;
}

static flip_status check_pointers(const flip_metis_graph *g, char *reason) {
    if (g->n < 1 || g->n > MOST)
        REFUSE(FLIP_ERROR_INPUT, "%lld nodes; METIS's 32-bit indices hold 1 to %d", (long long)g->n,
               MOST);
    if (g->ptr[0] != 0)
        REFUSE(FLIP_ERROR_INPUT, "row pointers begin with %lld", (long long)g->ptr[0]);
    for (int64_t v = 0; v < g->n; v++)
        if (g->ptr[v + 1] < g->ptr[v])
            REFUSE(FLIP_ERROR_INPUT, "row pointers fall at node %lld", (long long)v);
    if (g->ptr[g->n] >= INT32_MAX)
        REFUSE(FLIP_ERROR_INPUT, "%lld entries; METIS's 32-bit indices hold fewer than %d",
               (long long)g->ptr[g->n], INT32_MAX);
    return FLIP_OK;
}

static flip_status check_graph(const flip_metis_graph *g, char *reason) {
    FLIP_TRY(check_pointers(g, reason));
    for (int64_t v = 0; v < g->n; v++)
        FLIP_TRY(check_row(g, v, reason));
    for (int c = 0; c < g->n_constraints; c++)
        for (int64_t v = 0; v < g->n; v++)
            if (g->load[c][v] < 0)
                REFUSE(FLIP_ERROR_INPUT, "node %lld has load %lld, not at least 0", (long long)v,
                       (long long)g->load[c][v]);
    int64_t *next = malloc(sizeof *next * (size_t)g->n);
    if (!next) REFUSE(FLIP_ERROR_MEMORY, "no memory to check %lld nodes", (long long)g->n);
    memcpy(next, g->ptr, sizeof *next * (size_t)g->n);
    flip_status status = check_symmetry(g, next, reason);
    free(next);
    return status;
}

/* ---- numbers that fit -------------------------------------------------------------------------
 */

static double capped_sum(const int64_t *load, int64_t n, double cap) {
    double sum = 0;
    for (int64_t v = 0; v < n; v++)
        sum += fmin((double)load[v], cap);
    return sum;
}

/* One constraint, scaled so that its sum fits. A node heavier than the mean part cannot be balanced
 * against anything, and makes METIS give up on all: it is cut down to the mean part. False where
 * all loads are 0: nothing to balance. */
static bool scale_load(idx_t *out, const int64_t *load, int64_t n, int32_t n_parts) {
    double total = capped_sum(load, n, INFINITY);
    if (total <= 0) return false;
    double cap = total / n_parts, sum = capped_sum(load, n, cap);
    for (int round = 0; round < 8 && cap > sum / n_parts * 1.01; round++) {
        cap = sum / n_parts; /* cutting lowers the mean in turn */
        sum = capped_sum(load, n, cap);
    }
    double factor = sum > MOST / 2 ? MOST / 2 / sum : 1;
    for (int64_t v = 0; v < n; v++) {
        double scaled = fmin((double)load[v], cap) * factor;
        /* what is there keeps at least 1: with at most 2^30 nodes the sum stays below 2^31 */
        out[v] = load[v] == 0 ? 0 : scaled < 1 ? 1 : (idx_t)scaled;
    }
    return true;
}

/* p->load as METIS wants it, [n, n_constraints]; constraints with nothing in them are left out. */
static bool scale_loads(problem *p, const flip_metis_graph *g) {
    size_t n = (size_t)g->n;
    int used = 0;
    idx_t *columns = malloc(sizeof *columns * n * FLIP_METIS_CONSTRAINTS);
    if (!columns) return false;
    for (int c = 0; c < g->n_constraints; c++)
        used += scale_load(columns + (size_t)used * n, g->load[c], g->n, p->n_parts);
    for (size_t v = 0; v < n && used == 0; v++)
        columns[v] = 1;
    p->n_constraints = used > 0 ? used : 1;
    p->load = columns;
    if (p->n_constraints == 1) return true;
    p->load = malloc(sizeof *p->load * n * (size_t)used);
    for (size_t v = 0; v < n && p->load; v++)
        for (int c = 0; c < used; c++)
            p->load[v * (size_t)used + (size_t)c] = columns[(size_t)c * n + v];
    free(columns);
    return p->load != NULL;
}

/* Edge weights, scaled so that any cut fits. */
static bool scale_weights(problem *p, const flip_metis_graph *g) {
    if (!g->weight) return true;
    int64_t sum = 0, n = g->ptr[g->n];
    for (int64_t e = 0; e < n; e++)
        sum += g->weight[e];
    p->weight = malloc(sizeof *p->weight * (size_t)(n + 1));
    if (!p->weight) return false;
    double factor = sum > MOST ? MOST / (double)sum : 1;
    for (int64_t e = 0; e < n; e++) {
        double scaled = g->weight[e] * factor;
        p->weight[e] = scaled < 1 ? 1 : (idx_t)scaled;
    }
    return true;
}

static flip_status problem_fill(problem *p, const flip_metis_graph *g, const flip_metis_params *m,
                                char *reason) {
    p->n = (idx_t)g->n;
    p->n_parts = m->n_parts;
    p->adj = (idx_t *)(uintptr_t)g->adj; /* METIS only reads it when numbering starts at 0 */
    p->ptr = malloc(sizeof *p->ptr * ((size_t)g->n + 1));
    if (!p->ptr || !scale_loads(p, g) || !scale_weights(p, g))
        REFUSE(FLIP_ERROR_MEMORY, "no memory for METIS's copy of %lld nodes", (long long)g->n);
    for (int64_t v = 0; v <= g->n; v++)
        p->ptr[v] = (idx_t)g->ptr[v];
    METIS_SetDefaultOptions(p->options);
    p->options[METIS_OPTION_SEED] = (idx_t)(m->seed & 0x7fffffff);
    p->options[METIS_OPTION_OBJTYPE] = m->volume ? METIS_OBJTYPE_VOL : METIS_OBJTYPE_CUT;
    p->options[METIS_OPTION_NUMBERING] = 0;
    for (int c = 0; c < FLIP_METIS_CONSTRAINTS; c++)
        p->tolerance[c] = (real_t)m->imbalance;
    return FLIP_OK;
}

static void problem_free(problem *p) {
    free(p->ptr);
    free(p->weight);
    free(p->load);
}

/* ---- the call ---------------------------------------------------------------------------------
 */

static int call_metis(problem *p, bool recursive, idx_t *part) {
    idx_t objective = 0;
    if (!recursive)
        return METIS_PartGraphKway(&p->n, &p->n_constraints, p->ptr, p->adj, p->load, NULL,
                                   p->weight, &p->n_parts, NULL, p->tolerance, p->options,
                                   &objective, part);
    p->options[METIS_OPTION_OBJTYPE] = METIS_OBJTYPE_CUT; /* bisection knows only the cut */
    return METIS_PartGraphRecursive(&p->n, &p->n_constraints, p->ptr, p->adj, p->load, NULL,
                                    p->weight, &p->n_parts, NULL, p->tolerance, p->options,
                                    &objective, part);
}

static void child(problem *p, bool recursive, idx_t *part, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(3);
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere >= 0) {
        dup2(nowhere, STDOUT_FILENO);
        dup2(nowhere, STDERR_FILENO);
    }
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    for (int s = 1; s < SIGRTMIN; s++)
        signal(s, SIG_DFL);
    /* A terminal's interrupt and mpirun's signals may reach the whole group: the parent decides,
     * and takes us along if it goes. */
    int parents[] = {SIGINT, SIGUSR1, SIGUSR2, SIGHUP};
    for (size_t i = 0; i < sizeof parents / sizeof *parents; i++)
        signal(parents[i], SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    _exit(call_metis(p, recursive, part) == METIS_OK ? 0 : 2);
}

/* Without a child: signals from outside wait until METIS is done, its handlers do not stay. */
static int call_here(problem *p, bool recursive, idx_t *part) {
    sigset_t held, before;
    struct sigaction term, abrt;
    int outside[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM};
    sigemptyset(&held);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        sigaddset(&held, outside[i]);
    pthread_sigmask(SIG_BLOCK, &held, &before);
    sigaction(SIGTERM, NULL, &term);
    sigaction(SIGABRT, NULL, &abrt);
    int code = call_metis(p, recursive, part);
    sigaction(SIGTERM, &term, NULL);
    sigaction(SIGABRT, &abrt, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

static flip_status wait_for(pid_t pid, char *reason) {
    int state = 0;
    while (waitpid(pid, &state, 0) < 0)
        if (errno != EINTR)
            REFUSE(FLIP_ERROR_LIBRARY, "METIS's process was lost (%s)", strerror(errno));
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return FLIP_OK;
    if (WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL)
        REFUSE(FLIP_ERROR_MEMORY, "METIS was killed, most likely for want of memory");
    if (WIFSIGNALED(state))
        REFUSE(FLIP_ERROR_LIBRARY, "METIS crashed with signal %d (%s)", WTERMSIG(state),
               strsignal(WTERMSIG(state)));
    REFUSE(FLIP_ERROR_LIBRARY, "METIS gave up (it does so when memory runs out)");
}

bool flip_metis_here = false;

/* One run; part [n] is filled on success. */
static flip_status run(problem *p, bool recursive, int32_t *part, char *reason) {
    size_t bytes = sizeof(idx_t) * (size_t)p->n;
    idx_t *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        REFUSE(FLIP_ERROR_MEMORY, "no memory for the result of %d nodes", p->n);
    memset(shared, 0xff, bytes); /* -1: METIS may return OK and never have written */
    pid_t parent = getpid(), pid = flip_metis_here ? -1 : fork();
    if (pid == 0) child(p, recursive, shared, parent);
    flip_status status = FLIP_OK;
    if (pid > 0) {
        status = wait_for(pid, reason);
    } else if (call_here(p, recursive, shared) != METIS_OK) {
        snprintf(reason, FLIP_METIS_REASON, "METIS failed");
        status = FLIP_ERROR_LIBRARY;
    }
    if (status == FLIP_OK) memcpy(part, shared, bytes);
    munmap(shared, bytes);
    return status;
}

/* ---- the result -------------------------------------------------------------------------------
 */

/* Every node placed, in range? Counts the empty parts. */
static flip_status check_result(const int32_t *part, int64_t n, int32_t n_parts, int32_t *n_empty,
                                char *reason) {
    int64_t *count = calloc((size_t)n_parts, sizeof *count), wrong = -1;
    if (!count) REFUSE(FLIP_ERROR_MEMORY, "no memory to count %d parts", n_parts);
    for (int64_t v = 0; v < n && wrong < 0; v++) {
        if (part[v] < 0 || part[v] >= n_parts)
            wrong = v;
        else
            count[part[v]]++;
    }
    *n_empty = 0;
    for (int32_t k = 0; k < n_parts; k++)
        *n_empty += count[k] == 0;
    free(count);
    if (wrong >= 0)
        REFUSE(FLIP_ERROR_LIBRARY, "METIS left node %lld without a part", (long long)wrong);
    return FLIP_OK;
}

typedef struct candidate {
    int64_t entries, node;
} candidate;

static int fewest_entries(const void *left, const void *right) {
    const candidate *a = left, *b = right;
    if (a->entries != b->entries) return a->entries < b->entries ? -1 : 1;
    return (a->node > b->node) - (a->node < b->node);
}

/* One walk over the candidates: each empty part takes the next node of a part above `spare`. */
static int64_t fill_from(int32_t *part, int64_t *count, int32_t n_parts, const candidate *order,
                         int64_t n, int64_t spare) {
    int64_t moved = 0, next = 0;
    for (int32_t k = 0; k < n_parts; k++) {
        if (count[k] > 0) continue;
        while (next < n && count[part[order[next].node]] <= spare)
            next++;
        if (next == n) break;
        int64_t v = order[next++].node;
        count[part[v]]--;
        count[k]++;
        part[v] = k;
        moved++;
    }
    return moved;
}

int64_t flip_partition_fill_empty(int32_t *part, int64_t n, int32_t n_parts, const int64_t *ptr) {
    int64_t *count = calloc((size_t)n_parts, sizeof *count), moved = 0;
    candidate *order = NULL;
    int32_t n_empty = 0;
    for (int64_t v = 0; v < n && count; v++)
        count[part[v]]++;
    for (int32_t k = 0; k < n_parts && count; k++)
        n_empty += count[k] == 0;
    if (n_empty > 0) order = malloc(sizeof *order * (size_t)(n > 0 ? n : 1));
    if (order) {
        for (int64_t v = 0; v < n; v++)
            order[v] = (candidate){ptr ? ptr[v + 1] - ptr[v] : 0, v};
        qsort(order, (size_t)n, sizeof *order, fewest_entries);
        moved += fill_from(part, count, n_parts, order, n, n / n_parts + 1);
        moved += fill_from(part, count, n_parts, order, n, 1);
    }
    free(count);
    free(order);
    return moved;
}

/* Worst part over the mean, of the loads METIS was given, less the heaviest single node: what
 * cannot be divided is not held against it. */
static double worst_share(const problem *p, const int32_t *part) {
    double *sum = malloc(sizeof *sum * (size_t)p->n_parts), worst = 0;
    for (idx_t c = 0; c < p->n_constraints && sum; c++) {
        double total = 0, most = 0, heaviest = 0;
        memset(sum, 0, sizeof *sum * (size_t)p->n_parts);
        for (idx_t v = 0; v < p->n; v++) {
            double load = p->load[(size_t)v * (size_t)p->n_constraints + (size_t)c];
            sum[part[v]] += load;
            total += load;
            heaviest = fmax(heaviest, load);
        }
        for (idx_t k = 0; k < p->n_parts; k++)
            most = fmax(most, sum[k]);
        worst = fmax(worst, (most - heaviest) * p->n_parts / total);
    }
    free(sum);
    return worst;
}

/* METIS left parts empty: bisection copes better with many small parts; what it leaves is filled.
 */
static void mend_empty(problem *p, int32_t *part, int32_t n_empty, const int64_t *ptr,
                       char *reason) {
    int32_t n_again = 0;
    char ignored[FLIP_METIS_REASON];
    int32_t *again = malloc(sizeof *again * (size_t)p->n);
    if (again && run(p, true, again, ignored) == FLIP_OK &&
        check_result(again, p->n, p->n_parts, &n_again, ignored) == FLIP_OK && n_again < n_empty)
        memcpy(part, again, sizeof *part * (size_t)p->n);
    free(again);
    int64_t moved = flip_partition_fill_empty(part, p->n, p->n_parts, ptr);
    snprintf(reason, FLIP_METIS_REASON, "METIS left %d of %d parts empty; filled, %lld nodes moved",
             n_empty, p->n_parts, (long long)moved);
}

flip_status flip_metis_partition(int32_t *part, const flip_metis_graph *g,
                                 const flip_metis_params *m, char reason[FLIP_METIS_REASON]) {
    reason[0] = 0;
    FLIP_TRY(check_params(m, reason));
    FLIP_TRY(check_graph(g, reason));
    if (m->n_parts > g->n)
        REFUSE(FLIP_ERROR_INPUT, "%d parts for %lld nodes", m->n_parts, (long long)g->n);
    if (m->n_parts == 1) {
        memset(part, 0, sizeof *part * (size_t)g->n);
        return FLIP_OK;
    }
    problem p = {0};
    int32_t n_empty = 0;
    flip_status status = problem_fill(&p, g, m, reason);
    if (status == FLIP_OK) status = run(&p, false, part, reason);
    if (status == FLIP_OK) status = check_result(part, g->n, m->n_parts, &n_empty, reason);
    if (status == FLIP_OK && n_empty > 0) mend_empty(&p, part, n_empty, g->ptr, reason);
    if (status == FLIP_OK) {
        double worst = worst_share(&p, part);
        if (worst > 3 * m->imbalance) {
            snprintf(reason, FLIP_METIS_REASON,
                     "METIS put %.1f times the mean part's load into one part", worst);
            status = FLIP_ERROR_LIBRARY;
        }
    }
    problem_free(&p);
    return status;
}

/* Measured on 5.1.0, resident memory beside the input, graphs of 0.2 to 55 M entries: communities
 * 22 to 39 bytes an entry, R-MAT 33 to 66 (coarsening stalls); the higher is announced. With our
 * copies: row pointers, loads (two columns while they are turned), weights. */
size_t flip_metis_bytes(int64_t n, int64_t n_entries, int n_constraints) {
    size_t nodes = (size_t)n, entries = (size_t)n_entries;
    return entries * (66 + 4) + nodes * (4 + 4 + 8 * (size_t)(n_constraints + 1) + 60);
}

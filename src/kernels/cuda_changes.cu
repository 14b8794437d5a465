/* Graph differences on the GPU (SC'21 section 3.2, "graph difference"). Sorted lists are merged by
 * place: where an entry goes is told by its own number and by how many of the other list lie below
 * it, so that every entry is written on its own and every run makes the same bits. */
#include "kernels/cuda_keys.h"
#include "kernels/cuda_scan.h"
#include "kernels/cuda_warp.h"

/* TILE: entries of a snapshot that a block carries over. LANES: threads that sum up a row. */
enum { THREADS = FLIP_SCAN_THREADS, TILE = 2048, LANES = 8 };

__device__ static void note(uint64_t *fault, uint64_t key) {
    atomicMin(reinterpret_cast<unsigned long long *>(fault), (unsigned long long)key);
}

/* ---- words ---- */

__global__ static void mark_extra_kernel(flip_graph_words w, int32_t *rank) {
    const uint64_t follows = ((uint64_t)1 << w.form.value_bits) - 1;
    FLIP_EACH(i, w.n_added) {
        rank[i] = (w.word[w.n_removed + i] & follows) == follows;
    }
}

/* The value in a word, or w.value[extra] where it follows. */
__device__ static flip_real word_value(const flip_graph_words &w, uint64_t word, int64_t extra) {
    const uint64_t follows = ((uint64_t)1 << w.form.value_bits) - 1, bits = word & follows;
    if (bits == follows) return w.value[extra];
    if (w.form.value_bits < 32) return (flip_real)bits;
    const uint32_t narrow_bits = (uint32_t)bits;
    float narrow;
    memcpy(&narrow, &narrow_bits, sizeof narrow);
    return (flip_real)narrow;
}

/* Where a block's words lie in each of the three lists: between its first and its last, where both
 * are of one list. */
__device__ static void bound_words(const flip_graph_words &w, const int64_t *end, int64_t first,
                                   int64_t last, int64_t *bound) {
    const int shift = w.form.value_bits, k = (int)threadIdx.x / 2, upper = (int)threadIdx.x % 2;
    if (threadIdx.x < 6) {
        bool one = false;
        for (int list = 0; list < 3; list++)
            one = one || (first >= end[list] && last < end[list + 1]);
        bound[threadIdx.x] = upper ? end[k + 1] : end[k];
        if (one)
            bound[threadIdx.x] = flip_find_key(w.word, end[k], end[k + 1],
                                               w.word[upper ? last : first] >> shift, shift, upper);
    }
    __syncthreads();
}

/* An entry's place in the record: how many of its own list lie below it, and of the two others;
 * where two lists name it, the earlier list's comes first. */
__global__ static void unpack_kernel(flip_changes c, flip_graph_words w, const int32_t *rank,
                                     flip_pattern absent, uint64_t *fault) {
    const int shift = w.form.value_bits;
    const uint64_t places = ((uint64_t)1 << w.form.place_bits) - 1;
    const int64_t end[4] = {0, w.n_removed, w.n_removed + w.n_added, c.n};
    const int64_t first = (int64_t)blockIdx.x * THREADS,
                  last = first + THREADS < c.n ? first + THREADS - 1 : c.n - 1;
    __shared__ int64_t bound[6];
    bound_words(w, end, first, last, bound);
    const int64_t i = first + threadIdx.x;
    if (i <= last) {
        const int list = i < end[1] ? 0 : i < end[2] ? 1 : 2;
        const uint64_t entry = w.word[i] >> shift;
        int64_t at = i - end[list];
        for (int k = 0; k < 3; k++) {
            if (k == list) continue;
            const int64_t p =
                flip_find_key(w.word, bound[2 * k], bound[2 * k + 1], entry, shift, k < list);
            at += p - end[k];
            const int64_t same = k < list ? p - 1 : p;
            if (same >= end[k] && same < end[k + 1] && w.word[same] >> shift == entry)
                note(fault, entry >> w.form.place_bits << 32 | (entry & places));
        }
        c.key[at] = entry >> w.form.place_bits << 32 | (entry & places);
        c.was[at] = list == 1 ? flip_real_of(absent) : 0;
        c.is[at] = list == 0   ? flip_real_of(absent)
                   : list == 1 ? word_value(w, w.word[i], rank ? rank[i - end[1]] : i - end[1])
                               : w.value[w.n_extra + i - end[2]];
    }
}

static void unpack_words(const flip_changes *c, const flip_graph_words *w, void *work,
                         uint64_t *fault) {
    char *rest = static_cast<char *>(work);
    int32_t *rank = flip_deal<int32_t>(&rest, w->n_added + 1);
    int32_t *sums = flip_deal<int32_t>(&rest, flip_tiles_of(w->n_added + 1, FLIP_SCAN));
    /* Where all values follow, or none, a word's rank is its own number. */
    const bool mixed = w->n_extra > 0 && w->n_extra < w->n_added;
    if (mixed) {
        FLIP_LAUNCH_EACH(mark_extra_kernel, w->n_added, *w, rank);
        flip_sum_all_before(w->n_added, rank, sums);
    }
    FLIP_LAUNCH(unpack_kernel, flip_tiles_of(c->n, THREADS), THREADS, 0, *c, *w,
                mixed ? rank : nullptr, flip_absent_bits(), fault);
}

/* ---- snapshots ---- */

/* Where each change meets the snapshot, and by how much it shifts what lies behind it. A block's
 * changes search between where its first and its last belong. */
__global__ static void meet_kernel(flip_entries from, flip_changes c, bool learn,
                                   flip_pattern absent, int64_t *place, int32_t *shift,
                                   uint64_t *fault) {
    __shared__ int64_t bound[2];
    const int64_t first = (int64_t)blockIdx.x * THREADS,
                  last = first + THREADS < c.n ? first + THREADS - 1 : c.n - 1;
    if (threadIdx.x < 2)
        bound[threadIdx.x] =
            flip_find_key(from.key, 0, from.n, c.key[threadIdx.x ? last : first], 0, false);
    __syncthreads();
    const int64_t k = first + threadIdx.x;
    if (k > last) return;
    const uint64_t key = c.key[k];
    const int64_t p = flip_find_key(from.key, bound[0], bound[1], key, 0, false);
    const bool found = p < from.n && from.key[p] == key;
    const flip_pattern is = found ? flip_bits_of(from.value[p]) : absent,
                       told = flip_bits_of(c.was[k]);
    if (learn && found != (told == absent))
        c.was[k] = flip_real_of(is);
    else if (learn || told != is)
        note(fault, key);
    place[k] = p;
    shift[k] = (int)(flip_bits_of(c.is[k]) != absent) - (int)found;
}

/* The first change that is not below each tile of the snapshot. */
__global__ static void tile_changes_kernel(flip_entries from, flip_changes c, int64_t tiles,
                                           int64_t *first) {
    FLIP_EACH(i, tiles + 1) {
        first[i] = i == tiles ? c.n : flip_find_key(c.key, 0, c.n, from.key[i * TILE], 0, false);
    }
}

__global__ static void put_changes_kernel(flip_entries to, flip_changes c, const int64_t *place,
                                          const int32_t *shift, int64_t room, flip_pattern absent) {
    FLIP_EACH(k, c.n) {
        const int64_t at = place[k] + shift[k];
        if (flip_bits_of(c.is[k]) == absent || at < 0 || at >= room) continue;
        to.key[at] = c.key[k];
        to.value[at] = c.is[k];
    }
}

/* What no change names is carried over, so many places further as the changes below it say. */
__global__ static void carry_kernel(flip_entries to, flip_entries from, flip_changes c,
                                    const int64_t *first_change, const int32_t *shift,
                                    int64_t room) {
    const int64_t begin = (int64_t)blockIdx.x * TILE,
                  end = begin + TILE < from.n ? begin + TILE : from.n;
    const int64_t low = first_change[blockIdx.x], high = first_change[blockIdx.x + 1];
    for (int64_t i = begin + threadIdx.x; i < end; i += THREADS) {
        const uint64_t key = from.key[i];
        const int64_t k = flip_find_key(c.key, low, high, key, 0, false), at = i + shift[k];
        if ((k < c.n && c.key[k] == key) || at < 0 || at >= room) continue;
        to.key[at] = key;
        to.value[at] = from.value[i];
    }
}

static void merge_changes(const flip_entries *to, const flip_entries *from, const flip_changes *c,
                          bool learn, void *work, uint64_t *fault) {
    char *rest = static_cast<char *>(work);
    const int64_t tiles = flip_tiles_of(from->n, TILE), room = from->n + c->n;
    int64_t *place = flip_deal<int64_t>(&rest, c->n + 1);
    int32_t *shift = flip_deal<int32_t>(&rest, c->n + 1);
    int32_t *sums = flip_deal<int32_t>(&rest, flip_tiles_of(c->n + 1, FLIP_SCAN));
    int64_t *first = flip_deal<int64_t>(&rest, tiles + 1);
    const flip_pattern absent = flip_absent_bits();
    FLIP_LAUNCH(meet_kernel, flip_tiles_of(c->n, THREADS), THREADS, 0, *from, *c, learn, absent,
                place, shift, fault);
    flip_sum_all_before(c->n, shift, sums);
    FLIP_LAUNCH_EACH(put_changes_kernel, c->n, *to, *c, place, shift, room, absent);
    if (from->n == 0) return;
    FLIP_LAUNCH_EACH(tile_changes_kernel, tiles + 1, *from, *c, tiles, first);
    FLIP_LAUNCH(carry_kernel, tiles, THREADS, 0, *to, *from, *c, first, shift, room);
}

/* Marks entries of a that b lacks or, `values`, has with another value. */
__global__ static void mark_changes_kernel(flip_entries a, flip_entries b, bool values,
                                           int32_t *rank) {
    FLIP_EACH(i, a.n) {
        const int64_t p = flip_find_key(b.key, 0, b.n, a.key[i], 0, false);
        const bool found = p < b.n && b.key[p] == a.key[i];
        rank[i] = !found || (values && flip_bits_of(a.value[i]) != flip_bits_of(b.value[p]));
    }
}

/* Marked entries of a: behind those marked before them in a, and in b below them; c.n have room. */
__global__ static void put_found_kernel(flip_changes c, flip_entries a, flip_entries b, bool added,
                                        const int32_t *rank_a, const int32_t *rank_b,
                                        flip_pattern absent, int64_t *n) {
    FLIP_EACH(i, a.n + 1) {
        if (i == a.n) {
            if (!added) *n = (int64_t)rank_a[a.n] + rank_b[b.n];
            continue;
        }
        if (rank_a[i] == rank_a[i + 1]) continue;
        const int64_t p = flip_find_key(b.key, 0, b.n, a.key[i], 0, false),
                      at = rank_a[i] + rank_b[p];
        const bool both = p < b.n && b.key[p] == a.key[i];
        if (at >= c.n) continue;
        c.key[at] = a.key[i];
        c.was[at] = added ? flip_real_of(absent) : a.value[i];
        c.is[at] = added ? a.value[i] : both ? b.value[p] : flip_real_of(absent);
    }
}

static void find_changes(const flip_changes *c, int64_t *n, const flip_entries *from,
                         const flip_entries *to, void *work) {
    char *rest = static_cast<char *>(work);
    int32_t *old_rank = flip_deal<int32_t>(&rest, from->n + 1),
            *rank = flip_deal<int32_t>(&rest, to->n + 1);
    int32_t *sums = flip_deal<int32_t>(&rest, flip_tiles_of(from->n + to->n + 1, FLIP_SCAN) + 1);
    const flip_pattern absent = flip_absent_bits();
    FLIP_LAUNCH_EACH(mark_changes_kernel, from->n, *from, *to, true, old_rank);
    FLIP_LAUNCH_EACH(mark_changes_kernel, to->n, *to, *from, false, rank);
    flip_sum_all_before(from->n, old_rank, sums);
    flip_sum_all_before(to->n, rank, sums);
    FLIP_LAUNCH_EACH(put_found_kernel, from->n + 1, *c, *from, *to, false, old_rank, rank, absent,
                     n);
    FLIP_LAUNCH_EACH(put_found_kernel, to->n + 1, *c, *to, *from, true, rank, old_rank, absent, n);
}

/* Each pair's sum, and a 1 where it lives. */
__global__ static void live_kernel(flip_pair_events p, int32_t t, int32_t life, int32_t *rank,
                                   flip_real *value) {
    FLIP_EACH(i, p.n) {
        double sum = 0;
        int32_t lives = 0;
        const int64_t end = p.event_ptr[i + 1];
        for (int64_t e = p.event_ptr[i]; e < end; e++) {
            const int32_t step = p.step[e];
            if (step > t) break;
            if (step <= t - life) continue;
            sum += p.weight ? (double)p.weight[e] : 1;
            lives = 1;
        }
        rank[i] = lives;
        value[i] = (flip_real)sum;
    }
}

__global__ static void put_live_kernel(flip_entries to, flip_pair_events p, const int32_t *rank,
                                       const flip_real *value) {
    FLIP_EACH(i, p.n) {
        const int32_t at = rank[i];
        if (at == rank[i + 1] || at >= to.n) continue;
        to.key[at] = p.key[i];
        to.value[at] = value[i];
    }
}

static void live_entries(const flip_entries *to, const flip_pair_events *p, int32_t t, int32_t life,
                         void *work) {
    char *rest = static_cast<char *>(work);
    int32_t *rank = flip_deal<int32_t>(&rest, p->n + 1);
    int32_t *sums = flip_deal<int32_t>(&rest, flip_tiles_of(p->n + 1, FLIP_SCAN));
    flip_real *value = flip_deal<flip_real>(&rest, p->n);
    FLIP_LAUNCH_EACH(live_kernel, p->n, *p, t, life, rank, value);
    flip_sum_all_before(p->n, rank, sums);
    FLIP_LAUNCH_EACH(put_live_kernel, p->n, *to, *p, rank, value);
}

/* ---- a snapshot as a matrix ---- */

__global__ static void col_kernel(flip_entries e, const int32_t *order, int32_t *col) {
    FLIP_EACH(i, e.n) {
        const uint32_t place = (uint32_t)e.key[i];
        col[i] = order ? order[place] : (int32_t)place;
    }
}

static void keys_to_csr(const flip_entries *e, const int32_t *order, int32_t n_rows,
                        int64_t *row_ptr, int32_t *col) {
    flip_find_rows(e->n, e->key, 32, nullptr, n_rows, row_ptr);
    FLIP_LAUNCH_EACH(col_kernel, e->n, *e, order, col);
}

/* LANES threads a row: lane l sums entries l, l + LANES …, the lanes' sums by halves. */
__global__ static void degree_scales_kernel(int32_t n_rows, const int64_t *row_ptr,
                                            const flip_real *value, bool mean, flip_real *scale) {
    const int lane = (int)threadIdx.x % LANES;
    const int64_t v = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / LANES;
    const int64_t end = v < n_rows ? row_ptr[v + 1] : 0;
    double sum = 0;
    for (int64_t e = v < n_rows ? row_ptr[v] + lane : 0; e < end; e += LANES)
        sum += (double)value[e];
    for (int apart = LANES / 2; apart > 0; apart /= 2)
        sum += __shfl_xor_sync(FLIP_ALL_LANES, sum, apart);
    if (lane == 0 && v < n_rows)
        scale[v] = (flip_real)(!mean ? 1.0 / sqrt(1.0 + sum) : sum != 0 ? 1.0 / sum : 0);
}

static void degree_scales(int32_t n_rows, const int64_t *row_ptr, const flip_real *value, bool mean,
                          flip_real *scale) {
    FLIP_LAUNCH(degree_scales_kernel, flip_tiles_of(n_rows, THREADS / LANES), THREADS, 0, n_rows,
                row_ptr, value, mean, scale);
}

void flip_use_cuda_changes(flip_kernels *table) {
    table->unpack_words = unpack_words;
    table->merge_changes = merge_changes;
    table->find_changes = find_changes;
    table->live_entries = live_entries;
    table->keys_to_csr = keys_to_csr;
    table->degree_scales = degree_scales;
}

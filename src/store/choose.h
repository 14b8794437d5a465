/* The k largest of numbers that are spread over ranks. */
#ifndef FLIPBOOK_STORE_CHOOSE_H
#define FLIPBOOK_STORE_CHOOSE_H

#include <flipbook/comm.h>

/* Own key i is chosen if it is above `above`, or equal to it and among the first `ties` of this
 * rank's equal ones. */
typedef struct flip_chosen {
    uint64_t above;
    int64_t ties;
} flip_chosen;

/* Collective. k of all keys (all of them where there are fewer); of equal ones those of lower ranks
 * first, in their order. 0.5 MB of memory. */
flip_status flip_choose_largest(flip_chosen *chosen, flip_comm *comm, int64_t n,
                                const uint64_t *key, int64_t k);

/* Is it chosen? Called for keys in their order: it counts the ties down. */
static inline bool flip_chosen_next(flip_chosen *chosen, uint64_t key) {
    if (key != chosen->above) return key > chosen->above;
    return chosen->ties-- > 0;
}

#endif

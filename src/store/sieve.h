/* Which rows to keep of those that come and go: SIEVE (Zhang et al., NSDI'24). A queue in the order
 * of arrival; what is found again is marked, not moved; a hand goes from the oldest to the newest,
 * takes marks off, and evicts the first row without one. */
#ifndef FLIPBOOK_STORE_SIEVE_H
#define FLIPBOOK_STORE_SIEVE_H

#include <flipbook/base.h>

typedef struct flip_sieve flip_sieve;

/* Room for `capacity` >= 1 ids; slots 0 … capacity-1. Local. */
flip_status flip_sieve_create(flip_sieve **sieve, int32_t capacity);
void flip_sieve_destroy(flip_sieve **sieve);
/* The slot of an id, which is marked; -1 = not here. */
int32_t flip_sieve_find(flip_sieve *sieve, flip_gid id);
/* A slot for an id, which may be here already (*fresh tells, it is not marked); full: that of the
 * id it evicts. */
int32_t flip_sieve_insert(flip_sieve *sieve, flip_gid id, bool *fresh);
size_t flip_sieve_bytes(int32_t capacity);

#endif

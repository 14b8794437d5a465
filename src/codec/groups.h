/* Values on their way, or put aside for a while: groups of 256 in 8, 4 or 2 bits with stochastic
 * rounding (unbiased), or bfloat16. What the wire (AdaQP, MLSys'23) and saved activations (ActNN,
 * ICML'21, section 4) use.
 *
 *     n values ─▶ ceil(n / 256) groups
 *       8, 4 bits   [ low ][ high ][ 256 codes ]
 *       2 bits      [ low ][ high ][ 4 tops ][ levels ][ 256 codes ]
 *
 * low and high are bfloat16, a top and the levels a byte. low is rounded down and high up, so each
 * value lies between two levels; it takes the upper one with the probability that makes its
 * expectation exact. In 8 and 4 bits levels are even: low + code (high - low) / (2^bits - 1). In 2
 * bits 64 values each have a range of their own, which ends at low + top (high - low) / 255, and
 * the inner levels lie at the sixteenths a < b of it (the byte is a | b << 4) at which the group's
 * expected squared error is least: ALQ's criterion (NeurIPS'20, section 3), here over all pairs. A
 * constant group is exact to its bfloat16 neighbours. A group with a NaN or an infinity decodes to
 * NaN altogether. The last group has only the codes and tops it needs. bits = 16: n bfloat16, to
 * nearest. */
#ifndef FLIPBOOK_CODEC_GROUPS_H
#define FLIPBOOK_CODEC_GROUPS_H

#include <flipbook/base.h>

enum { FLIP_GROUP = 256, FLIP_QUARTER = 64 };

/* Bytes of n values; bits 2, 4, 8 or 16. */
size_t flip_groups_bytes(int64_t n, int32_t bits);
/* The draws depend on (key, position) alone, so the same call gives the same bits for any number of
 * threads (those of the OpenMP runtime). */
void flip_groups_encode(uint8_t *out, const flip_real *x, int64_t n, int32_t bits, uint64_t key);
void flip_groups_decode(flip_real *x, const uint8_t *in, int64_t n, int32_t bits);
/* The expected squared error of n values, at most a group's, in 2, 4 or 8 bits, summed; 0 where a
 * value is not finite. */
double flip_groups_error(const flip_real *x, int n, int32_t bits);

#endif

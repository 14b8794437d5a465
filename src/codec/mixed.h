/* Groups of values (groups.h) with widths of their own: 2, 4 or 8 bits, 4 on average. The bytes of
 * a message are fixed by its length; inside them each group gets the width that takes most of the
 * message's squared error away (AdaQP, MLSys'23, section 4: adaptive bit widths; there by an
 * integer program, here by steps of the best gain a byte).
 *
 *     [ widths: 2 bits a group ][ group 0 ][ group 1 ] … [ unused ] */
#ifndef FLIPBOOK_CODEC_MIXED_H
#define FLIPBOOK_CODEC_MIXED_H

#include <flipbook/base.h>

size_t flip_mixed_bytes(int64_t n);
/* Fails only for want of memory. */
flip_status flip_mixed_encode(uint8_t *out, const flip_real *x, int64_t n, uint64_t key);
/* Refuses widths that do not fill the message (FLIP_ERROR_INTERNAL). */
flip_status flip_mixed_decode(flip_real *x, const uint8_t *in, int64_t n);

#endif

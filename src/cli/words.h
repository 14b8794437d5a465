/* Numbers as people read them. */
#ifndef FLIPBOOK_CLI_WORDS_H
#define FLIPBOOK_CLI_WORDS_H

#include <stdint.h>

/* By value, so that several stand in one printf: printf("%s of %s", flip_grouped(a).s, …). */
typedef struct flip_words {
    char s[48];
} flip_words;

flip_words flip_grouped(int64_t value);   /* 1,234,567 */
flip_words flip_byte_words(double bytes); /* 3.2 MB: powers of 1000 */

#endif

/* The nearest of several names: for messages that help. */
#include <flipbook/base.h>

#include <string.h>

#define LONGEST 64 /* longer words are nobody's typing mistake */

static int least(int a, int b, int c) {
    int m = a < b ? a : b;
    return m < c ? m : c;
}

/* Optimal string alignment distance: Levenshtein plus swaps of neighbours, three rows. */
static int distance(const char *a, const char *b) {
    int n = (int)strlen(a), m = (int)strlen(b);
    int rows[3][LONGEST + 1];
    if (n > LONGEST || m > LONGEST) return LONGEST;
    for (int j = 0; j <= m; j++)
        rows[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = rows[i % 3], *up = rows[(i + 2) % 3], *upper = rows[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            now[j] = least(up[j] + 1, now[j - 1] + 1, up[j - 1] + (a[i - 1] != b[j - 1]));
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && upper[j - 2] + 1 < now[j]) now[j] = upper[j - 2] + 1;
        }
    }
    return rows[n % 3][m];
}

const char *flip_suggest(const char *word, const char *const *choices, size_t n) {
    const char *best = NULL;
    int nearest = LONGEST;
    for (size_t i = 0; i < n; i++) {
        int d = distance(word, choices[i]);
        /* a choice that begins with the word (`--check` for `--checkpoint`) is one step away */
        if (strlen(word) >= 3 && strncmp(word, choices[i], strlen(word)) == 0) d = 1;
        if (d < nearest) {
            nearest = d;
            best = choices[i];
        }
    }
    int allowed = (int)strlen(word) / 3 < 2 ? 2 : (int)strlen(word) / 3;
    return best && nearest <= allowed && nearest < (int)strlen(best) ? best : NULL;
}

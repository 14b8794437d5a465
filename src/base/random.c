/* Chance as a pure function of (seed, stream, a, b): Philox4x32-10 (Salmon et al., SC'11). */
#include <flipbook/base.h>

#include <Random123/philox.h>
#include <math.h>

flip_random4 flip_random(uint64_t seed, flip_stream stream, uint64_t a, uint64_t b) {
    philox4x32_ctr_t counter = {
        {(uint32_t)b, (uint32_t)(b >> 32), (uint32_t)a, (uint32_t)(a >> 32)}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32) ^ ((uint32_t)stream << 24)}};
    philox4x32_ctr_t drawn = philox4x32(counter, key);
    return (flip_random4){{drawn.v[0], drawn.v[1], drawn.v[2], drawn.v[3]}};
}

static double to_unit(uint32_t high, uint32_t low) {
    return (double)(((uint64_t)high << 21) ^ (low >> 11)) * 0x1p-53;
}

double flip_random_uniform(uint64_t seed, flip_stream stream, uint64_t a, uint64_t b) {
    flip_random4 r = flip_random(seed, stream, a, b);
    return to_unit(r.v[0], r.v[1]);
}

/* Box-Muller, one value a counter. */
double flip_random_normal(uint64_t seed, flip_stream stream, uint64_t a, uint64_t b) {
    flip_random4 r = flip_random(seed, stream, a, b);
    double radius = sqrt(-2.0 * log(1.0 - to_unit(r.v[0], r.v[1])));
    return radius * cos(6.283185307179586 * to_unit(r.v[2], r.v[3]));
}

uint64_t flip_random_below(uint64_t seed, flip_stream stream, uint64_t a, uint64_t b, uint64_t n) {
    uint64_t below = (uint64_t)(flip_random_uniform(seed, stream, a, b) * (double)n);
    return below < n ? below : n - 1;
}

/* A Feistel network over pairs of `bits` bits, walked until it lands below n (Black and Rogaway,
 * CT-RSA 2002). The domain is less than 4 n, so a walk takes few steps. */
enum { FEISTEL_ROUNDS = 4 };

static int half_bits(int64_t n) {
    int bits = 1;
    while (((int64_t)1 << (2 * bits)) < n)
        bits++;
    return bits;
}

/* a = 2^63 + round: apart from all other uses of a stream, which count from 0. */
static uint64_t feistel_key(uint64_t seed, flip_stream stream, int round, uint64_t half) {
    return flip_random(seed, stream, (uint64_t)1 << 63 | (uint64_t)round, half).v[0];
}

int64_t flip_random_permute(uint64_t seed, flip_stream stream, int64_t n, int64_t x) {
    int bits = half_bits(n);
    uint64_t mask = ((uint64_t)1 << bits) - 1;
    do {
        uint64_t left = (uint64_t)x >> bits, right = (uint64_t)x & mask;
        for (int r = 0; r < FEISTEL_ROUNDS; r++) {
            uint64_t next = left ^ (feistel_key(seed, stream, r, right) & mask);
            left = right;
            right = next;
        }
        x = (int64_t)(left << bits | right);
    } while (x >= n);
    return x;
}

int64_t flip_random_permute_back(uint64_t seed, flip_stream stream, int64_t n, int64_t y) {
    int bits = half_bits(n);
    uint64_t mask = ((uint64_t)1 << bits) - 1;
    do {
        uint64_t left = (uint64_t)y >> bits, right = (uint64_t)y & mask;
        for (int r = FEISTEL_ROUNDS - 1; r >= 0; r--) {
            uint64_t before = right ^ (feistel_key(seed, stream, r, left) & mask);
            right = left;
            left = before;
        }
        y = (int64_t)(left << bits | right);
    } while (y >= n);
    return y;
}

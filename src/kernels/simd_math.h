/* exp, the logistic function and tanh in vectors: to about three units in the last place, NaN for
 * NaN, and the limits at both ends. */
#ifndef FLIPBOOK_KERNELS_SIMD_MATH_H
#define FLIPBOOK_KERNELS_SIMD_MATH_H

#include "kernels/simd.h"

/* x = n ln 2 + r, |r| <= ln 2 / 2, and p = (exp(r) - 1) / r, a polynomial whose coefficients from
 * the third on make its largest relative error least: 1.4e-8. For x <= 0; -87 below it. */
INLINE vec v_exp_series(vec x, vec *n, vec *r) {
    x = v_max(v_set(-87.0f), x);
    *n = v_whole(v_mul(x, v_set(1.44269504f)));
    *r = v_fma(*n, v_set(-0.693359375f), x);
    *r = v_fma(*n, v_set(2.12194440e-4f), *r);
    vec p = v_set(1.38982316e-3f);
    p = v_fma(p, *r, v_set(8.36606696e-3f));
    p = v_fma(p, *r, v_set(4.16668542e-2f));
    p = v_fma(p, *r, v_set(1.66665480e-1f));
    p = v_fma(p, *r, v_set(0.5f));
    return v_fma(p, *r, v_set(1.0f));
}

/* exp(x) for x <= 0; exp(-87) = 1.6e-38 below -87. */
INLINE vec v_exp(vec x) {
    vec n, r, p = v_exp_series(x, &n, &r);
    return v_times_power(v_fma(p, r, v_set(1.0f)), n);
}

/* 1 / (1 + exp(-x)) from e = exp(-|x|) <= 1: 1 / (1 + e), or e / (1 + e) for x < 0. */
INLINE vec v_sigmoid(vec x) {
    vec e = v_exp(v_minus_abs(x)), one = v_set(1.0f);
    return v_quotient(v_by_sign(x, e, one), one + e);
}

/* With q = exp(-2|x|) - 1 = 2^n (exp(r) - 1) + (2^n - 1), in which nothing cancels for small x:
 * tanh |x| = -q / (2 + q). */
INLINE vec v_tanh(vec x) {
    vec n, r, p = v_exp_series(v_minus_abs(x) * v_set(2.0f), &n, &r);
    vec power = v_times_power(v_set(1.0f), n);
    vec minus_q = (v_set(1.0f) - power) - v_mul(power, v_mul(p, r));
    return v_with_sign(v_quotient(minus_q, v_set(2.0f) - minus_q), x);
}

/* The same of `count` vectors side by side: an operation waits for the one before it, which those
 * of the other vectors hide. `count` <= ABREAST is known when compiling.
 *
 * x / ln 2 is rounded to n by adding 1.5 * 2^23, whose sum's last bits are n and go into the
 * exponent; one part of ln 2 does, since n is at most 3 where exp(x) counts beside 1 in full. */
enum { ABREAST = 6 };
#define EACH UNROLL for (int i = 0; i < count; i++)

INLINE void v_exp_series_of(const int count, vec *x, vec *n, vec *p) { /* x becomes r */
    const vec shift = v_set(12582912.0f);
    EACH x[i] = v_max(v_set(-87.0f), x[i]);
    EACH n[i] = v_fma(x[i], v_set(1.44269504f), shift);
    EACH x[i] = v_fma(n[i] - shift, v_set(-0.693147181f), x[i]);
    EACH p[i] = v_fma(v_set(1.38982316e-3f), x[i], v_set(8.36606696e-3f));
    EACH p[i] = v_fma(p[i], x[i], v_set(4.16668542e-2f));
    EACH p[i] = v_fma(p[i], x[i], v_set(1.66665480e-1f));
    EACH p[i] = v_fma(p[i], x[i], v_set(0.5f));
    EACH p[i] = v_fma(p[i], x[i], v_set(1.0f));
}

INLINE void v_sigmoid_of(const int count, vec *x) {
    vec r[ABREAST], n[ABREAST], p[ABREAST];
    EACH r[i] = v_minus_abs(x[i]);
    v_exp_series_of(count, r, n, p);
    EACH p[i] = v_fma(p[i], r[i], v_set(1.0f));
    EACH p[i] = v_raise(p[i], n[i]);
    EACH r[i] = v_by_sign(x[i], p[i], v_set(1.0f));
    EACH p[i] = v_set(1.0f) + p[i];
    EACH x[i] = v_quotient(r[i], p[i]);
}

INLINE void v_tanh_of(const int count, vec *x) {
    vec r[ABREAST], n[ABREAST], p[ABREAST];
    EACH r[i] = v_minus_abs(x[i]);
    EACH r[i] = r[i] + r[i];
    v_exp_series_of(count, r, n, p);
    EACH n[i] = v_raise(v_set(1.0f), n[i]);
    EACH p[i] = v_mul(p[i], r[i]);
    EACH p[i] = (v_set(1.0f) - n[i]) - v_mul(n[i], p[i]);
    EACH r[i] = v_set(2.0f) - p[i];
    EACH x[i] = v_with_sign(v_quotient(p[i], r[i]), x[i]);
}
#undef EACH

/* y (1 - y) and 1 - y^2, the slopes of the logistic function and of tanh whose value is y. */
INLINE vec v_bend(vec y) {
    return v_mul(y, v_set(1.0f) - y);
}

INLINE vec v_bend_tanh(vec y) {
    return v_mul(v_set(1.0f) - y, v_set(1.0f) + y);
}

/* An LSTM's cell walked back: gates [i f g o] activated, c and the one before it, the gradients of
 * h and c; d: the gates' gradients before activation. Returns that of the cell before. */
INLINE vec v_lstm_back(const vec gate[4], vec c, vec before, vec dh, vec dc, vec d[4]) {
    vec bent = v_tanh(c), dcell = v_fma(v_mul(dh, gate[3]), v_bend_tanh(bent), dc);
    d[0] = v_mul(v_mul(dcell, gate[2]), v_bend(gate[0]));
    d[1] = v_mul(v_mul(dcell, before), v_bend(gate[1]));
    d[2] = v_mul(v_mul(dcell, gate[0]), v_bend_tanh(gate[2]));
    d[3] = v_mul(v_mul(dh, bent), v_bend(gate[3]));
    return v_mul(dcell, gate[1]);
}

#endif

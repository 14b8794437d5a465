/* exp, the logistic function and tanh in vectors: to about three units in the last place, NaN for
 * NaN, and the limits at both ends. */
#ifndef FLIPBOOK_KERNELS_SIMD_MATH_H
#define FLIPBOOK_KERNELS_SIMD_MATH_H

#include "kernels/simd.h"

/* x = n ln 2 + r with ln 2 in two parts; the series of (exp(r) - 1) / r. For x <= 0; -87 below it.
 */
INLINE vec v_exp_series(vec x, vec *n, vec *r) {
    x = v_max(v_set(-87.0f), x);
    *n = v_whole(v_mul(x, v_set(1.44269504f)));
    *r = v_fma(*n, v_set(-0.693359375f), x);
    *r = v_fma(*n, v_set(2.12194440e-4f), *r);
    vec p = v_set(1.0f / 5040);
    p = v_fma(p, *r, v_set(1.0f / 720));
    p = v_fma(p, *r, v_set(1.0f / 120));
    p = v_fma(p, *r, v_set(1.0f / 24));
    p = v_fma(p, *r, v_set(1.0f / 6));
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
    return v_by_sign(x, e, one) / (one + e);
}

/* With q = exp(-2|x|) - 1 = 2^n (exp(r) - 1) + (2^n - 1), in which nothing cancels for small x:
 * tanh |x| = -q / (2 + q). */
INLINE vec v_tanh(vec x) {
    vec n, r, p = v_exp_series(v_minus_abs(x) * v_set(2.0f), &n, &r);
    vec power = v_times_power(v_set(1.0f), n);
    vec minus_q = (v_set(1.0f) - power) - v_mul(power, v_mul(p, r));
    return v_with_sign(minus_q / (v_set(2.0f) - minus_q), x);
}

#endif

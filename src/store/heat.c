/* How often a row will be read, from few counts. */
#include <flipbook/store.h>

flip_status flip_heat_smooth(flip_comm *comm, int64_t n, double *heat, const double *expected,
                             double weight) {
    double sum[2] = {0};
    for (int64_t i = 0; i < n; i++) {
        sum[0] += heat[i];
        sum[1] += expected[i];
    }
    FLIP_TRY(flip_comm_sum_f64(comm, sum, 2));
    double share = sum[1] > 0 ? weight * sum[0] / sum[1] : 0;
    for (int64_t i = 0; i < n; i++)
        heat[i] += expected[i] * share;
    return FLIP_OK;
}

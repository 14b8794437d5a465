/* The adapter for HDF5: start-up, types, error texts, and conversions that refuse what does not
 * fit. */
#include "container_private.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void start(void) {
    H5dont_atexit();
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
}

void flip_hdf5_start(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
}

static herr_t innermost(unsigned n, const H5E_error2_t *error, void *data) {
    if (n == 0 && error->desc) snprintf(data, 512, "%s", error->desc);
    return 0;
}

/* HDF5's texts of system errors hold times and addresses; only the system's own words are kept. */
static bool system_words(char *text) {
    static const char key[] = "error message = '";
    char *begin = strstr(text, key);
    if (!begin) return false;
    begin += sizeof key - 1;
    char *end = strchr(begin, '\'');
    if (end) *end = 0;
    memmove(text, begin, strlen(begin) + 1);
    return true;
}

flip_status flip_hdf5_fail(const char *function, const char *file, int line, const char *format,
                           ...) {
    char what[1024], why[512] = "no reason given";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, why);
    H5Eclear2(H5E_DEFAULT);
    if (system_words(why))
        return flip_error_set(FLIP_ERROR_IO, function, file, line, "%s: %s", what, why);
    return flip_error_set(FLIP_ERROR_LIBRARY, function, file, line, "%s: HDF5 says: %s", what, why);
}

size_t flip_type_size(flip_type type) {
    static const size_t sizes[] = {1, 1, 4, 8, 4, 8};
    return sizes[type];
}

const char *flip_type_name(flip_type type) {
    static const char *const names[] = {"int8", "uint8", "int32", "int64", "float32", "float64"};
    return names[type];
}

hid_t flip_hdf5_disk_type(flip_type type) {
    const hid_t types[] = {H5T_STD_I8LE,  H5T_STD_U8LE,   H5T_STD_I32LE,
                           H5T_STD_I64LE, H5T_IEEE_F32LE, H5T_IEEE_F64LE};
    return types[type];
}

hid_t flip_hdf5_memory_type(flip_type type) {
    const hid_t types[] = {H5T_NATIVE_INT8,  H5T_NATIVE_UINT8, H5T_NATIVE_INT32,
                           H5T_NATIVE_INT64, H5T_NATIVE_FLOAT, H5T_NATIVE_DOUBLE};
    return types[type];
}

static double number_of(hid_t type, const void *value) {
    size_t size = H5Tget_size(type);
    if (H5Tget_class(type) == H5T_FLOAT) {
        float f;
        double d;
        memcpy(&f, value, sizeof f);
        if (size == sizeof f) return f;
        memcpy(&d, value, sizeof d);
        return d;
    }
    int64_t wide = 0;
    memcpy(&wide, value, size < sizeof wide ? size : sizeof wide); /* little-endian machines */
    if (H5Tget_sign(type) == H5T_SGN_2 && size < sizeof wide)
        wide = (int64_t)((uint64_t)wide << (64 - 8 * size)) >> (64 - 8 * size);
    return (double)wide;
}

/* By itself HDF5 clamps silently. Infinities between floats are values like others. */
static H5T_conv_ret_t exception(H5T_conv_except_t kind, hid_t from, hid_t to, void *from_value,
                                void *to_value, void *data) {
    flip_conversion *conversion = data;
    double value = number_of(from, from_value);
    bool to_float = H5Tget_class(to) == H5T_FLOAT;
    if (kind == H5T_CONV_EXCEPT_PRECISION) return H5T_CONV_UNHANDLED;
    if (to_float && isinf(value)) {
        if (H5Tget_size(to) == sizeof(float))
            memcpy(to_value, &(float){(float)value}, sizeof(float));
        else
            memcpy(to_value, &value, sizeof(double));
        return H5T_CONV_HANDLED;
    }
    conversion->refused = true;
    conversion->value = value;
    return H5T_CONV_ABORT;
}

flip_status flip_conversion_init(flip_conversion *conversion, bool converts) {
    *conversion = (flip_conversion){.transfer = H5P_DEFAULT};
    if (!converts) return FLIP_OK;
    conversion->transfer = H5Pcreate(H5P_DATASET_XFER);
    if (conversion->transfer < 0 ||
        H5Pset_type_conv_cb(conversion->transfer, exception, conversion) < 0)
        return FLIP_FAIL_HDF5("cannot prepare a conversion");
    return FLIP_OK;
}

void flip_conversion_finish(flip_conversion *conversion) {
    if (conversion->transfer > 0) H5Pclose(conversion->transfer);
    conversion->transfer = H5P_DEFAULT;
}

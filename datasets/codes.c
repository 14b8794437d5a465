/* Packed features of a file: its codec, and whether codes and codec belong together. */
#include <flipbook/container.h>

static flip_status read_tables(flip_codec **codec, const flip_reader *reader) {
    int64_t dims[3];
    uint8_t *bytes;
    FLIP_TRY(flip_reader_shape(reader, "features/codec", dims, NULL));
    FLIP_TRY(flip_alloc(&bytes, (size_t)dims[0], 1, "a codec's bytes"));
    flip_status status =
        flip_reader_rows(reader, "features/codec", FLIP_TYPE_U8, 0, dims[0], bytes);
    if (status == FLIP_OK) status = flip_codec_from_bytes(codec, bytes, (size_t)dims[0]);
    flip_free(bytes);
    return status;
}

static flip_status check_widths(const flip_codec *codec, const flip_reader *reader) {
    int64_t dims[3], n_columns;
    int32_t dim_in;
    flip_codec_rotation(codec, &dim_in);
    FLIP_TRY(flip_reader_shape(reader, "features/codes", dims, NULL));
    if (dims[1] != (int64_t)flip_codec_stride(codec))
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' features/codes: rows of %lld bytes, codec %s makes %zu; compress it "
                         "again",
                         flip_reader_path(reader), (long long)dims[1], flip_codec_name(codec),
                         flip_codec_stride(codec));
    FLIP_TRY(flip_reader_attribute_i64(reader, "features", "n_columns", &n_columns));
    if (n_columns != dim_in)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' features: n_columns is %lld, codec %s is of %d; compress it again",
                         flip_reader_path(reader), (long long)n_columns, flip_codec_name(codec),
                         dim_in);
    return FLIP_OK;
}

flip_status flip_container_codec(flip_codec **codec, const flip_reader *reader) {
    *codec = NULL;
    if (!flip_reader_has(reader, "features/codes")) return FLIP_OK;
    if (!flip_reader_has(reader, "features/codec"))
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' has features/codes but not features/codec; compress it again",
                         flip_reader_path(reader));
    FLIP_TRY(read_tables(codec, reader));
    flip_status status = check_widths(*codec, reader);
    if (status != FLIP_OK) flip_codec_destroy(codec);
    return status;
}

/* Packed features of a file: its codecs, and whether codes and codecs belong together. */
#include <flipbook/container.h>

/* Where a level stands. */
typedef struct level {
    const char *codes, *codec;
} level;
static const level coarse_level = {"features/codes", "features/codec"};
static const level refinement_level = {"features/refinement", "features/refinement_codec"};

static flip_status read_tables(flip_codec **codec, const flip_reader *reader, const char *name) {
    int64_t dims[3];
    uint8_t *bytes;
    FLIP_TRY(flip_reader_shape(reader, name, dims, NULL));
    FLIP_TRY(flip_alloc(&bytes, (size_t)dims[0], 1, "a codec's bytes"));
    flip_status status = flip_reader_rows(reader, name, FLIP_TYPE_U8, 0, dims[0], bytes);
    if (status == FLIP_OK) status = flip_codec_from_bytes(codec, bytes, (size_t)dims[0]);
    flip_free(bytes);
    return status;
}

static flip_status check_stride(const flip_codec *codec, const flip_reader *reader,
                                const char *name) {
    int64_t dims[3];
    FLIP_TRY(flip_reader_shape(reader, name, dims, NULL));
    if (dims[1] == (int64_t)flip_codec_stride(codec)) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "'%s' %s: rows of %lld bytes, codec %s makes %zu; compress it again",
                     flip_reader_path(reader), name, (long long)dims[1], flip_codec_name(codec),
                     flip_codec_stride(codec));
}

static flip_status check_columns(const flip_codec *codec, const flip_reader *reader) {
    int64_t n_columns;
    int32_t dim_in;
    flip_codec_rotation(codec, &dim_in);
    FLIP_TRY(flip_reader_attribute_i64(reader, "features", "n_columns", &n_columns));
    if (n_columns == dim_in) return FLIP_OK;
    return FLIP_FAIL(
        FLIP_ERROR_INPUT, "'%s' features: n_columns is %lld, codec %s is of %d; compress it again",
        flip_reader_path(reader), (long long)n_columns, flip_codec_name(codec), dim_in);
}

static flip_status open_level(flip_codec **codec, const flip_reader *reader, const level *l) {
    *codec = NULL;
    if (!flip_reader_has(reader, l->codes)) return FLIP_OK;
    if (!flip_reader_has(reader, l->codec))
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has %s but not %s; compress it again",
                         flip_reader_path(reader), l->codes, l->codec);
    FLIP_TRY(read_tables(codec, reader, l->codec));
    flip_status status = check_stride(*codec, reader, l->codes);
    if (status != FLIP_OK) flip_codec_destroy(codec);
    return status;
}

flip_status flip_container_codec(flip_codec **codec, const flip_reader *reader) {
    FLIP_TRY(open_level(codec, reader, &coarse_level));
    if (!*codec) return FLIP_OK;
    flip_status status = check_columns(*codec, reader);
    if (status != FLIP_OK) flip_codec_destroy(codec);
    return status;
}

flip_status flip_container_refinement(flip_codec **refinement, const flip_reader *reader,
                                      const flip_codec *coarse) {
    FLIP_TRY(open_level(refinement, reader, &refinement_level));
    if (!*refinement) return FLIP_OK;
    flip_status status;
    if (!coarse)
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' has features/refinement but not features/codes; compress it again",
                           flip_reader_path(reader));
    else if (flip_reader_has(reader, "features/node"))
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' has packed rows that change and a second level; expected one of "
                           "the two; compress it again",
                           flip_reader_path(reader));
    else
        status = flip_codec_check_refinement(coarse, *refinement);
    if (status != FLIP_OK) flip_codec_destroy(refinement);
    return status;
}

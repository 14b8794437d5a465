/* The pieces of `flipbook info`. */
#ifndef FLIPBOOK_CLI_INFO_H
#define FLIPBOOK_CLI_INFO_H

#include <flipbook/model.h>

#include "datasets/survey.h"

/* Bytes of the largest of 1 << ranks_log2 ranks, training two layers of width 128. */
double flip_info_train_bytes(const flip_survey *survey, flip_model_kind kind, int ranks_log2);
/* One JSON object on stdout. */
flip_status flip_info_json(const flip_survey *survey, const char *path);
flip_status flip_info_other_json(const flip_reader *reader, const char *kind);
/* What the program was built with, and what runs here. */
flip_status flip_info_build(void);

#endif

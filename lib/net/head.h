/* A decoder's two outputs, and which of them a probability is made of. */
#ifndef DBI_NET_HEAD_H
#define DBI_NET_HEAD_H

#include "base/error.h"

typedef enum dbi_head {
    DBI_HEAD_SEG, /* p = sigmoid(logits) */
    DBI_HEAD_SDF, /* p = sigmoid(k sdf) */
    DBI_HEAD_BOTH /* the mean of the two */
} dbi_head;

/* "seg", "sdf" or "both"; and back. */
int dbi_head_parse(const char *text, dbi_head *head, dbi_error *error);
const char *dbi_head_name(dbi_head head);

/* Whose outputs are used when a network has several decoders. Decoder i alone is DBI_DECODER_FIRST + i, from 0. */
typedef enum dbi_decoder_choice {
    DBI_DECODER_MEAN, /* the mean over the decoders */
    DBI_DECODER_EACH, /* those of each decoder, side by side */
    DBI_DECODER_FIRST
} dbi_decoder_choice;

/* "mean", "each", "1" or "2"; and back. */
int dbi_decoder_parse(const char *text, dbi_decoder_choice *choice, dbi_error *error);
const char *dbi_decoder_name(dbi_decoder_choice choice);

#endif

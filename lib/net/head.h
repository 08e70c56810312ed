/* The network's two outputs, and which of them a probability is made of. */
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

#endif

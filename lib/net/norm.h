/* What a network's normalizations take mean and variance over, as it is chosen and written. */
#ifndef DBI_NET_NORM_H
#define DBI_NET_NORM_H

#include <stdbool.h>

#include "base/error.h"

/* As in PyTorch: BatchNorm3d; InstanceNorm3d without and with weight and bias; GroupNorm. Only batch normalization
 * keeps running statistics. */
typedef enum dbi_norm_kind {
    DBI_NORM_BATCH,
    DBI_NORM_INSTANCE,
    DBI_NORM_INSTANCE_AFFINE,
    DBI_NORM_GROUP
} dbi_norm_kind;

typedef struct dbi_normalization {
    dbi_norm_kind kind;
    int groups; /* of channels, DBI_NORM_GROUP alone */
} dbi_normalization;

/* "batch", "instance", "instance:affine" or "group:N". */
enum { DBI_NORM_TEXT = 32 };
int dbi_norm_parse(const char *text, dbi_normalization *norm, dbi_error *error);
void dbi_norm_text(const dbi_normalization *norm, char text[DBI_NORM_TEXT]);
bool dbi_norm_equal(const dbi_normalization *a, const dbi_normalization *b);

/* Refuses groups that do not divide the filters of the first block; those of all others are multiples. */
int dbi_norm_check(const dbi_normalization *norm, int filters, dbi_error *error);
/* Groups of so many channels, normalized together, each sample by itself; 0: each channel over the whole batch. */
int dbi_norm_groups(const dbi_normalization *norm, int channels);

#endif

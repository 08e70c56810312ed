/* The samples of a training step. */
#pragma once
#include <stdint.h>

#include "base/real.h"

/* Of N samples the first M are labelled. */
typedef struct dbi_samples_f32 {
    const real *image;      /* [N,C,X,Y,Z] */
    const uint8_t *label;   /* [M,X,Y,Z] */
    const float *label_sdf; /* [M,K,X,Y,Z], normalized as the method says */
    const uint8_t *truth;   /* [N-M,X,Y,Z] or NULL; for the log alone */
} dbi_samples_f32;

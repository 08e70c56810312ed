/* A training step in numbers: the shape of its batch, and what the log shows of it. */
#ifndef DBI_METHOD_STEP_H
#define DBI_METHOD_STEP_H

#include "method/method.h"

/* The loss of one step: each term before weighting, the mean over the decoders, and what else the log shows. */
typedef struct dbi_loss_values {
    double term[DBI_TERMS];
    double total;
    double voxel_weight;  /* mean weight of the voxels in the pseudo terms or in the teacher term; 0 without these */
    double pseudo_dice;   /* Dice of the thresholded pseudo-label and the truth, mean over classes; NAN without truth */
    double weighted_dice; /* the same, each voxel counted with its weight */
} dbi_loss_values;

typedef struct dbi_loss_shape {
    int64_t batch, labeled, classes, size[3]; /* the first `labeled` samples have labels */
    int decoders;                             /* of the network: its outputs are [decoders,batch,classes,size] */
} dbi_loss_shape;

typedef struct dbi_step_log {
    dbi_loss_values loss;
    double rate, ramp;
} dbi_step_log;

#endif

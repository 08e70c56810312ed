/* Batches of cropped and augmented samples from the cases of a manifest.
 *
 * Batch k is a function of the manifest, the settings and k alone: chunks, threads, reading ahead and the memory limit
 * change nothing. Sample j of batch k takes its random numbers from (seed, k, labelled or not, j): the labelled samples
 * are the same whatever the number of unlabelled ones. Samples of a batch are of different cases as long as there are
 * enough. */
#ifndef DBI_COHORT_SAMPLER_H
#define DBI_COHORT_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "cohort/manifest.h"
#include "record/record.h"

enum { DBI_SAMPLES_MAX = 1024 };

typedef struct dbi_sampler_settings {
    int64_t patch[3];
    int labeled, unlabeled; /* samples in a batch */
    uint64_t seed;
    bool truth; /* the labels of the unlabelled samples as the tensor `truth`, for looking at, not for training */
    bool flip, flip_z;   /* mirror the first two axes, the third */
    bool turn;           /* by multiples of 90 degrees in the first two axes, of 180 where their spacing differs */
    double intensity;    /* a: image * (1 + a u) + a w with u, w uniform in [-1, 1], by channel; 0: off */
    double noise;        /* standard deviation of normal noise on the image; 0: off */
    int64_t cache_bytes; /* decompressed cases kept in memory; those of the batches that are being made are kept in any
                            case */
} dbi_sampler_settings;

/* Batches of 2 + 2, flips and turns, no other augmentation, 4 GiB. The patch has to be set. */
dbi_sampler_settings dbi_sampler_defaults(void);

typedef struct dbi_sampler dbi_sampler;

/* Reads the headers of the labelled and unlabelled cases and checks that they fit together: preprocessing, channels,
 * classes, kind of distance map. Takes the texts that it needs from the manifest. */
dbi_sampler *dbi_sampler_open(const dbi_manifest *manifest, const dbi_sampler_settings *settings, dbi_error *error);
void dbi_sampler_close(dbi_sampler *sampler);

/* Batch `step`, for the caller to free: `image` f32 [N,C,X,Y,Z], labelled samples first; `label` u8 [M,X,Y,Z] and,
 * where all labelled cases have a distance map, `sdf` f32 [M,K,X,Y,Z] of the M labelled ones; `truth` u8 [N-M,X,Y,Z]
 * where asked for. Metadata kind, step, seed, labeled, classes, preprocessing, sdf, history.
 *
 * A sample: the scan is turned and mirrored, then cropped at a random place. Where it is smaller than the patch, it is
 * put at a random place within the patch; what is beyond it is 0 in image and label, and in the distance map -1 where
 * that is clipped, else its smallest value. Several threads may make batches of one sampler at once. */
dbi_record *dbi_sampler_batch(dbi_sampler *sampler, uint32_t step, dbi_error *error);

#endif

/* Batches of cropped and augmented samples from the cases of a manifest.
 *
 * Batch k depends on the manifest, the settings and k alone: chunks, threads, reading ahead and the memory limit change
 * nothing. Sample j of batch k takes its random numbers from (seed, k, labelled or not, j), so the labelled samples do
 * not depend on the number of unlabelled ones. The samples of a batch are of different cases as long as there are
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
    bool truth;        /* add the unlabelled samples' labels as the tensor `truth`, for the log and not for training */
    bool flip, flip_z; /* flip: mirror the first two axes; flip_z: the third */
    bool turn;         /* turn by multiples of 90 degrees in the first two axes, of 180 where their spacing differs */
    double intensity;  /* a: image * (1 + a u) + a w with u, w uniform in [-1, 1], by channel; 0: off */
    double noise;      /* standard deviation of normal noise on the image; 0: off */
    int64_t cache_bytes; /* bytes of decompressed cases kept in memory, beside those that are needed now */
} dbi_sampler_settings;

/* Batches of 2 + 2 samples, flips and turns, no other change, 4 GiB. The caller must set the patch. */
dbi_sampler_settings dbi_sampler_defaults(void);

typedef struct dbi_sampler dbi_sampler;

/* Reads the headers of the labelled and unlabelled cases and checks that they fit together: preprocessing, channels,
 * classes, kind of distance map. Copies what it needs of the manifest. NULL with an error. */
dbi_sampler *dbi_sampler_open(const dbi_manifest *manifest, const dbi_sampler_settings *settings, dbi_error *error);
/* NULL is allowed. */
void dbi_sampler_close(dbi_sampler *sampler);

/* Makes batch `step`, which the caller frees: `image` f32 [N,C,X,Y,Z], labelled samples first; of the M labelled
 * samples `label` u8 [M,X,Y,Z] and, if all labelled cases have a distance map, `sdf` f32 [M,K,X,Y,Z]; `truth` u8
 * [N-M,X,Y,Z] if asked for. Metadata kind, step, seed, labeled, classes, preprocessing, sdf, history.
 *
 * For a sample the scan is turned and mirrored, then cropped at a random place. A scan that is smaller than the patch
 * is put at a random place in it; the rest is 0 in image and label, and in the distance map -1 if it is clipped, else
 * its smallest value. Several threads may make batches of one sampler at once. */
dbi_record *dbi_sampler_batch(dbi_sampler *sampler, uint32_t step, dbi_error *error);

#endif

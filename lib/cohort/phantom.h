/* A synthetic cohort: scans like those of a left atrium with its veins, made of random numbers alone.
 *
 * Each scan shows a body (an ellipsoid, smoothly deformed) with three to five curved, tapering vessels; the label holds
 * the body and the first millimetres of the vessels. Around it lie a chamber that touches it, a second chamber and two
 * large tubes, all filled with nearly the same brightness and not labelled, and lungs, fat and textured tissue. Scans
 * differ in pose, shape, brightness ratios, wall, texture, bias field, noise, sharpness, intensity scale, spacing,
 * orientation and storage order. */
#ifndef DBI_COHORT_PHANTOM_H
#define DBI_COHORT_PHANTOM_H

#include <stdint.h>

#include "base/error.h"
#include "image/volume.h"

enum { DBI_PHANTOM_CHANNELS = 4, DBI_PHANTOM_CLASSES = 3 };

typedef struct dbi_phantom_settings {
    uint64_t seed;
    int64_t size;    /* voxels across, from 16 to 512: x and y have 0.9 to 1.1 times as many, z four fifths of that */
    int channels;    /* 1 to DBI_PHANTOM_CHANNELS: further channels show the same anatomy with other brightnesses */
    int classes;     /* 1: body with vessels; 2: also the touching chamber; 3: also the large tubes */
    double contrast; /* body against tissue, as a part of the body's brightness; 0 to 1 */
    double noise;    /* standard deviation as a part of the body's brightness; 0 to 1 */
    double variability; /* of shape and appearance between scans: 0 none, 1 the default, up to 2 */
    double neighbors;   /* how alike the neighbours' brightness is: 0 easy to tell apart, 1 equal except for the scan's
                           variation */
} dbi_phantom_settings;

/* The settings that the demo uses. */
dbi_phantom_settings dbi_phantom_defaults(void);

typedef struct dbi_phantom {
    int channels;
    dbi_volume image[DBI_PHANTOM_CHANNELS]; /* one for each channel, f32 with whole numbers from 0 to 32767, as scanners
                                               store them */
    dbi_volume label;                       /* u8 */
} dbi_phantom;

/* Makes scan `index` of the cohort. It depends on the settings and the index alone. Free with dbi_phantom_free. */
int dbi_phantom_make(const dbi_phantom_settings *settings, uint32_t index, dbi_phantom *phantom, dbi_error *error);
void dbi_phantom_free(dbi_phantom *phantom);

#endif

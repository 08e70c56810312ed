/* A synthetic cohort in a folder. */
#ifndef DBI_COHORT_PHANTOM_COHORT_H
#define DBI_COHORT_PHANTOM_COHORT_H

#include "cohort/phantom.h"

/* Writes a cohort of `train` and `test` scans into a folder (made if missing) in the layout of the Medical Segmentation
 * Decathlon: imagesTr/, labelsTr/, imagesTs/, labelsTs/ with phantom_001.nii.gz ... and phantom_test_001.nii.gz ...,
 * and dataset.json, which is written last. With more than one channel the images are phantom_001_0000.nii.gz,
 * phantom_001_0001.nii.gz, ... A scan does not depend on the number of scans. Scans are made in parallel. `done`, which
 * may be NULL, is called after each scan, by one thread at a time. */
int dbi_phantom_write(const dbi_phantom_settings *settings, int train, int test, const char *folder,
                      void (*done)(int count, int of), dbi_error *error);

#endif

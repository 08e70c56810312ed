/* Windows of a scan: what sees them, and the means over them. */
#ifndef DBI_DEVICE_SLIDE_H
#define DBI_DEVICE_SLIDE_H

#include <stddef.h>

#include "device/window.h"
#include "net/head.h"

/* What sees one window: image [C,x,y,z] -> logits and sdf (in [-1,1]), both [K,x,y,z]. For the programs it is the
 * network, for tests anything. */
typedef int (*dbi_window_function)(void *context, const float *image, float *logits, float *sdf, dbi_error *error);

/* What is averaged, each [K,X,Y,Z] of the scan or NULL when it is not wanted. Must be zero at first. */
typedef struct dbi_window_means {
    float *seg;  /* probabilities of the segmentation head, sigmoid(logits) */
    float *step; /* probabilities of the distance head, sigmoid(k sdf) */
    float *logits;
    float *sdf;
} dbi_window_means;

/* The device has no room for scan and means: nothing was done, and dbi_slide_run will do. */
enum { DBI_NO_ROOM = 1 };

/* The label that the means make, for a device that gives it without giving the means (see dbi_label_probabilities). */
typedef struct dbi_slide_label {
    dbi_head head;
    double threshold;
    uint8_t *label; /* [X,Y,Z] of the scan */
} dbi_slide_label;

typedef struct dbi_slide {
    const dbi_windows *windows;
    int64_t channels, classes;
    double k; /* of step */
    dbi_window_function function;
    void *context;
    void (*progress)(void *context, int64_t done, int64_t total); /* after each window (or batch of windows); or NULL */
    void *progress_context;
} dbi_slide;

/* Adds every window's weighted outputs to the scores: means of probabilities, logits and distances, since the weights
 * sum to 1. image: [C,X,Y,Z] of the scan; where a window reaches beyond it, the scan's outermost voxels are repeated: a
 * border of any fixed value, 0 for instance, is an edge that the network sees from far. One window's buffers are held
 * at a time. Fails when the function does, or when what it gives is not finite. */
int dbi_slide_run(const dbi_slide *slide, const float *image, const dbi_window_means *scores, dbi_error *error);

/* -1, with what is said where the network's output is not finite. */
int dbi_slide_not_finite(dbi_error *error);

/* Bytes of the buffers of dbi_slide_run for windows of this size. */
size_t dbi_slide_bytes(int64_t channels, int64_t classes, const int64_t window[3]);

#endif

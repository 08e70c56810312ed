/* Windows of a scan: the function that computes them, and the means over them. */
#ifndef DBI_DEVICE_SLIDE_H
#define DBI_DEVICE_SLIDE_H

#include <stddef.h>

#include "device/window.h"
#include "net/head.h"

/* Computes one window: image [C,x,y,z] -> logits and sdf (in [-1,1]), both [decoders,K,x,y,z]. In the programs it is
 * the network; tests use simple functions. */
typedef int (*dbi_window_function)(void *context, const float *image, float *logits, float *sdf, dbi_error *error);

/* What is averaged, each [K,X,Y,Z] of the scan, or NULL when it is not wanted. The caller sets the arrays to zero
 * first. Where each decoder has means of its own, those of decoder i are means[i]. */
typedef struct dbi_window_means {
    float *seg;  /* probabilities of the segmentation head, sigmoid(logits) */
    float *step; /* probabilities of the distance head, sigmoid(k sdf) */
    float *logits;
    float *sdf;
} dbi_window_means;

/* The device has no room for scan and means. Nothing was done, and dbi_slide_run can be used instead. */
enum { DBI_NO_ROOM = 1 };

/* The label that follows from the means (see dbi_label_probabilities), for a device that returns it without returning
 * the means. */
typedef struct dbi_slide_label {
    dbi_head head;
    double threshold;
    uint8_t *label; /* [X,Y,Z] of the scan */
} dbi_slide_label;

typedef struct dbi_slide {
    const dbi_windows *windows;
    int64_t channels, classes;
    int decoders;               /* of the network; 0 stands for 1 */
    dbi_decoder_choice decoder; /* whose outputs go into the means; EACH: every one has means of its own */
    double k;                   /* of sigmoid(k sdf), for the mean `step` */
    dbi_window_function function;
    void *context;
    void (*progress)(void *context, int64_t done, int64_t total); /* after each window (or batch of windows); or NULL */
    void *progress_context;
} dbi_slide;

/* How many decoders the network has, and how many dbi_window_means there are. */
int dbi_slide_decoders(const dbi_slide *slide);
int dbi_slide_means(const dbi_slide *slide);
/* How much a decoder's outputs count in their mean; 0: not at all. */
float dbi_slide_share(const dbi_slide *slide, int decoder);

/* Adds every window's weighted outputs to the scores. The weights sum to 1, so the scores become means of
 * probabilities, logits and distances. image: [C,X,Y,Z] of the scan. Where a window reaches beyond the scan, the
 * outermost voxels are repeated: with a fixed value such as 0, the network would see an edge there, even from far away.
 * The buffers of one window are held at a time. Fails when the function fails or when its outputs are not finite. */
int dbi_slide_run(const dbi_slide *slide, const float *image, const dbi_window_means *means, dbi_error *error);

/* Returns -1, with the message for outputs of the network that are not finite. */
int dbi_slide_not_finite(dbi_error *error);

/* The bytes of dbi_slide_run's buffers for windows of this size. */
size_t dbi_slide_bytes(int64_t channels, int64_t classes, int decoders, const int64_t window[3]);

#endif

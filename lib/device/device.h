/* A device computes the network, a training step, the windows of a scan and distance maps.
 *
 * A device is a table of functions, filled in by a folder of its own (lib/cpu, lib/cuda), together with the user's
 * choices. Everything above calls the table and does not ask which device it is; tools/devices.c alone knows them all.
 * The functions of device/net.h and device/trainer.h check what must hold on every device and then call the table. */
#ifndef DBI_DEVICE_DEVICE_H
#define DBI_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "device/slide.h"
#include "distance/transform.h"
#include "method/method.h"
#include "method/samples.real.h"
#include "method/step.h"
#include "net/pass.h"
#include "net/weights.real.h"

typedef enum dbi_precision {
    DBI_PRECISION_FP32, /* everything in single precision */
    DBI_PRECISION_TF32, /* convolutions on tensor cores, factors rounded to 10 bits */
    DBI_PRECISION_BF16  /* activations and convolutions in bfloat16; master weights, sums, statistics and outputs in
                           single precision */
} dbi_precision;

/* Reads "fp32", "tf32" or "bf16"; and writes it. */
int dbi_precision_parse(const char *name, dbi_precision *precision, dbi_error *error);
const char *dbi_precision_name(dbi_precision precision);

typedef struct dbi_device {
    const struct dbi_device_table *table;
    int index; /* which one of several devices of this kind, from 0 */
    dbi_precision precision;
    bool fast; /* allow algorithms whose last bits depend on timing */
} dbi_device;

/* The most that a device can do by its clocks and units, to compare measured speeds with, per second: bytes of its
 * memory, and floating-point operations of convolutions in the device's precision (boost clock, no sparsity). */
typedef struct dbi_device_facts {
    char name[256];
    double bandwidth, arithmetic;
} dbi_device_facts;

/* What a training needs before its first step. The layout must outlive it. */
typedef struct dbi_training {
    const dbi_method *method; /* copied */
    int64_t total_steps;
    uint64_t seed;
    const dbi_layout *layout;
    dbi_loss_shape shape;
} dbi_training;

/* Functions that can fail return -1 or NULL with the reason in `error`, and 0 or a pointer otherwise. All arrays are in
 * host memory. */
typedef struct dbi_device_table {
    const char *name; /* "cpu" */
    bool precisions;  /* whether it has precisions other than fp32 */

    /* Returns 0 when the device can be used here; the error says in one line what is missing. NULL: it always can be
     * used. */
    int (*check)(const dbi_device *device, dbi_error *error);
    int (*describe)(const dbi_device *device, dbi_device_facts *facts, dbi_error *error); /* NULL: not known */

    /* The network: see device/net.h, which has checked shape and pass. net_open NULL: the device has no network.
     * net_bytes: SIZE_MAX when such a net cannot be made. */
    void *(*net_open)(const dbi_device *device, const dbi_net_shape *shape, dbi_error *error);
    void (*net_close)(void *net);
    size_t (*net_bytes)(const dbi_device *device, const dbi_net_shape *shape);
    int (*net_forward)(void *net, dbi_weights_f32 *weights, const dbi_pass *pass, const float *image, float *logits,
                       float *sdf, dbi_error *error);
    int (*net_backward)(void *net, const dbi_weights_f32 *weights, const float *dlogits, const float *dsdf,
                        float *gradient, dbi_error *error);

    /* Training: see device/trainer.h. trainer_open NULL: the device does not train. */
    void *(*trainer_open)(const dbi_device *device, const dbi_training *training, dbi_error *error);
    void (*trainer_close)(void *trainer);
    void (*trainer_average)(void *trainer, double decay, bool warmup);
    int (*trainer_submit)(void *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher,
                          const dbi_samples_f32 *samples, int64_t step, dbi_error *error);
    int (*trainer_finish)(void *trainer, dbi_step_log *log, dbi_error *error);
    int (*trainer_fetch)(void *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher, dbi_error *error);
    int (*trainer_gradient)(void *trainer, float *gradient, dbi_error *error);

    /* Does what dbi_slide_run does, with a net as the function: as many windows at once as the net was opened for,
     * added to the means one after another in the same order. The arrays of the means and the label (or NULL) are
     * written once, at the end. same_weights: as in dbi_pass. Returns 0, -1, or DBI_NO_ROOM with the reason. NULL:
     * windows are cut and put together on the host. */
    int (*slide)(void *net, const dbi_weights_f32 *weights, bool same_weights, const dbi_slide *slide,
                 const float *image, const dbi_window_means *means, const dbi_slide_label *label, dbi_error *error);

    /* Computes distance maps out [K,X,Y,Z] of a label [X,Y,Z] or of probabilities prob [K,X,Y,Z]; the other one is
     * NULL. NULL: the host computes them. */
    int (*maps)(const dbi_device *device, const uint8_t *label, const float *prob, const dbi_transform *transform,
                const dbi_normalize *normalize, const int64_t shape[3], int64_t classes, float *out, dbi_error *error);
} dbi_device_table;

#endif

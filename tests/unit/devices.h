/* Nets and trainers for tests that compare devices with the reference in double precision: one set of functions for
 * both, with the suffix f32 for a device by its name and f64 for the reference. */
#ifndef DBI_TESTS_DEVICES_H
#define DBI_TESTS_DEVICES_H

#include <stdlib.h>
#include <string.h>

#include "cpu/backend.f64.h"
#include "cpu/cpu.h"
#include "cpu/net.f64.h"
#include "cpu/trainer.f64.h"
#include "device/net.h"
#include "device/trainer.h"
#ifdef DEVICES_WITH_CUDA
#include "cuda/device.h"
#endif

/* "cpu", "reference", or "cuda" with ",tf32" or ",bf16" behind it. */
static inline dbi_device device_named(const char *name)
{
#ifdef DEVICES_WITH_CUDA
    if (!strncmp(name, "cuda", 4))
        return (dbi_device){.table = &dbi_cuda,
                            .precision = strstr(name, "bf16")   ? DBI_PRECISION_BF16
                                         : strstr(name, "tf32") ? DBI_PRECISION_TF32
                                                                : DBI_PRECISION_FP32};
#endif
    return (dbi_device){.table = strcmp(name, "cpu") ? &dbi_reference : &dbi_cpu};
}

typedef dbi_net net_f32;
typedef dbi_cpu_net_f64 net_f64;
typedef dbi_trainer trainer_f32;
typedef dbi_cpu_trainer_f64 trainer_f64;

static inline net_f32 *net_open_f32(const dbi_layout *layout, const char *name, int64_t batch, const int64_t size[3],
                                    bool training, dbi_error *error)
{
    const dbi_device device = device_named(name);
    return dbi_net_open(&device, layout, batch, size, training, error);
}

static inline net_f64 *net_open_f64(const dbi_layout *layout, const char *name, int64_t batch, const int64_t size[3],
                                    bool training, dbi_error *error)
{
    const dbi_net_shape shape = {layout, batch, {size[0], size[1], size[2]}, training};
    (void)name;
    return dbi_net_shape_check(&shape, error) ? NULL : dbi_cpu_net_open_f64(&dbi_backend_reference_f64, &shape, error);
}

static inline size_t net_bytes(const dbi_layout *layout, const char *name, int64_t batch, const int64_t size[3],
                               bool training)
{
    const dbi_device device = device_named(name);
    return dbi_net_bytes(&device, layout, batch, size, training);
}

#define net_close_f32    dbi_net_close
#define net_forward_f32  dbi_net_forward
#define net_backward_f32 dbi_net_backward
#define net_close_f64    dbi_cpu_net_close_f64
#define net_forward_f64  dbi_cpu_net_forward_f64
#define net_backward_f64 dbi_cpu_net_backward_f64

static inline trainer_f32 *trainer_open_f32(const dbi_method *method, int64_t total_steps, uint64_t seed,
                                            const dbi_layout *layout, const char *name, const dbi_loss_shape *shape,
                                            dbi_error *error)
{
    const dbi_device device = device_named(name);
    const dbi_training training = {method, total_steps, seed, layout, *shape};
    return dbi_trainer_open(&device, &training, error);
}

static inline trainer_f64 *trainer_open_f64(const dbi_method *method, int64_t total_steps, uint64_t seed,
                                            const dbi_layout *layout, const char *name, const dbi_loss_shape *shape,
                                            dbi_error *error)
{
    const dbi_training training = {method, total_steps, seed, layout, *shape};
    (void)name;
    return dbi_cpu_trainer_open_f64(&dbi_backend_reference_f64, &training, error);
}

#define trainer_close_f32   dbi_trainer_close
#define trainer_step_f32    dbi_trainer_step
#define trainer_average_f32 dbi_trainer_average
#define trainer_submit_f32  dbi_trainer_submit
#define trainer_finish_f32  dbi_trainer_finish
#define trainer_fetch_f32   dbi_trainer_fetch
#define trainer_close_f64   dbi_cpu_trainer_close_f64
#define trainer_step_f64    dbi_cpu_trainer_step_f64
#define trainer_average_f64 dbi_cpu_trainer_average_f64

/* The reference takes whole steps only. */
#define trainer_submit_f64(...) (-1)
#define trainer_finish_f64(...) (-1)
#define trainer_fetch_f64(...)  (-1)

/* The gradient of the last step: `to` is [parameters], for the device to write to. */
static inline const float *trainer_gradient_f32(trainer_f32 *trainer, float *to)
{
    dbi_error error;
    return dbi_trainer_gradient(trainer, to, &error) ? NULL : to;
}

static inline const double *trainer_gradient_f64(trainer_f64 *trainer, double *to)
{
    (void)to;
    return dbi_cpu_trainer_gradient_f64(trainer);
}

#endif

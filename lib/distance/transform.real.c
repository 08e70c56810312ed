#include "distance/transform.real.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "distance/conv.real.h"
#include "distance/conv_math.real.h"
#include "distance/edt.h"
#include "distance/levelset.real.h"
#include "distance/levelset_math.real.h"
#include "distance/normalize.h"
#include "distance/normalize.real.h"
#include "distance/normalize_math.real.h"
#include "distance/squares_math.h"

struct dbi_tape_f32 {
    dbi_transform transform;
    int64_t shape[3], count;
    real *slope;            /* of the normalization; 0 where no gradient passes */
    real *log_in, *log_out; /* conv */
    real *p;                /* levelset */
    uint32_t *foot;         /* levelset */
};

static const double voxels[3] = {1, 1, 1};

void dbi_tape_free_f32(dbi_tape_f32 *tape)
{
    if (!tape)
        return;
    free(tape->slope);
    free(tape->log_in);
    free(tape->log_out);
    free(tape->p);
    free(tape->foot);
    free(tape);
}

static int exact(dbi_tape_f32 *t, const real *p, double limit, real *s, dbi_error *error)
{
    uint8_t *label = dbi_alloc((size_t)t->count, sizeof *label, error);
    float *square = label ? dbi_alloc((size_t)t->count, sizeof *square, error) : NULL;
    int status = -1;
    if (square) {
#pragma omp parallel for simd schedule(static)
        for (int64_t i = 0; i < t->count; i++)
            label[i] = dbi_inside_f32(p[i]);
        status = dbi_squares(label, 1, t->shape, voxels, limit, NULL, square, error);
    }
    if (!status) {
#pragma omp parallel for simd schedule(static)
        for (int64_t i = 0; i < t->count; i++)
            s[i] = (real)dbi_signed_root(square[i]);
    }
    free(label);
    free(square);
    return status;
}

static int conv(dbi_tape_f32 *t, const real *p, real *s, dbi_error *error)
{
    t->log_in = dbi_alloc((size_t)t->count, sizeof *t->log_in, error);
    t->log_out = t->log_in ? dbi_alloc((size_t)t->count, sizeof *t->log_out, error) : NULL;
    if (!t->log_out || dbi_conv_logs_f32(&t->transform, t->shape, p, t->log_in, t->log_out, error))
        return -1;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->count; i++)
        s[i] = dbi_conv_distance_f32(t->transform.h, t->log_in[i], t->log_out[i]);
    return 0;
}

/* reached: 0 where s was set, may be NULL. */
static void cap(const dbi_tape_f32 *t, real *s, real *reached)
{
    const real most = (real)dbi_conv_most(&t->transform, t->shape);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->count; i++) {
        real inside;
        s[i] = dbi_conv_capped_f32(s[i], most, &inside);
        if (reached)
            reached[i] = inside;
    }
}

static int levelset(dbi_tape_f32 *t, const real *p, double limit, real *s, bool keep, dbi_error *error)
{
    t->foot = dbi_alloc((size_t)t->count, sizeof *t->foot, error);
    if (!t->foot || dbi_levelset_f32(t->shape, p, limit, s, t->foot, error))
        return -1;
    if (keep) {
        t->p = dbi_alloc((size_t)t->count, sizeof *t->p, error);
        if (!t->p)
            return -1;
        memcpy(t->p, p, (size_t)t->count * sizeof *p);
    }
    return 0;
}

static int unknown_kind(const dbi_tape_f32 *t, dbi_error *error)
{
    return dbi_fail(error, "there is no transform of kind %d", (int)t->transform.kind);
}

/* Runs the transform and the normalization; the tape keeps what was computed on the way. */
static int run(dbi_tape_f32 *t, const dbi_normalize *normalize, const real *p, real *s, bool keep, dbi_error *error)
{
    const double limit = dbi_normalize_limit(normalize);
    if (keep && !(t->slope = dbi_alloc((size_t)t->count, sizeof *t->slope, error)))
        return -1;
    real *reached = NULL;
    int status = -1;
    switch (t->transform.kind) {
    case DBI_TRANSFORM_EXACT:
        status = exact(t, p, limit, s, error);
        break;
    case DBI_TRANSFORM_LEVELSET:
        status = levelset(t, p, limit, s, keep, error);
        break;
    case DBI_TRANSFORM_CONV:
        if (keep && !(reached = dbi_alloc((size_t)t->count, sizeof *reached, error)))
            return -1;
        status = conv(t, p, s, error);
        if (!status)
            cap(t, s, reached);
        break;
    default:
        status = unknown_kind(t, error);
    }
    if (!status)
        status = dbi_normalize_apply_f32(normalize, t->shape, voxels, s, t->slope, error);
    for (int64_t i = 0; i < t->count && !status && reached; i++)
        t->slope[i] *= reached[i];
    free(reached);
    return status;
}

int dbi_transform_forward_f32(const dbi_transform *transform, const dbi_normalize *normalize, const int64_t shape[3],
                              const real *p, real *s, dbi_tape_f32 **tape, dbi_error *error)
{
    if (tape)
        *tape = NULL;
    dbi_tape_f32 *t = dbi_alloc(1, sizeof *t, error);
    if (!t)
        return -1;
    t->transform = *transform;
    memcpy(t->shape, shape, sizeof t->shape);
    int status;
    if (!dbi_count(shape, 3, &t->count))
        status = dbi_fail(error, "impossible shape [%lld,%lld,%lld]", (long long)shape[0], (long long)shape[1],
                          (long long)shape[2]);
    else
        status = t->count ? run(t, normalize, p, s, tape != NULL, error) : 0;
    if (status || !tape)
        dbi_tape_free_f32(t);
    else
        *tape = t;
    return status;
}

int dbi_transform_backward_f32(const dbi_tape_f32 *tape, const real *ds, real *dp, dbi_error *error)
{
    const dbi_tape_f32 *t = tape;
    if (t->transform.kind == DBI_TRANSFORM_EXACT || !t->count) {
        memset(dp, 0, (size_t)t->count * sizeof *dp);
        return 0;
    }
    real *g = dbi_alloc((size_t)t->count, sizeof *g, error);
    if (!g)
        return -1;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < t->count; i++)
        g[i] = dbi_sloped_f32(ds[i], t->slope[i]);
    int status;
    switch (t->transform.kind) {
    case DBI_TRANSFORM_CONV:
        status = dbi_conv_gradient_f32(&t->transform, t->shape, t->log_in, t->log_out, g, dp, error);
        break;
    case DBI_TRANSFORM_LEVELSET:
        status = dbi_levelset_gradient_f32(t->shape, t->p, t->foot, g, dp, error);
        break;
    default:
        status = unknown_kind(t, error);
    }
    free(g);
    return status;
}

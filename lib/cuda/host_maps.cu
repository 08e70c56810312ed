#include "cuda/host_maps.h"

#include "cuda/common.h"
#include "cuda/distance.h"
#include "cuda/stream.h"
#include "distance/normalize.h"

/* Where a transform wants probabilities: 1 where the label has the value. */
typedef struct indicator_arguments {
    const uint8_t *label;
    float *out;
    int64_t count;
    int value;
} indicator_arguments;

DBI_HD void indicator(const indicator_arguments *a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    const int64_t i = block * DBI_BLOCK + thread;
    (void)phase;
    (void)shared;
    if (i < a->count)
        a->out[i] = a->label[i] == a->value;
}
DBI_KERNEL(indicator, indicator_arguments, DBI_BLOCK, 1, dbi_nothing)

typedef struct work {
    dbi_stream stream;
    dbi_arena arena;
    dbi_cuda_sdf *sdf;
    dbi_cuda_transform *transform;
    uint8_t *label;
    float *prob, *out;
} work;

static void close_work(work *w)
{
    dbi_cuda_sdf_free(w->sdf);
    dbi_cuda_transform_free(w->transform);
    dbi_arena_close(&w->arena);
    dbi_stream_close(w->stream);
}

/* One class at a time, so that many classes take no more memory than one. */
static int run(work *w, const uint8_t *label, const float *prob, int64_t voxels, int64_t classes, float *out,
               dbi_error *error)
{
    const size_t bytes = (size_t)voxels * sizeof(float);
    indicator_arguments a;
    memset(&a, 0, sizeof a);
    a.label = w->label;
    a.out = w->prob;
    a.count = voxels;
    if (label && dbi_cuda_put(w->stream, w->label, label, (size_t)voxels, error))
        return -1;
    for (int64_t k = 0; k < classes; k++) {
        a.value = (int)k + 1;
        if (label ? indicator_launch(w->stream, dbi_cuda_blocks(voxels, DBI_BLOCK), &a, error)
                  : dbi_cuda_put(w->stream, w->prob, prob + k * voxels, bytes, error))
            return -1;
        if (dbi_cuda_transform_forward(w->transform, w->stream, 1, w->prob, w->out, error) ||
            dbi_cuda_get(w->stream, out + k * voxels, w->out, bytes, error) || dbi_cuda_wait(w->stream, error))
            return -1;
    }
    return 0;
}

static int run_exact(work *w, const uint8_t *label, int64_t voxels, int64_t classes, float *out, dbi_error *error)
{
    return dbi_cuda_put(w->stream, w->label, label, (size_t)voxels, error) ||
                   dbi_cuda_sdf_run(w->sdf, w->stream, w->label, w->out, error) ||
                   dbi_cuda_get(w->stream, out, w->out, (size_t)(voxels * classes) * sizeof(float), error) ||
                   dbi_cuda_wait(w->stream, error)
               ? -1
               : 0;
}

int dbi_cuda_host_maps(const dbi_device *device, const uint8_t *label, const float *prob,
                       const dbi_transform *transform, const dbi_normalize *normalize, const int64_t shape[3],
                       int64_t classes, float *out, dbi_error *error)
{
    static const double voxel[3] = {1, 1, 1};
    const int64_t voxels = shape[0] * shape[1] * shape[2];
    const size_t bytes = (size_t)voxels * sizeof(float);
    const bool exact = label && transform->kind == DBI_TRANSFORM_EXACT;
    work w;
    memset(&w, 0, sizeof w);
    int status =
        dbi_cuda_select(device, error) || dbi_stream_open(&w.stream, error) ||
        (exact ? !(w.sdf = dbi_cuda_sdf_new(shape, voxel, normalize, 1, classes, &w.arena, error))
               : !(w.transform = dbi_cuda_transform_new(transform, normalize, shape, 1, false, &w.arena, error))) ||
        dbi_arena_need(&w.arena, &w.label, label ? (size_t)voxels : 0, error) ||
        dbi_arena_need(&w.arena, &w.prob, exact ? 0 : bytes, error) ||
        dbi_arena_need(&w.arena, &w.out, exact ? bytes * (size_t)classes : bytes, error) ||
        dbi_arena_open(&w.arena, error) ||
        (exact ? run_exact(&w, label, voxels, classes, out, error) : run(&w, label, prob, voxels, classes, out, error));
    close_work(&w);
    return status ? -1 : 0;
}

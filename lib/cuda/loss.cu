/* One pass over the voxels for all sums of all terms, one for all gradients, and the transforms beside them; the arithmetic is in loss_math.h. What
 * can be computed again from what must be read anyway (probabilities, targets, voxel weights) is not stored: memory is what these passes wait for. */
#include "cuda/loss.h"

#include <stdlib.h>

#include "cuda/distance.h"
#include "cuda/loss_math.h"

#ifdef __cplusplus
extern "C" {
#endif

#include "base/random.h"

#ifdef __cplusplus
}
#endif

enum {
    CHUNK = 16 * DBI_BLOCK, /* voxels of a block's sums: some hundred blocks for a usual batch */
    PARTS = 16,             /* threads that add one of a block's sums together */
    MANY = 1024,            /* threads that add the chunks */
    COLUMNS = MANY / DBI_SUMS
};

typedef struct no_shared {
    char unused;
} no_shared;

/* ---- Sums ---- */

typedef struct sum_shared {
    double value[DBI_SUMS][DBI_BLOCK];
} sum_shared;

/* Of one chunk. Threads beside one another read columns beside one another. */
DBI_HD void add_chunk(const dbi_loss_arguments *a, int64_t block, int thread, int phase, sum_shared *shared)
{
    if (phase == 0) {
        const int64_t map = dbi_divide(block, a->chunks), first = (block - map * a->chunks) * CHUNK;
        const int64_t n = dbi_divide(map, a->set.classes), c = map - n * a->set.classes;
        const int64_t end = first + CHUNK < a->set.voxels ? first + CHUNK : a->set.voxels;
        double sum[DBI_SUMS];
        for (int k = 0; k < DBI_SUMS; k++)
            sum[k] = 0;
        for (int64_t i = first + thread; i < end; i += DBI_BLOCK) {
            const dbi_loss_voxel v = dbi_loss_voxel_of(a, n, c, i);
            dbi_loss_add(&a->set, n < a->set.labeled, &v, sum);
        }
        for (int k = 0; k < DBI_SUMS; k++)
            shared->value[k][thread] = sum[k];
    } else if (phase == 1) {
        const int part = thread % PARTS;
        for (int k = thread / PARTS; k < DBI_SUMS; k += DBI_BLOCK / PARTS)
            for (int i = part + PARTS; i < DBI_BLOCK; i += PARTS)
                shared->value[k][part] += shared->value[k][i];
    } else if (thread < DBI_SUMS) {
        double sum = 0;
        for (int i = 0; i < PARTS; i++)
            sum += shared->value[thread][i];
        a->sums[block * DBI_SUMS + thread] = sum;
    }
}
DBI_KERNEL(add_chunk, dbi_loss_arguments, DBI_BLOCK, 3, sum_shared)

typedef struct total_shared {
    double value[COLUMNS][DBI_SUMS];
} total_shared;

/* Of all chunks of one class of the labelled (blocks 0 ... K - 1) or unlabelled samples (K ... 2 K - 1). */
DBI_HD void add_chunks(const dbi_loss_arguments *a, int64_t block, int thread, int phase, total_shared *shared)
{
    const int column = thread / DBI_SUMS, k = thread % DBI_SUMS;
    if (phase == 0 && column < COLUMNS) {
        const bool labeled = block < a->set.classes;
        const int64_t c = labeled ? block : block - a->set.classes, first = labeled ? 0 : a->set.labeled;
        const int64_t samples = labeled ? a->set.labeled : a->set.batch - a->set.labeled;
        double sum = 0;
        for (int64_t j = column; j < samples * a->chunks; j += COLUMNS) {
            const int64_t n = dbi_divide(j, a->chunks);
            sum += a->sums[(((first + n) * a->set.classes + c) * a->chunks + j - n * a->chunks) * DBI_SUMS + k];
        }
        shared->value[column][k] = sum;
    } else if (phase == 1 && thread < DBI_SUMS) {
        double sum = 0;
        for (int i = 0; i < COLUMNS; i++)
            sum += shared->value[i][k];
        a->totals[block * DBI_SUMS + k] = sum;
    }
}
DBI_KERNEL(add_chunks, dbi_loss_arguments, MANY, 2, total_shared)

DBI_HD void conclude(const dbi_loss_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)block;
    (void)phase;
    (void)shared;
    if (thread == 0)
        dbi_loss_conclude(a);
}
DBI_KERNEL(conclude, dbi_loss_arguments, 32, 1, no_shared)

/* ---- Gradients ---- */

DBI_HD void gradients(const dbi_loss_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const int64_t blocks = dbi_cuda_blocks(a->set.voxels, DBI_BLOCK), map = dbi_divide(block, blocks),
                  i = (block - map * blocks) * DBI_BLOCK + thread;
    const int64_t n = dbi_divide(map, a->set.classes), c = map - n * a->set.classes, at = map * a->set.voxels + i;
    const bool labeled = n < a->set.labeled;
    if (i >= a->set.voxels)
        return;
    const dbi_loss_factors factors = a->factors[(labeled ? 0 : a->set.classes) + c];
    const dbi_loss_voxel v = dbi_loss_voxel_of(a, n, c, i);
    const dbi_loss_slopes g = dbi_loss_slopes_of(&a->set, labeled, &v, &factors);
    a->dlogits[at] = g.logit;
    a->dsdf[at] = g.sdf;
    if (a->ds)
        a->ds[at] = g.s;
}
DBI_KERNEL(gradients, dbi_loss_arguments, DBI_BLOCK, 1, no_shared)

typedef struct each_arguments {
    int64_t count;
    const float *from, *p;
    float *to;
    double sigma;
    uint32_t pass;
    float share;
    const dbi_cuda_parameters *parameters;
} each_arguments;

DBI_HD void sigmoids(const each_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i < a->count)
        a->to[i] = dbi_sigmoid(a->from[i]);
}
DBI_KERNEL(sigmoids, each_arguments, DBI_BLOCK, 1, no_shared)

/* What came back through the transform, on to the logits. */
DBI_HD void chain(const each_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i < a->count)
        a->to[i] += a->from[i] * a->p[i] * (1 - a->p[i]);
}
DBI_KERNEL(chain, each_arguments, DBI_BLOCK, 1, no_shared)

/* ---- The step ---- */

struct dbi_cuda_loss {
    dbi_loss_settings set;
    bool teacher_distance; /* T_s2r of the teacher is wanted */
    int64_t count, theirs; /* values of an output, of the unlabelled samples' */
    int64_t chunks;
    dbi_cuda_transform *transform; /* NULL where no term needs it */
    /* device memory */
    float *p, *s, *ds, *teacher_p, *teacher_s;
    double *sums, *totals;
    dbi_loss_factors *factors;
};

/* Terms whose samples are there. */
static void set_terms(dbi_cuda_loss *l, const dbi_method *m, bool *transform)
{
    const int64_t unlabeled = l->set.batch - l->set.labeled;
    *transform = false;
    for (int t = 0; t < DBI_TERMS; t++) {
        const int64_t samples = dbi_terms[t].samples == DBI_SAMPLES_LABELED     ? l->set.labeled
                                : dbi_terms[t].samples == DBI_SAMPLES_UNLABELED ? unlabeled
                                                                                : l->set.batch;
        l->set.weight[t] = m->weight[t] > 0 && samples ? m->weight[t] : 0;
        l->set.unsupervised[t] = (dbi_terms[t].times & DBI_TIMES_LAMBDA) != 0;
        l->set.regression[t] = (dbi_terms[t].times & DBI_TIMES_BETA) != 0;
        if (l->set.weight[t] > 0 && dbi_term_needs(t, DBI_OF_S))
            *transform = true;
        if (l->set.weight[t] > 0 && dbi_term_needs_teacher(t))
            l->set.teacher = true;
        if (l->set.weight[t] > 0 && dbi_term_needs_pseudo(t))
            l->set.pseudo = true;
    }
    l->teacher_distance = l->set.weight[DBI_TERM_PSEUDO_REG] > 0 || l->set.weight[DBI_TERM_PSEUDO_CROSS_REG] > 0;
}

static int set_shape(dbi_cuda_loss *l, const dbi_loss_shape *shape, dbi_error *error)
{
    int64_t count = 1;
    const int64_t sizes[5] = {shape->batch, shape->classes, shape->size[0], shape->size[1], shape->size[2]};
    for (int i = 0; i < 5; i++) {
        if (sizes[i] < 1 || count > INT64_MAX / 1024 / sizes[i])
            return dbi_fail(error, "the batch is empty or too large");
        count *= sizes[i];
    }
    if (shape->labeled < 0 || shape->labeled > shape->batch)
        return dbi_fail(error, "%lld labelled samples of %lld", (long long)shape->labeled, (long long)shape->batch);
    l->count = count;
    l->set.batch = shape->batch;
    l->set.labeled = shape->labeled;
    l->set.classes = shape->classes;
    l->set.voxels = count / (shape->batch * shape->classes);
    l->theirs = (shape->batch - shape->labeled) * shape->classes * l->set.voxels;
    l->chunks = dbi_cuda_blocks(l->set.voxels, CHUNK);
    if (dbi_cuda_blocks(l->set.voxels, DBI_BLOCK) > INT32_MAX / (shape->batch * shape->classes))
        return dbi_fail(error, "the batch is too large for a CUDA device");
    return 0;
}

dbi_cuda_loss *dbi_cuda_loss_new(const dbi_method *method, const dbi_loss_shape *shape, dbi_arena *arena, dbi_error *error)
{
    bool transform;
    dbi_cuda_loss *l = (dbi_cuda_loss *)calloc(1, sizeof *l);
    if (!l) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    if (set_shape(l, shape, error)) {
        free(l);
        return NULL;
    }
    l->set.beta = method->beta;
    l->set.k = (float)method->k;
    l->set.gamma = (float)method->gamma;
    l->set.uncertainty = method->uncertainty;
    l->set.cross_entropy = method->cross_entropy;
    set_terms(l, method, &transform);
    const size_t all = (size_t)l->count * sizeof(float), theirs = l->teacher_distance ? (size_t)l->theirs * sizeof(float) : 0;
    const size_t maps = (size_t)(l->set.batch * l->set.classes), sums = DBI_SUMS * sizeof(double);
    if (transform || l->teacher_distance) {
        l->transform = dbi_cuda_transform_new(&method->transform, &method->normalize, shape->size, (int64_t)maps, transform, arena, error);
        if (!l->transform) {
            free(l);
            return NULL;
        }
    }
    if (dbi_arena_need(arena, &l->p, transform ? all : 0, error) || dbi_arena_need(arena, &l->s, transform ? all : 0, error) ||
        dbi_arena_need(arena, &l->ds, transform ? all : 0, error) || dbi_arena_need(arena, &l->teacher_p, theirs, error) ||
        dbi_arena_need(arena, &l->teacher_s, theirs, error) || dbi_arena_need(arena, &l->sums, maps * (size_t)l->chunks * sums, error) ||
        dbi_arena_need(arena, &l->totals, 2 * (size_t)l->set.classes * sums, error) ||
        dbi_arena_need(arena, &l->factors, 2 * (size_t)l->set.classes * sizeof *l->factors, error)) {
        dbi_cuda_loss_free(l);
        return NULL;
    }
    return l;
}

void dbi_cuda_loss_free(dbi_cuda_loss *l)
{
    if (!l)
        return;
    dbi_cuda_transform_free(l->transform);
    free(l);
}

static int take_sigmoids(dbi_stream stream, const float *from, int64_t count, float *to, dbi_error *error)
{
    each_arguments a;
    memset(&a, 0, sizeof a);
    a.count = count;
    a.from = from;
    a.to = to;
    return sigmoids_launch(stream, dbi_cuda_blocks(count, DBI_BLOCK), &a, error);
}

/* The teacher's first: the student's leaves behind what its gradient needs. */
static int take_transforms(const dbi_cuda_loss *l, dbi_stream stream, const dbi_cuda_loss_input *in, bool teacher, dbi_error *error)
{
    const int64_t unlabeled = l->set.batch - l->set.labeled;
    if (teacher && l->teacher_distance &&
        (take_sigmoids(stream, in->teacher_logits, l->theirs, l->teacher_p, error) ||
         dbi_cuda_transform_forward(l->transform, stream, unlabeled * l->set.classes, l->teacher_p, l->teacher_s, error)))
        return -1;
    if (l->s && (take_sigmoids(stream, in->logits, l->count, l->p, error) ||
                 dbi_cuda_transform_forward(l->transform, stream, l->set.batch * l->set.classes, l->p, l->s, error)))
        return -1;
    return 0;
}

static int transform_back(const dbi_cuda_loss *l, dbi_stream stream, float *dlogits, dbi_error *error)
{
    each_arguments a;
    memset(&a, 0, sizeof a);
    a.count = l->count;
    a.from = l->ds;
    a.p = l->p;
    a.to = dlogits;
    return dbi_cuda_transform_backward(l->transform, stream, l->p, l->ds, l->ds, error) ||
                   chain_launch(stream, dbi_cuda_blocks(l->count, DBI_BLOCK), &a, error)
               ? -1
               : 0;
}

int dbi_cuda_loss_step(dbi_cuda_loss *l, dbi_stream stream, const dbi_cuda_loss_input *in, dbi_loss_values *values, float *dlogits, float *dsdf,
                       dbi_error *error)
{
    const int64_t maps = l->set.batch * l->set.classes;
    dbi_loss_arguments a;
    memset(&a, 0, sizeof a);
    a.set = l->set;
    a.in = *in;
    a.set.teacher = l->set.teacher && in->teacher_logits;
    for (int t = 0; t < DBI_TERMS && !a.set.teacher; t++)
        if (dbi_term_needs_teacher(t))
            a.set.weight[t] = 0;
    a.s = l->s;
    a.teacher_s = l->teacher_s;
    a.chunks = l->chunks;
    a.sums = l->sums;
    a.totals = l->totals;
    a.factors = l->factors;
    a.values = values;
    a.dlogits = dlogits;
    a.dsdf = dsdf;
    a.ds = l->ds;
    if (take_transforms(l, stream, in, a.set.teacher, error) || add_chunk_launch(stream, maps * l->chunks, &a, error) ||
        add_chunks_launch(stream, 2 * l->set.classes, &a, error) || conclude_launch(stream, 1, &a, error) ||
        gradients_launch(stream, maps * dbi_cuda_blocks(l->set.voxels, DBI_BLOCK), &a, error))
        return -1;
    return l->s ? transform_back(l, stream, dlogits, error) : 0;
}

/* ---- The teacher's noise and mask ---- */

DBI_HD void add_noise(const each_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i >= a->count)
        return;
    const double normal = dbi_normal_of(a->parameters->seed, DBI_ROLE_TEACHER_NOISE, a->parameters->step, a->pass, (uint32_t)i);
    a->to[i] = a->from[i] + (float)fmax(-2 * a->sigma, fmin(2 * a->sigma, a->sigma * normal));
}
DBI_KERNEL(add_noise, each_arguments, DBI_BLOCK, 1, no_shared)

DBI_HD void add_mean(const each_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i < a->count)
        a->to[i] = (a->pass ? a->to[i] : 0) + dbi_sigmoid(a->from[i]) / a->share;
}
DBI_KERNEL(add_mean, each_arguments, DBI_BLOCK, 1, no_shared)

DBI_HD void make_mask(const each_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i < a->count)
        a->to[i] = dbi_certain(a->from[i], (float)a->parameters->threshold);
}
DBI_KERNEL(make_mask, each_arguments, DBI_BLOCK, 1, no_shared)

int dbi_cuda_noise(dbi_stream stream, const float *image, int64_t count, double sigma, uint32_t pass, const dbi_cuda_parameters *parameters,
                   float *to, dbi_error *error)
{
    each_arguments a;
    memset(&a, 0, sizeof a);
    if (count > UINT32_MAX)
        return dbi_fail(error, "%lld voxels are too many for one stream of random numbers", (long long)count);
    a.count = count;
    a.from = image;
    a.to = to;
    a.sigma = sigma;
    a.pass = pass;
    a.parameters = parameters;
    return add_noise_launch(stream, dbi_cuda_blocks(count, DBI_BLOCK), &a, error);
}

int dbi_cuda_mean(dbi_stream stream, const float *logits, int64_t count, int passes, int pass, float *mean, dbi_error *error)
{
    each_arguments a;
    memset(&a, 0, sizeof a);
    a.count = count;
    a.from = logits;
    a.to = mean;
    a.pass = (uint32_t)pass;
    a.share = (float)passes;
    return add_mean_launch(stream, dbi_cuda_blocks(count, DBI_BLOCK), &a, error);
}

int dbi_cuda_mask(dbi_stream stream, const float *mean, int64_t count, const dbi_cuda_parameters *parameters, float *mask, dbi_error *error)
{
    each_arguments a;
    memset(&a, 0, sizeof a);
    a.count = count;
    a.from = mean;
    a.to = mask;
    a.parameters = parameters;
    return make_mask_launch(stream, dbi_cuda_blocks(count, DBI_BLOCK), &a, error);
}

/* One pass over the voxels for all sums of all terms, one for all gradients, and the transforms beside them; the
 * arithmetic is in loss_math.h. What can be computed again from what must be read anyway (probabilities, targets, voxel
 * weights) is not stored: memory is what these passes wait for. */
#include "cuda/loss.h"

#include <assert.h>
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
    ROWS = DBI_BLOCK / 2,   /* threads of a block */
    ROUNDS = 2,             /* each thread sums up this many rows of voxels, one after another */
    PARTS = 16,             /* threads that add one of a block's sums together */
    MANY = 1024,            /* threads that add the chunks */
    COLUMNS = 53            /* sums of chunks under way; another number changes the last bits of a loss */
};

typedef struct no_shared {
    char unused;
} no_shared;

/* A voxel of the chunk `block` of all decoders' chunks; the voxel is set by the caller. */
DBI_HD dbi_loss_place place_of(const dbi_loss_settings *set, int64_t block, int64_t chunks)
{
    const int64_t all = set->batch * set->classes * chunks, map = dbi_divide(block, chunks);
    dbi_loss_place p;
    p.decoder = block < all ? 0 : 1;
    p.n = dbi_divide(map - p.decoder * set->batch * set->classes, set->classes);
    p.c = map - (p.decoder * set->batch + p.n) * set->classes;
    p.labeled = p.n < set->labeled;
    p.i = 0;
    return p;
}

/* ---- Sums ---- */

typedef struct sum_shared {
    double value[DBI_SLOTS][ROWS];
    double part[DBI_SLOTS][PARTS];
} sum_shared;
static_assert(sizeof(sum_shared) <= 48 << 10,
              "the terms need more sums (42) than a block's threads can keep: let terms share slots");

/* The sums of one row of a chunk's voxels. */
DBI_HD void add_row(const dbi_loss_arguments *a, int64_t block, int row, double sum[DBI_SLOTS])
{
    dbi_loss_place place = place_of(&a->set, block, a->chunks);
    const int64_t first = (block - dbi_divide(block, a->chunks) * a->chunks) * CHUNK;
    const int64_t end = first + CHUNK < a->set.voxels ? first + CHUNK : a->set.voxels;
    for (int k = 0; k < DBI_SLOTS; k++)
        sum[k] = 0;
    for (place.i = first + row; place.i < end; place.i += ROUNDS * ROWS) {
        const dbi_loss_voxel v = dbi_loss_voxel_of(a, &place);
        dbi_loss_add(a, &place, &v, sum);
    }
}

/* Of one chunk, for one decoder. Threads beside one another read columns beside one another. */
DBI_HD void add_chunk(const dbi_loss_arguments *a, int64_t block, int thread, int phase, sum_shared *shared)
{
    const int round = phase / 2;
    if (round == ROUNDS) {
        if (thread < DBI_SLOTS) {
            double sum = 0;
            for (int i = 0; i < PARTS; i++)
                sum += shared->part[thread][i];
            a->sums[block * DBI_SLOTS + thread] = sum;
        }
    } else if (phase % 2 == 0) {
        double sum[DBI_SLOTS];
        add_row(a, block, round * ROWS + thread, sum);
        for (int k = 0; k < DBI_SLOTS; k++)
            shared->value[k][thread] = sum[k];
    } else {
        const int part = thread % PARTS;
        for (int k = thread / PARTS; k < DBI_SLOTS; k += ROWS / PARTS) {
            double sum = round ? shared->part[k][part] : 0;
            for (int i = part; i < ROWS; i += PARTS)
                sum += shared->value[k][i];
            shared->part[k][part] = sum;
        }
    }
}
DBI_KERNEL(add_chunk, dbi_loss_arguments, ROWS, 2 * ROUNDS + 1, sum_shared)

typedef struct total_shared {
    double value[COLUMNS][DBI_SLOTS];
} total_shared;

/* Of all chunks of one class of a decoder's labelled (blocks 0 ... K - 1) or unlabelled samples (K ... 2 K - 1), then of
 * the next decoder's. */
DBI_HD void add_chunks(const dbi_loss_arguments *a, int64_t block, int thread, int phase, total_shared *shared)
{
    const dbi_loss_settings *set = &a->set;
    if (phase == 0) {
        const int64_t decoder = block / (2 * set->classes), rest = block - decoder * 2 * set->classes;
        const bool labeled = rest < set->classes;
        const int64_t c = labeled ? rest : rest - set->classes, first = labeled ? 0 : set->labeled;
        const int64_t samples = labeled ? set->labeled : set->batch - set->labeled;
        for (int at = thread; at < COLUMNS * DBI_SLOTS; at += MANY) {
            const int column = at / DBI_SLOTS, k = at % DBI_SLOTS;
            double sum = 0;
            for (int64_t j = column; j < samples * a->chunks; j += COLUMNS) {
                const int64_t n = dbi_divide(j, a->chunks), map = (decoder * set->batch + first + n) * set->classes + c;
                sum += a->sums[(map * a->chunks + j - n * a->chunks) * DBI_SLOTS + k];
            }
            shared->value[column][k] = sum;
        }
    } else if (thread < DBI_SLOTS) {
        double sum = 0;
        for (int i = 0; i < COLUMNS; i++)
            sum += shared->value[i][thread];
        a->totals[block * DBI_SLOTS + thread] = sum;
    }
}
DBI_KERNEL(add_chunks, dbi_loss_arguments, MANY, 2, total_shared)

DBI_HD void conclude(const dbi_loss_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)block;
    (void)phase;
    (void)shared;
    dbi_loss_sums_f32 sums;
    sums.set = &a->set;
    sums.totals = a->totals;
    sums.factors = a->factors;
    if (thread == 0)
        dbi_loss_conclude_f32(&sums, a->in.parameters->ramp, a->in.truth != NULL, a->values);
}
DBI_KERNEL(conclude, dbi_loss_arguments, 32, 1, no_shared)

/* ---- Gradients ---- */

DBI_HD void gradients(const dbi_loss_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const int64_t blocks = dbi_cuda_blocks(a->set.voxels, DBI_BLOCK), map = dbi_divide(block, blocks);
    dbi_loss_place place = place_of(&a->set, block, blocks);
    place.i = (block - map * blocks) * DBI_BLOCK + thread;
    if (place.i >= a->set.voxels)
        return;
    const int64_t at = map * a->set.voxels + place.i;
    const dbi_loss_voxel v = dbi_loss_voxel_of(a, &place);
    const dbi_loss_slopes g =
        dbi_loss_slopes_of(a, place.labeled, &v, a->factors + (place.decoder * a->set.classes + place.c) * DBI_TERMS);
    a->dlogits[at] = g.of[DBI_OF_LOGIT];
    a->dsdf[at] = g.of[DBI_OF_R];
    if (a->set.transform)
        a->ds[at] = g.of[DBI_OF_S];
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
        a->to[i] = dbi_sigmoid_f32(a->from[i]);
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
    dbi_loss_settings set, alone; /* and without a teacher */
    int64_t maps, count, theirs;  /* of all decoders: maps of an output, its values, those of the unlabelled samples */
    int64_t chunks;
    dbi_cuda_transform *transform; /* NULL where no term needs it */
    /* device memory */
    float *p, *s, *ds, *teacher_p, *teacher_s;
    double *sums, *totals;
    dbi_term_factors_f32 *factors;
};

static int check_shape(const dbi_loss_shape *shape, dbi_error *error)
{
    int64_t count = 1;
    const int64_t sizes[6] = {shape->decoders, shape->batch,   shape->classes,
                              shape->size[0],  shape->size[1], shape->size[2]};
    for (int i = 0; i < 6; i++) {
        if (sizes[i] < 1 || count > INT64_MAX / 1024 / sizes[i])
            return dbi_fail(error, "the batch is empty or too large");
        count *= sizes[i];
    }
    if (shape->labeled < 0 || shape->labeled > shape->batch)
        return dbi_fail(error, "%lld labelled samples of %lld", (long long)shape->labeled, (long long)shape->batch);
    const int64_t maps = shape->decoders * shape->batch * shape->classes;
    if (dbi_cuda_blocks(count / maps, DBI_BLOCK) > INT32_MAX / maps)
        return dbi_fail(error, "the batch is too large for a CUDA device");
    return 0;
}

static int need_memory(dbi_cuda_loss *l, dbi_arena *arena, dbi_error *error)
{
    const size_t slots = DBI_SLOTS * sizeof(double), classes = (size_t)(l->set.decoders * l->set.classes);
    const size_t all = l->set.transform ? (size_t)l->count * sizeof(float) : 0;
    const size_t theirs = l->set.teacher_transform ? (size_t)l->theirs * sizeof(float) : 0;
    return dbi_arena_need(arena, &l->p, all, error) || dbi_arena_need(arena, &l->s, all, error) ||
                   dbi_arena_need(arena, &l->ds, all, error) || dbi_arena_need(arena, &l->teacher_p, theirs, error) ||
                   dbi_arena_need(arena, &l->teacher_s, theirs, error) ||
                   dbi_arena_need(arena, &l->sums, (size_t)(l->maps * l->chunks) * slots, error) ||
                   dbi_arena_need(arena, &l->totals, 2 * classes * slots, error) ||
                   dbi_arena_need(arena, &l->factors, classes * DBI_TERMS * sizeof *l->factors, error)
               ? -1
               : 0;
}

dbi_cuda_loss *dbi_cuda_loss_new(const dbi_method *method, const dbi_loss_shape *shape, dbi_arena *arena,
                                 dbi_error *error)
{
    if (check_shape(shape, error))
        return NULL;
    dbi_cuda_loss *l = (dbi_cuda_loss *)calloc(1, sizeof *l);
    if (!l) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    l->set = dbi_loss_settle(method, shape);
    l->alone = dbi_loss_settle_alone(&l->set);
    l->maps = l->set.decoders * l->set.batch * l->set.classes;
    l->count = l->maps * l->set.voxels;
    l->theirs = l->set.decoders * (l->set.batch - l->set.labeled) * l->set.classes * l->set.voxels;
    l->chunks = dbi_cuda_blocks(l->set.voxels, CHUNK);
    if (l->set.transform || l->set.teacher_transform) {
        l->transform = dbi_cuda_transform_new(&method->transform, &method->normalize, shape->size, l->maps,
                                              l->set.transform, arena, error);
        if (!l->transform) {
            free(l);
            return NULL;
        }
    }
    if (need_memory(l, arena, error)) {
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
static int take_transforms(const dbi_cuda_loss *l, const dbi_loss_settings *set, dbi_stream stream,
                           const dbi_cuda_loss_input *in, dbi_error *error)
{
    if (set->teacher_transform &&
        (take_sigmoids(stream, in->teacher_logits, l->theirs, l->teacher_p, error) ||
         dbi_cuda_transform_forward(l->transform, stream, l->theirs / set->voxels, l->teacher_p, l->teacher_s, error)))
        return -1;
    if (set->transform && (take_sigmoids(stream, in->logits, l->count, l->p, error) ||
                           dbi_cuda_transform_forward(l->transform, stream, l->maps, l->p, l->s, error)))
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

int dbi_cuda_loss_step(dbi_cuda_loss *l, dbi_stream stream, const dbi_cuda_loss_input *in, dbi_loss_values *values,
                       float *dlogits, float *dsdf, dbi_error *error)
{
    dbi_loss_arguments a;
    memset(&a, 0, sizeof a);
    a.set = in->teacher_logits ? l->set : l->alone;
    a.k = (float)l->set.k;
    a.weighting.gamma = (float)l->set.gamma;
    a.weighting.delta = (float)l->set.delta;
    a.weighting.uncertainty = l->set.uncertainty;
    a.in = *in;
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
    if (take_transforms(l, &a.set, stream, in, error) || add_chunk_launch(stream, l->maps * l->chunks, &a, error) ||
        add_chunks_launch(stream, l->set.decoders * 2 * l->set.classes, &a, error) ||
        conclude_launch(stream, 1, &a, error) ||
        gradients_launch(stream, l->maps * dbi_cuda_blocks(l->set.voxels, DBI_BLOCK), &a, error))
        return -1;
    return a.set.transform ? transform_back(l, stream, dlogits, error) : 0;
}

/* ---- The teacher's noise and mask ---- */

DBI_HD void add_noise(const each_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i >= a->count)
        return;
    const double normal =
        dbi_normal_of(a->parameters->seed, DBI_ROLE_TEACHER_NOISE, a->parameters->step, a->pass, (uint32_t)i);
    a->to[i] = a->from[i] + (float)fmax(-2 * a->sigma, fmin(2 * a->sigma, a->sigma * normal));
}
DBI_KERNEL(add_noise, each_arguments, DBI_BLOCK, 1, no_shared)

DBI_HD void add_mean(const each_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i < a->count)
        a->to[i] = (a->pass ? a->to[i] : 0) + dbi_sigmoid_f32(a->from[i]) / a->share;
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

int dbi_cuda_noise(dbi_stream stream, const float *image, int64_t count, double sigma, uint32_t pass,
                   const dbi_cuda_parameters *parameters, float *to, dbi_error *error)
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

int dbi_cuda_mean(dbi_stream stream, const float *logits, int64_t count, int passes, int pass, float *mean,
                  dbi_error *error)
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

int dbi_cuda_mask(dbi_stream stream, const float *mean, int64_t count, const dbi_cuda_parameters *parameters,
                  float *mask, dbi_error *error)
{
    each_arguments a;
    memset(&a, 0, sizeof a);
    a.count = count;
    a.from = mean;
    a.to = mask;
    a.parameters = parameters;
    return make_mask_launch(stream, dbi_cuda_blocks(count, DBI_BLOCK), &a, error);
}

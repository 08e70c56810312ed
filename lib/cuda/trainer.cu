#include "cuda/trainer.h"

#include <stdlib.h>

#include "cuda/common.h"
#include "cuda/loss.h"
#include "cuda/net.h"
#include "cuda/stream.h"

/* ---- SGD and average, one pass over the flat state: parameters, then statistics ----
 *
 * Products and sums are rounded one by one, as in dbi_sgd_step and dbi_average on the host. So equal gradients give
 * equal bytes, and an average here equals that of dbisl-ema. */

typedef struct update_arguments {
    const dbi_cuda_parameters *block;
    const int *stopped;
    const float *gradient;
    float *student, *momentum, *teacher; /* teacher may be NULL */
    int64_t parameters, all;             /* all: parameters and statistics */
} update_arguments;

DBI_HD void update(const update_arguments *a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    const int64_t i = block * DBI_BLOCK + thread;
    (void)phase;
    (void)shared;
    if (i >= a->all || *a->stopped)
        return;
    float w = a->student[i];
    if (i < a->parameters) {
        const float m = dbi_plus(dbi_times(a->block->momentum, a->momentum[i]),
                                 dbi_plus(a->gradient[i], dbi_times(a->block->weight_decay, w)));
        a->momentum[i] = m;
        w = dbi_plus(w, -dbi_times(a->block->rate, m));
        a->student[i] = w;
    }
    if (a->teacher && a->block->average >= 0)
        a->teacher[i] = dbi_plus(dbi_times(a->block->average, a->teacher[i]), dbi_times(a->block->average_rest, w));
}
DBI_KERNEL(update, update_arguments, DBI_BLOCK, 1, dbi_nothing)

/* A loss that is not finite stops the training: the weights are not changed after it. */
typedef struct guard_arguments {
    const dbi_loss_values *values;
    int *stopped;
} guard_arguments;

DBI_HD void guard(const guard_arguments *a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    const double total = a->values->total;
    (void)block;
    (void)phase;
    (void)shared;
    if (thread == 0 && !(total - total == 0))
        *a->stopped = 1;
}
DBI_KERNEL(guard, guard_arguments, 1, 1, dbi_nothing)

/* ---- The trainer ---- */

/* At most this many steps are under way. */
enum { SLOTS = 2 };

/* The parts of a batch, one after another in one block of memory. */
typedef struct batch_layout {
    size_t image, label, label_sdf, truth; /* bytes */
    size_t label_at, label_sdf_at, truth_at, all;
} batch_layout;

struct dbi_cuda_trainer {
    dbi_method method;
    int64_t total_steps;
    uint64_t seed;
    dbi_loss_shape shape;
    const dbi_layout *layout;
    double average; /* decay of the teacher's average; < 0: there is none */
    bool warmup;

    dbi_stream stream, side, copies; /* side: the teacher's passes, which run beside the student's */
    dbi_event forked, joined;
    dbi_arena arena;
    dbi_cuda_net *student_net, *teacher_net; /* teacher_net: NULL without teacher or without unlabelled samples */
    dbi_cuda_loss *loss;
    dbi_graph graph;
    bool with_truth, recorded; /* with_truth: the graph is for batches with truth */

    /* Device memory. */
    dbi_cuda_parameters *block;
    dbi_loss_values *values;
    int *stopped;
    unsigned char *batch, *staged[SLOTS];
    float *student, *momentum, *teacher, *gradient; /* student and teacher: parameters, then statistics */
    float *logits, *sdf, *dlogits, *dsdf;
    float *teacher_logits, *teacher_sdf, *noisy, *mask, *mean;

    /* Host memory. */
    batch_layout parts;
    struct {
        unsigned char *batch; /* pinned, like the next two */
        dbi_cuda_parameters *block;
        dbi_loss_values *values;
        dbi_event copied, done;
        int64_t step;
    } slot[SLOTS];
    int64_t submitted, finished; /* steps of this trainer */
    int64_t batches;             /* batches that the student had seen before */
    bool have_weights;
};

static int64_t voxels_of(const dbi_loss_shape *shape)
{
    return shape->size[0] * shape->size[1] * shape->size[2];
}

static batch_layout lay_out(const dbi_loss_shape *shape, int channels)
{
    const size_t voxels = (size_t)voxels_of(shape), labeled = (size_t)shape->labeled, batch = (size_t)shape->batch;
    batch_layout p;
    p.image = batch * (size_t)channels * voxels * sizeof(float);
    p.label = labeled * voxels;
    p.label_sdf = labeled * (size_t)shape->classes * voxels * sizeof(float);
    p.truth = (batch - labeled) * voxels;
    p.label_at = (p.image + 255) / 256 * 256;
    p.label_sdf_at = (p.label_at + p.label + 255) / 256 * 256;
    p.truth_at = (p.label_sdf_at + p.label_sdf + 255) / 256 * 256;
    p.all = p.truth_at + p.truth;
    return p;
}

static int need_memory(dbi_cuda_trainer *t, dbi_error *error)
{
    const size_t voxels = (size_t)voxels_of(&t->shape), classes = (size_t)t->shape.classes, f = sizeof(float);
    const size_t decoders = (size_t)t->shape.decoders,
                 outputs = decoders * (size_t)t->shape.batch * classes * voxels * f,
                 unlabeled = (size_t)(t->shape.batch - t->shape.labeled);
    const size_t of_one = unlabeled * classes * voxels * f, theirs = decoders * of_one,
                 images = unlabeled * (size_t)t->layout->arch.channels * voxels * f;
    const size_t parameters = t->layout->parameters * f, state = parameters + t->layout->statistics * f;
    const bool teacher = dbi_method_needs_teacher(&t->method), passes = t->teacher_net && t->method.passes;
    const struct {
        void *pointer;
        size_t bytes;
    } needs[] = {{&t->block, sizeof *t->block},
                 {&t->values, sizeof *t->values},
                 {&t->stopped, sizeof *t->stopped},
                 {&t->batch, t->parts.all},
                 {&t->staged[0], t->parts.all},
                 {&t->staged[1], t->parts.all},
                 {&t->student, state},
                 {&t->momentum, parameters},
                 {&t->teacher, teacher ? state : 0},
                 {&t->gradient, parameters},
                 {&t->logits, outputs},
                 {&t->sdf, outputs},
                 {&t->dlogits, outputs},
                 {&t->dsdf, outputs},
                 {&t->teacher_logits, t->teacher_net ? theirs : 0},
                 {&t->teacher_sdf, t->teacher_net ? theirs : 0},
                 {&t->noisy, t->teacher_net && t->method.teacher_noise > 0 ? images : 0},
                 {&t->mask, passes ? of_one : 0},
                 {&t->mean, passes ? of_one : 0}};
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (dbi_arena_need(&t->arena, needs[i].pointer, needs[i].bytes, error))
            return -1;
    return 0;
}

static int open_slots(dbi_cuda_trainer *t, dbi_error *error)
{
    for (int i = 0; i < SLOTS; i++) {
        void *batch = NULL, *block = NULL, *values = NULL;
        const int status = dbi_pinned_open(&batch, t->parts.all, error) ||
                           dbi_pinned_open(&block, sizeof(dbi_cuda_parameters), error) ||
                           dbi_pinned_open(&values, sizeof(dbi_loss_values), error);
        t->slot[i].batch = (unsigned char *)batch;
        t->slot[i].block = (dbi_cuda_parameters *)block;
        t->slot[i].values = (dbi_loss_values *)values;
        if (status || dbi_event_open(&t->slot[i].copied, error) || dbi_event_open(&t->slot[i].done, error))
            return -1;
    }
    return 0;
}

dbi_cuda_trainer *dbi_cuda_trainer_open(const dbi_device *device, const dbi_training *training, dbi_error *error)
{
    const dbi_loss_shape *shape = &training->shape;
    const dbi_method *method = training->method;
    dbi_net_shape student_shape, teacher_shape;
    if (dbi_cuda_select(device, error))
        return NULL;
    memset(&student_shape, 0, sizeof student_shape);
    student_shape.layout = training->layout;
    student_shape.batch = shape->batch;
    memcpy(student_shape.size, shape->size, sizeof student_shape.size);
    teacher_shape = student_shape;
    student_shape.training = true;
    teacher_shape.batch = shape->batch - shape->labeled;
    dbi_cuda_trainer *t = (dbi_cuda_trainer *)calloc(1, sizeof *t);
    if (!t) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    t->method = *method;
    t->total_steps = training->total_steps;
    t->seed = training->seed;
    t->shape = *shape;
    t->layout = training->layout;
    t->average = -1;
    t->parts = lay_out(shape, training->layout->arch.channels);
    if (dbi_stream_open(&t->stream, error) || dbi_stream_open(&t->side, error) || dbi_stream_open(&t->copies, error) ||
        dbi_event_open(&t->forked, error) || dbi_event_open(&t->joined, error) ||
        !(t->student_net = dbi_cuda_net_new(device, &student_shape, &t->arena, error)) ||
        (dbi_method_needs_teacher(method) && teacher_shape.batch &&
         !(t->teacher_net = dbi_cuda_net_new(device, &teacher_shape, &t->arena, error))) ||
        !(t->loss = dbi_cuda_loss_new(method, shape, &t->arena, error)) || need_memory(t, error) ||
        dbi_arena_open(&t->arena, error) || open_slots(t, error)) {
        dbi_cuda_trainer_close(t);
        return NULL;
    }
    return t;
}

void dbi_cuda_trainer_close(dbi_cuda_trainer *t)
{
    if (!t)
        return;
    dbi_stream_close(t->copies); /* waits for the steps that are under way */
    dbi_stream_close(t->stream);
    dbi_stream_close(t->side);
    dbi_event_close(t->forked);
    dbi_event_close(t->joined);
    dbi_graph_close(t->graph);
    for (int i = 0; i < SLOTS; i++) {
        dbi_event_close(t->slot[i].copied);
        dbi_event_close(t->slot[i].done);
        dbi_pinned_close(t->slot[i].batch);
        dbi_pinned_close(t->slot[i].block);
        dbi_pinned_close(t->slot[i].values);
    }
    dbi_cuda_loss_free(t->loss);
    dbi_cuda_net_free(t->teacher_net);
    dbi_cuda_net_free(t->student_net);
    dbi_arena_close(&t->arena);
    free(t);
}

void dbi_cuda_trainer_average(dbi_cuda_trainer *t, double decay, bool warmup)
{
    t->average = decay;
    t->warmup = warmup;
}

/* ---- What the device does in a step; recorded as a graph ---- */

static dbi_cuda_pass batch_pass(const dbi_cuda_trainer *t)
{
    dbi_cuda_pass pass;
    memset(&pass, 0, sizeof pass);
    pass.statistics = DBI_BATCH_STATISTICS;
    pass.passes = 1;
    pass.parameters = t->block;
    return pass;
}

/* The unlabelled images, with noise if the method wants it. */
static int noisy_images(dbi_cuda_trainer *t, uint32_t pass, const float **images, dbi_error *error)
{
    const int64_t voxels = voxels_of(&t->shape) * t->layout->arch.channels;
    *images = (const float *)(const void *)t->batch + t->shape.labeled * voxels;
    if (!t->noisy)
        return 0;
    if (dbi_cuda_noise(t->side, *images, (t->shape.batch - t->shape.labeled) * voxels, t->method.teacher_noise, pass,
                       t->block, t->noisy, error))
        return -1;
    *images = t->noisy;
    return 0;
}

static int teacher_pass(dbi_cuda_trainer *t, const dbi_cuda_pass *pass, uint32_t noise, dbi_error *error)
{
    const float *images;
    return noisy_images(t, noise, &images, error) ||
                   dbi_cuda_net_forward(t->teacher_net, t->side, t->teacher, t->teacher + t->layout->parameters, pass,
                                        images, t->teacher_logits, t->teacher_sdf, error)
               ? -1
               : 0;
}

/* Makes ua-mt's mask from the mean over noisy dropout passes and decoders. */
static int certain(dbi_cuda_trainer *t, dbi_error *error)
{
    const int64_t outputs = (t->shape.batch - t->shape.labeled) * t->shape.classes * voxels_of(&t->shape);
    const int decoders = t->shape.decoders;
    dbi_cuda_pass pass = batch_pass(t);
    pass.dropout = t->method.dropout;
    pass.role = DBI_ROLE_TEACHER_DROPOUT;
    pass.passes = (uint32_t)t->method.passes;
    for (int i = 0; i < t->method.passes; i++) {
        pass.index = (uint32_t)i;
        if (teacher_pass(t, &pass, (uint32_t)i + 1, error))
            return -1;
        for (int d = 0; d < decoders; d++)
            if (dbi_cuda_mean(t->side, t->teacher_logits + d * outputs, outputs, t->method.passes * decoders,
                              i * decoders + d, t->mean, error))
                return -1;
    }
    return dbi_cuda_mask(t->side, t->mean, outputs, t->block, t->mask, error);
}

/* Computes all that the student's loss needs of the teacher. It runs on a stream of its own, because a pass leaves much
 * of the device idle at the lower levels of the network. */
static int teach(dbi_cuda_trainer *t, const dbi_cuda_pass *pass, dbi_cuda_loss_input *input, dbi_error *error)
{
    if (dbi_event_record(t->forked, t->stream, error) || dbi_event_before(t->forked, t->side, error) ||
        dbi_cuda_net_weights(t->teacher_net, t->side, t->teacher, error) || (t->method.passes && certain(t, error)) ||
        teacher_pass(t, pass, 0, error) || dbi_event_record(t->joined, t->side, error))
        return -1;
    input->teacher_logits = t->teacher_logits;
    input->teacher_sdf = t->teacher_sdf;
    input->teacher_mask = t->method.passes ? t->mask : NULL;
    return 0;
}

static int run_step(void *context, dbi_error *error)
{
    dbi_cuda_trainer *t = (dbi_cuda_trainer *)context;
    dbi_cuda_pass pass = batch_pass(t);
    dbi_cuda_loss_input input;
    update_arguments u;
    guard_arguments g;
    float *const running = t->student + t->layout->parameters;
    memset(&input, 0, sizeof input);
    memset(&u, 0, sizeof u);
    input.logits = t->logits;
    input.sdf = t->sdf;
    input.label = t->batch + t->parts.label_at;
    input.label_sdf = (const float *)(const void *)(t->batch + t->parts.label_sdf_at);
    input.truth = t->with_truth ? t->batch + t->parts.truth_at : NULL;
    input.parameters = t->block;
    if (t->teacher_net && teach(t, &pass, &input, error))
        return -1;
    pass.update_running = pass.keep = true;
    pass.dropout = t->method.dropout;
    pass.role = DBI_ROLE_DROPOUT;
    g.values = t->values;
    g.stopped = t->stopped;
    u.block = t->block;
    u.stopped = t->stopped;
    u.gradient = t->gradient;
    u.student = t->student;
    u.momentum = t->momentum;
    u.teacher = t->teacher;
    u.parameters = (int64_t)t->layout->parameters;
    u.all = (int64_t)(t->layout->parameters + t->layout->statistics);
    return dbi_cuda_net_weights(t->student_net, t->stream, t->student, error) ||
                   dbi_cuda_net_forward(t->student_net, t->stream, t->student, running, &pass,
                                        (const float *)(const void *)t->batch, t->logits, t->sdf, error) ||
                   (t->teacher_net && dbi_event_before(t->joined, t->stream, error)) ||
                   dbi_cuda_loss_step(t->loss, t->stream, &input, t->values, t->dlogits, t->dsdf, error) ||
                   dbi_cuda_net_backward(t->student_net, t->stream, t->student, t->sdf, t->dlogits, t->dsdf,
                                         t->gradient, error) ||
                   guard_launch(t->stream, 1, &g, error) ||
                   update_launch(t->stream, dbi_cuda_blocks(u.all, DBI_BLOCK), &u, error)
               ? -1
               : 0;
}

/* The first step runs call by call, because some things are loaded or set up on first use and that cannot be recorded.
 * The second step is recorded as a graph. */
static int run_or_launch(dbi_cuda_trainer *t, dbi_error *error)
{
    if (t->submitted > 0 && !t->recorded) {
        if (dbi_graph_record(&t->graph, t->stream, run_step, t, error))
            return -1;
        t->recorded = true;
    }
    return t->graph ? dbi_graph_launch(t->graph, t->stream, error) : run_step(t, error);
}

/* ---- The host's side ---- */

static int put_weights(dbi_cuda_trainer *t, const dbi_weights_f32 *student, const dbi_weights_f32 *teacher,
                       dbi_error *error)
{
    const size_t parameters = t->layout->parameters, statistics = t->layout->statistics, f = sizeof(float);
    if (t->teacher && !teacher)
        return dbi_fail(error, "the method %s needs a teacher", t->method.name);
    if (dbi_cuda_put(t->stream, t->student, student->parameters, parameters * f, error) ||
        dbi_cuda_put(t->stream, t->student + parameters, student->statistics, statistics * f, error) ||
        dbi_cuda_put(t->stream, t->momentum, student->momentum, parameters * f, error) ||
        (t->teacher && (dbi_cuda_put(t->stream, t->teacher, teacher->parameters, parameters * f, error) ||
                        dbi_cuda_put(t->stream, t->teacher + parameters, teacher->statistics, statistics * f, error))))
        return -1;
    t->batches = student->batches;
    t->have_weights = true;
    return dbi_cuda_wait(t->stream, error); /* after this the caller may change its arrays */
}

static void fill_block(const dbi_cuda_trainer *t, int64_t step, dbi_cuda_parameters *b)
{
    const double ramp = dbi_ramp(&t->method, step, t->total_steps),
                 lambda = t->method.lambda > 0 ? t->method.lambda : 1;
    const double average = t->average < 0 ? -1 : dbi_average_decay(step + 1, t->average, t->warmup);
    memset(b, 0, sizeof *b);
    b->ramp = ramp;
    b->threshold = (0.75 + 0.25 * ramp / lambda) * log(2.0);
    b->seed = t->seed;
    b->step = (uint32_t)step;
    b->rate = (float)dbi_rate(&t->method, step, t->total_steps);
    b->momentum = (float)t->method.momentum;
    b->weight_decay = (float)t->method.weight_decay;
    b->average = (float)average;
    b->average_rest = (float)(1 - average);
}

static void fill_batch(const dbi_cuda_trainer *t, const dbi_samples_f32 *samples, unsigned char *to)
{
    memcpy(to, samples->image, t->parts.image);
    if (t->parts.label) {
        memcpy(to + t->parts.label_at, samples->label, t->parts.label);
        memcpy(to + t->parts.label_sdf_at, samples->label_sdf, t->parts.label_sdf);
    }
    if (t->with_truth)
        memcpy(to + t->parts.truth_at, samples->truth, t->parts.truth);
}

int dbi_cuda_trainer_submit(dbi_cuda_trainer *t, const dbi_weights_f32 *student, const dbi_weights_f32 *teacher,
                            const dbi_samples_f32 *samples, int64_t step, dbi_error *error)
{
    const int at = (int)(t->submitted % SLOTS);
    const bool truth = samples->truth && t->parts.truth;
    if (t->submitted - t->finished == SLOTS)
        return dbi_fail(error, "more than %d steps are under way", SLOTS);
    if (!t->have_weights && put_weights(t, student, teacher, error))
        return -1;
    if (t->recorded && truth != t->with_truth) { /* the recorded step does not fit this batch */
        if (dbi_cuda_wait(t->stream, error))
            return -1;
        dbi_graph_close(t->graph);
        t->graph = NULL;
        t->recorded = false;
    }
    t->with_truth = truth;
    fill_batch(t, samples, t->slot[at].batch);
    fill_block(t, step, t->slot[at].block);
    if (dbi_cuda_put(t->copies, t->staged[at], t->slot[at].batch, t->parts.all, error) ||
        dbi_event_record(t->slot[at].copied, t->copies, error) ||
        dbi_event_before(t->slot[at].copied, t->stream, error) ||
        dbi_cuda_copy(t->stream, t->batch, t->staged[at], t->parts.all, error) ||
        dbi_cuda_put(t->stream, t->block, t->slot[at].block, sizeof *t->block, error) || run_or_launch(t, error) ||
        dbi_cuda_get(t->stream, t->slot[at].values, t->values, sizeof *t->values, error) ||
        dbi_event_record(t->slot[at].done, t->stream, error))
        return -1;
    t->slot[at].step = step;
    t->submitted++;
    return 0;
}

int dbi_cuda_trainer_finish(dbi_cuda_trainer *t, dbi_step_log *log, dbi_error *error)
{
    const int at = (int)(t->finished % SLOTS);
    if (t->finished == t->submitted)
        return dbi_fail(error, "no step is under way");
    if (dbi_event_wait(t->slot[at].done, error))
        return -1;
    t->finished++;
    memset(log, 0, sizeof *log);
    log->loss = *t->slot[at].values;
    log->rate = dbi_rate(&t->method, t->slot[at].step, t->total_steps);
    log->ramp = dbi_ramp(&t->method, t->slot[at].step, t->total_steps);
    if (!isfinite(log->loss.total))
        return dbi_fail(error, "step %lld: the loss is not finite; the rate or a weight may be too high",
                        (long long)t->slot[at].step);
    return 0;
}

int dbi_cuda_trainer_fetch(dbi_cuda_trainer *t, dbi_weights_f32 *student, dbi_weights_f32 *teacher, dbi_error *error)
{
    const size_t parameters = t->layout->parameters, statistics = t->layout->statistics, f = sizeof(float);
    const bool averaged = t->teacher && teacher && t->average >= 0;
    if (!t->have_weights)
        return 0;
    if (dbi_cuda_get(t->stream, student->parameters, t->student, parameters * f, error) ||
        dbi_cuda_get(t->stream, student->statistics, t->student + parameters, statistics * f, error) ||
        dbi_cuda_get(t->stream, student->momentum, t->momentum, parameters * f, error) ||
        (averaged && (dbi_cuda_get(t->stream, teacher->parameters, t->teacher, parameters * f, error) ||
                      dbi_cuda_get(t->stream, teacher->statistics, t->teacher + parameters, statistics * f, error))) ||
        dbi_cuda_wait(t->stream, error))
        return -1;
    student->batches = t->batches + (dbi_layout_has(t->layout, DBI_RUNNING_MEAN) ? t->submitted : 0);
    if (averaged)
        teacher->batches = student->batches;
    return 0;
}

int dbi_cuda_trainer_gradient(dbi_cuda_trainer *t, float *gradient, dbi_error *error)
{
    return dbi_cuda_get(t->stream, gradient, t->gradient, t->layout->parameters * sizeof(float), error) ||
                   dbi_cuda_wait(t->stream, error)
               ? -1
               : 0;
}

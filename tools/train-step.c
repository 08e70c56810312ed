/* dbisl-train-step: trains a student, and averages its teacher, on batches that it reads or makes itself. */
#include "sampling.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cohort/ahead.h"
#include "device/trainer.h"
#include "distance/normalize.h"
#include "method/batch.h"
#include "method/run.h"
#include "net/checkpoint.h"
#include "record/metadata.h"
#include "record/sink.h"

enum {
    KEY_METHOD = 0x100,
    KEY_TOTAL,
    KEY_STEPS,
    KEY_EMA,
    KEY_NO_WARMUP,
    KEY_STUDENT,
    KEY_TEACHER,
    KEY_OUT_STUDENT,
    KEY_OUT_TEACHER,
    KEY_LOG,
    KEY_EXPLAIN,
    KEY_LR, /* this and all that follow are settings of the method */
    KEY_SCHEDULE,
    KEY_MOMENTUM,
    KEY_DECAY,
    KEY_DROPOUT,
    KEY_SEG_LOSS,
    KEY_BETA,
    KEY_LAMBDA,
    KEY_K,
    KEY_RAMP,
    KEY_RAMP_EVERY,
    KEY_GAMMA,
    KEY_DELTA,
    KEY_TRANSFORM,
    KEY_NORMALIZE,
    KEY_NOISE,
    KEY_PASSES,
    KEY_WEIGHT,
    KEY_WITHOUT
};

static const struct argp_option options[] = {
    {"student", KEY_STUDENT, "FILE", 0, "The student's checkpoint before", 1},
    {"teacher", KEY_TEACHER, "FILE", 0, "The teacher's checkpoint before, for methods that have one", 1},
    {"out-student", KEY_OUT_STUDENT, "FILE", 0, "Write the student after the steps to FILE", 1},
    {"out-teacher", KEY_OUT_TEACHER, "FILE", 0, "Write the averaged teacher to FILE; needs --ema", 1},
    {"log", KEY_LOG, "FILE", 0, "Write a row per step to FILE, tab-separated", 1},
    {"steps", KEY_STEPS, "N", 0, "Do N steps; fewer or more batches are an error", 1},
    {"total-steps", KEY_TOTAL, "N", 0, "Length of the whole training, for ramp and schedule", 1},
    {"ema", KEY_EMA, "A", 0, "Average the teacher after every step with decay A", 1},
    {"no-warmup", KEY_NO_WARMUP, 0, 0, "Use the decay A from the first step on", 1},
    {0, 0, 0, 0, "Method:", 2},
    {"method", KEY_METHOD, "NAME", 0, "supervised, mean-teacher, ua-mt, dtc or dbisl (default); sets everything below",
     2},
    {"explain", KEY_EXPLAIN, 0, 0, "Print the settings that would be used, as JSON, and exit", 2},
    {"weight", KEY_WEIGHT, "TERM=W", 0, "Weight of a term of the loss; 0 is off", 2},
    {"without", KEY_WITHOUT, "PART", 0, "Switch off cross, consistency, pseudo, decoders, exchange or uncertainty", 2},
    {"seg-loss", KEY_SEG_LOSS, "NAME", 0, "dice or dice+ce", 2},
    {"beta", KEY_BETA, "W", 0, "Weight of the regression terms against the segmentation terms", 2},
    {"lambda", KEY_LAMBDA, "W", 0, "Weight of the unsupervised terms after the ramp-up", 2},
    {"ramp", KEY_RAMP, "T", 0, "Length of the ramp-up, in steps or as a percentage of all steps (60%)", 2},
    {"ramp-every", KEY_RAMP_EVERY, "N", 0, "The ramp rises once in N steps", 2},
    {"k", KEY_K, "K", 0, "Steepness of the transform from distance to segmentation", 2},
    {"transform", KEY_TRANSFORM, "NAME", 0, "From segmentation to distance: levelset, conv:H,RADIUS or exact", 2},
    {"sdf-normalize", KEY_NORMALIZE, "HOW", 0, "Normalization of the signed distance: clip:T (voxels) or max", 2},
    {"gamma", KEY_GAMMA, "G", 0, "How much disagreement of the teacher's outputs lowers a voxel's weight", 2},
    {"delta", KEY_DELTA, "D", 0, "The same for their disagreement in distance (0)", 2},
    {"teacher-noise", KEY_NOISE, "S", 0, "Standard deviation of the noise on the teacher's input", 2},
    {"passes", KEY_PASSES, "N", 0, "Noisy dropout passes that mask the teacher term; 0 is off", 2},
    {0, 0, 0, 0, "Optimizer:", 3},
    {"lr", KEY_LR, "R", 0, "Learning rate at the start (0.01)", 3},
    {"schedule", KEY_SCHEDULE, "HOW", 0, "constant, every:N, at:S[,S...] or poly[:POWER] (at:70%)", 3},
    {"momentum", KEY_MOMENTUM, "M", 0, "Momentum of SGD (0.9)", 3},
    {"weight-decay", KEY_DECAY, "W", 0, "Weight decay (1e-4)", 3},
    {"dropout", KEY_DROPOUT, "P", 0, "Probability of dropping a channel (0.5)", 3},
    {0, 0, 0, 0, "Batches made here, as by dbisl-sample, instead of read:", 4},
    TOOL_SAMPLING_OPTIONS(4, 4, 4),
    {0},
};

enum { MAX_CHANGES = 256 };

typedef struct arguments {
    dbi_method method;
    const char *preset;
    struct {
        int key;
        char *arg;
    } changes[MAX_CHANGES]; /* of the preset; they are made last, wherever --method stands */
    int change_count;
    bool explain, warmup;
    int64_t total_steps, steps;
    double ema; /* < 0: none */
    const char *student, *teacher, *out_student, *out_teacher, *log, *batches;
    tool_sampling sampling;
} arguments;

static void parse_ramp(struct argp_state *state, const char *arg, dbi_method *method)
{
    char *end;
    const double value = strtod(arg, &end);
    const bool percent = !strcmp(end, "%");
    if (end == arg || (*end && !percent) || !(value >= 0 && value <= 1e9) || (percent && value > 100))
        argp_error(state, "--ramp: \"%s\": give steps, such as 4000, or a percentage, such as 40%%", arg);
    method->ramp = percent ? value / 100 : 0;
    method->ramp_steps = percent ? 0 : (int64_t)value;
}

/* Changes one setting of the method. */
static void change(struct argp_state *state, int key, const char *arg, dbi_method *m)
{
    dbi_error error;
    switch (key) {
    case KEY_WEIGHT:
        if (dbi_method_set_weight(m, arg, &error))
            tool_usage(state, "weight", &error);
        break;
    case KEY_WITHOUT:
        if (dbi_method_without(m, arg, &error))
            tool_usage(state, "without", &error);
        break;
    case KEY_SEG_LOSS:
        m->cross_entropy = !strcmp(arg, "dice+ce");
        if (!m->cross_entropy && strcmp(arg, "dice"))
            argp_error(state, "--seg-loss: \"%s\": choose dice or dice+ce", arg);
        break;
    case KEY_BETA:
        m->beta = tool_number(state, "beta", arg, 0, 1e6);
        break;
    case KEY_LAMBDA:
        m->lambda = tool_number(state, "lambda", arg, 0, 1e6);
        break;
    case KEY_RAMP:
        parse_ramp(state, arg, m);
        break;
    case KEY_RAMP_EVERY:
        m->ramp_every = tool_int(state, "ramp-every", arg, 1, 1000000000);
        break;
    case KEY_K:
        m->k = tool_number(state, "k", arg, 1e-3, 1e6);
        break;
    case KEY_TRANSFORM:
        if (dbi_transform_parse(arg, &m->transform, &error))
            tool_usage(state, "transform", &error);
        break;
    case KEY_NORMALIZE:
        if (dbi_normalize_parse(arg, &m->normalize, &error))
            tool_usage(state, "sdf-normalize", &error);
        if (m->normalize.kind == DBI_NORMALIZE_NONE)
            argp_error(state, "--sdf-normalize: choose clip:T or max for the distance head");
        break;
    case KEY_GAMMA:
        m->gamma = tool_number(state, "gamma", arg, 0, 1e6);
        break;
    case KEY_DELTA:
        m->delta = tool_number(state, "delta", arg, 0, 1e6);
        break;
    case KEY_NOISE:
        m->teacher_noise = tool_number(state, "teacher-noise", arg, 0, 100);
        break;
    case KEY_PASSES:
        m->passes = (int)tool_int(state, "passes", arg, 0, 1000);
        break;
    case KEY_LR:
        m->rate = tool_number(state, "lr", arg, 0, 1000);
        break;
    case KEY_SCHEDULE:
        if (dbi_schedule_check(arg, &error))
            tool_usage(state, "schedule", &error);
        snprintf(m->schedule, sizeof m->schedule, "%s", arg);
        break;
    case KEY_MOMENTUM:
        m->momentum = tool_number(state, "momentum", arg, 0, 1);
        break;
    case KEY_DECAY:
        m->weight_decay = tool_number(state, "weight-decay", arg, 0, 1);
        break;
    case KEY_DROPOUT:
        m->dropout = tool_number(state, "dropout", arg, 0, 0.99);
        break;
    }
}

static void finish(struct argp_state *state, arguments *a)
{
    dbi_method_preset(a->preset, &a->method, NULL);
    for (int i = 0; i < a->change_count; i++)
        change(state, a->changes[i].key, a->changes[i].arg, &a->method);
    const bool needs = dbi_method_needs_teacher(&a->method);
    if (a->explain)
        return;
    if (!a->total_steps)
        argp_error(state, "--total-steps is missing");
    if (!a->steps || !a->student || !a->out_student)
        argp_error(state, "--%s is missing", !a->steps ? "steps" : !a->student ? "student" : "out-student");
    if (needs && !a->teacher)
        argp_error(state, "the method %s needs --teacher", a->method.name);
    if (!needs && (a->teacher || a->out_teacher || a->ema >= 0))
        argp_error(state, "the method %s has no teacher: --teacher, --out-teacher and --ema do not apply",
                   a->method.name);
    if (!a->out_teacher != (a->ema < 0))
        argp_error(state, "--out-teacher and --ema go together");
    if (a->sampling.split && a->batches)
        argp_error(state, "leave out %s: --split makes the batches here", a->batches);
    if (a->sampling.split)
        tool_sampling_check(state, &a->sampling);
    else if (a->sampling.first)
        argp_error(state, "--%s is for batches that are made here: --split is missing", a->sampling.first);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    dbi_error error;
    if (key >= KEY_LR && key <= KEY_WITHOUT) {
        if (a->change_count == MAX_CHANGES)
            argp_error(state, "more than %d changes of the method", MAX_CHANGES);
        a->changes[a->change_count].key = key;
        a->changes[a->change_count++].arg = arg;
        return 0;
    }
    switch (key) {
    case KEY_METHOD:
        if (dbi_method_preset(arg, &(dbi_method){0}, &error))
            tool_usage(state, "method", &error);
        a->preset = arg;
        return 0;
    case KEY_TOTAL:
        a->total_steps = tool_int(state, "total-steps", arg, 1, 1000000000);
        return 0;
    case KEY_STEPS:
        a->steps = tool_int(state, "steps", arg, 1, 1000000000);
        return 0;
    case KEY_EMA:
        a->ema = tool_number(state, "ema", arg, 0, 1);
        return 0;
    case KEY_NO_WARMUP:
        a->warmup = false;
        return 0;
    case KEY_STUDENT:
        a->student = arg;
        return 0;
    case KEY_TEACHER:
        a->teacher = arg;
        return 0;
    case KEY_OUT_STUDENT:
        a->out_student = arg;
        return 0;
    case KEY_OUT_TEACHER:
        a->out_teacher = arg;
        return 0;
    case KEY_LOG:
        a->log = arg;
        return 0;
    case KEY_EXPLAIN:
        a->explain = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num)
            argp_error(state, "more than one file of batches");
        a->batches = arg;
        return 0;
    case ARGP_KEY_END:
        finish(state, a);
        return 0;
    default:
        return tool_sampling_parse(key, arg, state, &a->sampling);
    }
}

/* The state of the training in this process. */
typedef struct training {
    const arguments *arguments;
    const tool_options *common;
    dbi_checkpoint *student, *teacher;
    dbi_trainer *trainer;
    dbi_loss_shape shape; /* of the trainer */
    dbi_run *run;
    dbi_sink *log;
    int64_t submitted, finished; /* steps given to the trainer, and steps whose loss is known */
} training;

/* Metadata that all batches of a training must have in common: the first batch writes it into the checkpoint, the
 * others are compared. */
static int agree(dbi_checkpoint *student, const char *key, const char *value, dbi_error *error)
{
    const char *has = dbi_meta_get(student->meta, key);
    if (!has)
        return dbi_meta_set(student->meta, key, value, error);
    return strcmp(has, value) ? dbi_fail(error, "%s is %s, the checkpoint's is %s", key, value, has) : 0;
}

static int agree_regression(dbi_checkpoint *student, const dbi_method *method, dbi_error *error)
{
    char normalize[64], text[128];
    dbi_normalize_format(&method->normalize, normalize);
    snprintf(text, sizeof text, "{\"k\":%.17g,\"normalize\":\"%s\"}", method->k, normalize);
    /* A training may go on with another method; the latest says what the head means. */
    return dbi_meta_set(student->meta, "regression", text, error);
}

static bool same_shape(const dbi_loss_shape *a, const dbi_loss_shape *b)
{
    return a->batch == b->batch && a->labeled == b->labeled && a->classes == b->classes && a->decoders == b->decoders &&
           !memcmp(a->size, b->size, sizeof a->size);
}

/* Waits for the oldest step under way and logs it. */
static int finish_step(training *s, dbi_error *error)
{
    dbi_step_log log;
    if (dbi_trainer_finish(s->trainer, &log, error))
        return -1;
    const int64_t step = s->student->step - (s->submitted - s->finished);
    if (s->log && dbi_log_row(s->log, s->shape.decoders, step, &log, error))
        return -1;
    s->finished++;
    tool_progress("step %lld of %lld, loss %.4f", (long long)step + 1, (long long)s->arguments->total_steps,
                  log.loss.total);
    return 0;
}

static int finish_steps(training *s, dbi_error *error)
{
    while (s->finished < s->submitted)
        if (finish_step(s, error))
            return -1;
    return s->trainer
               ? dbi_trainer_fetch(s->trainer, &s->student->weights, s->teacher ? &s->teacher->weights : NULL, error)
               : 0;
}

/* Notes the size of the patches for dbisl-predict, because a network works best in windows of the size that it was
 * trained on. The last one counts. */
static int note_patch(dbi_checkpoint *student, const int64_t size[3], dbi_error *error)
{
    char text[80];
    snprintf(text, sizeof text, "[%lld,%lld,%lld]", (long long)size[0], (long long)size[1], (long long)size[2]);
    return dbi_meta_set(student->meta, "patch", text, error);
}

/* Opens a trainer for batches of this shape, unless it is open. */
static int need_trainer(training *s, const dbi_loss_shape *shape, dbi_error *error)
{
    const arguments *a = s->arguments;
    if (s->trainer && same_shape(&s->shape, shape))
        return 0;
    if (finish_steps(s, error) || note_patch(s->student, shape->size, error))
        return -1;
    dbi_trainer_close(s->trainer);
    s->shape = *shape;
    const dbi_training start = {&a->method, a->total_steps, s->common->seed, &s->student->layout, s->shape};
    s->trainer = dbi_trainer_open(&s->common->device, &start, error);
    if (s->trainer && a->ema >= 0)
        dbi_trainer_average(s->trainer, a->ema, a->warmup);
    return s->trainer ? 0 : -1;
}

/* Gives the batch's step to the trainer, then waits for the step before it, so that a device computes while the next
 * batch is read. */
static int train_on(training *s, dbi_record *record, dbi_error *error)
{
    const arguments *a = s->arguments;
    dbi_batch batch;
    if (dbi_batch_open(record, &s->student->layout.arch, &a->method, &batch, error))
        return -1;
    int status = -1;
    if (batch.step != s->student->step) {
        dbi_fail(error, "a batch of step %lld, but the student's next is %lld", (long long)batch.step,
                 (long long)s->student->step);
        goto done;
    }
    if (agree(s->student, "preprocessing", batch.preprocessing ? batch.preprocessing : "null", error) ||
        agree_regression(s->student, &a->method, error) || need_trainer(s, &batch.shape, error))
        goto done;
    const dbi_samples_f32 samples = {batch.image, batch.label, batch.label_sdf, batch.truth};
    if (dbi_trainer_submit(s->trainer, &s->student->weights, s->teacher ? &s->teacher->weights : NULL, &samples,
                           s->student->step, error) ||
        dbi_run_add(s->run, record, error))
        goto done;
    s->submitted++;
    s->student->step++;
    status = s->submitted - s->finished > 1 ? finish_step(s, error) : 0;
done:
    dbi_batch_close(&batch);
    return status;
}

/* Where batches come from: a stream, or a sampler in this process, which is faster than a pipe. */
typedef struct source {
    const char *name;
    dbi_reader *reader;
    dbi_sampler *sampler;
    dbi_ahead *ahead;
} source;

static void close_source(source *from)
{
    dbi_reader_close(from->reader);
    dbi_ahead_stop(from->ahead);
    dbi_sampler_close(from->sampler);
}

static int open_source(const training *s, source *from, dbi_error *error)
{
    const arguments *a = s->arguments;
    *from = (source){.name = tool_input_name(a->batches)};
    if (!a->sampling.split)
        return (from->reader = dbi_reader_open(a->batches, error)) ? dbi_reader_ahead(from->reader, error) : -1;
    tool_sampling sampling = a->sampling;
    from->name = sampling.split;
    if (!(from->sampler = tool_sampling_open(&sampling, s->common->seed, error)))
        return -1;
    from->ahead = dbi_ahead_start(from->sampler, (uint32_t)s->student->step, (uint32_t)a->steps, sampling.ahead, error);
    return from->ahead ? 0 : -1;
}

/* Returns 1 and a batch, 0 after the last, -1 on error. */
static int next_batch(source *from, dbi_record **batch, dbi_error *error)
{
    return from->reader ? dbi_reader_next(from->reader, batch, error) : dbi_ahead_next(from->ahead, batch, error);
}

static int train(training *s, dbi_error *error)
{
    const arguments *a = s->arguments;
    source from;
    int64_t done = 0;
    int got = open_source(s, &from, error);
    dbi_record *record = NULL;
    while (got >= 0 && (got = next_batch(&from, &record, error)) > 0) {
        int status = done == a->steps ? dbi_fail(error, "more than the %lld batches of --steps", (long long)a->steps)
                                      : train_on(s, record, error);
        dbi_record_free(record);
        if (status)
            got = dbi_fail_in(error, "%s: %s %lld", from.name, from.reader ? "record" : "batch",
                              (long long)(from.reader ? done : s->student->step));
        else
            done++;
    }
    close_source(&from);
    if (got == 0 && done < a->steps)
        return dbi_fail(error, "%s: the batches ended after %lld of %lld steps", from.name, (long long)done,
                        (long long)a->steps);
    if (got < 0 || finish_steps(s, error))
        return -1;
    /* The teacher's weights are averaged in each step; here it gets the student's step, metadata and history. */
    return dbi_run_store(s->run, s->student->meta, error) ||
                   (a->ema >= 0 && dbi_checkpoint_follow(s->teacher, s->student, error))
               ? -1
               : 0;
}

/* Adapts the method to the student's network; NULL: none is named. A preset's terms between two decoders are left out for
 * one decoder, but who asks for such a term by name must have two. */
static int fit_method(arguments *a, const dbi_checkpoint *student, dbi_error *error)
{
    const int decoders = student ? student->layout.arch.decoders : 1;
    for (int i = 0; i < a->change_count; i++) {
        const char *text = a->changes[i].arg;
        const int term = a->changes[i].key == KEY_WEIGHT ? dbi_term_find(text, strcspn(text, "=")) : -1;
        if (term >= 0 && decoders < 2 && a->method.weight[term] > 0 && dbi_term_needs_decoders(term))
            return student
                       ? dbi_fail(error, "%s: %s is a term between two decoders, the network has one", a->student,
                                  dbi_terms[term].name)
                       : dbi_fail(error, "%s is a term between two decoders: name a network that has two by --student",
                                  dbi_terms[term].name);
    }
    dbi_method_fit(&a->method, decoders);
    return 0;
}

static int open_student(training *s, arguments *a, dbi_error *error)
{
    return (s->student = dbi_checkpoint_load(a->student, error)) && !dbi_checkpoint_need_momentum(s->student, error)
               ? fit_method(a, s->student, error)
               : -1;
}

static int open_training(training *s, dbi_error *error)
{
    const arguments *a = s->arguments;
    if (a->teacher && !(s->teacher = dbi_checkpoint_load(a->teacher, error)))
        return -1;
    const dbi_arch *student = &s->student->layout.arch, *teacher = s->teacher ? &s->teacher->layout.arch : student;
    if (student->channels != teacher->channels || student->classes != teacher->classes ||
        student->filters != teacher->filters || student->decoders != teacher->decoders ||
        !dbi_norm_equal(&student->norm, &teacher->norm))
        return dbi_fail(error, "%s: the teacher's architecture is not the student's", a->teacher);
    if (s->teacher && s->teacher->step != s->student->step)
        return dbi_fail(error, "%s: the teacher is at step %lld, the student at %lld", a->teacher,
                        (long long)s->teacher->step, (long long)s->student->step);
    if (s->student->step + a->steps > a->total_steps)
        return dbi_fail(error, "%s: %lld steps from step %lld would pass the %lld of --total-steps", a->student,
                        (long long)a->steps, (long long)s->student->step, (long long)a->total_steps);
    json_t *settings = dbi_method_settings(&a->method, a->total_steps, error);
    if (!settings || !(s->run = dbi_run_open(s->student->meta, settings, s->common->seed, s->student->step, error)))
        return -1;
    if (a->log && (!(s->log = dbi_sink_open(a->log, error)) || dbi_log_header(s->log, student->decoders, error)))
        return -1;
    return 0;
}

/* Writes a checkpoint to disk under a temporary name. */
static dbi_sink *prepare(const dbi_checkpoint *checkpoint, const char *path, const dbi_compression *compression,
                         dbi_error *error)
{
    dbi_record *record = dbi_checkpoint_to_record(checkpoint, error);
    dbi_writer *writer = record ? dbi_writer_open(path, compression, error) : NULL;
    dbi_sink *sink = NULL;
    if (writer && dbi_writer_put(writer, record, error))
        dbi_writer_abort(writer);
    else if (writer)
        sink = dbi_writer_prepare(writer, error);
    dbi_record_free(record);
    return sink;
}

/* Publishes all outputs or none: everything is written and synced before the first file is renamed. The student is
 * renamed last, so that where it is, the others are too. */
static int publish(training *s, dbi_error *error)
{
    const arguments *a = s->arguments;
    const dbi_compression *compression = &s->common->compression;
    dbi_sink *outputs[3] = {s->log};
    s->log = NULL;
    const bool ready = (!outputs[0] || !dbi_sink_prepare(outputs[0], error)) &&
                       (!a->out_teacher || (outputs[1] = prepare(s->teacher, a->out_teacher, compression, error))) &&
                       (outputs[2] = prepare(s->student, a->out_student, compression, error));
    if (ready)
        return dbi_sink_publish(outputs, 3, error);
    for (int i = 0; i < 3; i++)
        dbi_sink_abort(outputs[i]);
    return -1;
}

static void close_training(training *s)
{
    dbi_sink_abort(s->log);
    dbi_run_close(s->run);
    dbi_trainer_close(s->trainer);
    dbi_checkpoint_free(s->student);
    dbi_checkpoint_free(s->teacher);
}

/* Declares the files. The new teacher must not replace the old one: it is renamed before the student, and a kill in
 * between would leave a teacher and a student that do not belong together. */
static void declare_files(const arguments *a)
{
    tool_reads(a->student);
    if (a->teacher)
        tool_reads(a->teacher);
    if (!a->sampling.split)
        tool_reads(a->batches);
    tool_writes(a->out_student, TOOL_RECORDS, a->student);
    if (a->out_teacher)
        tool_writes(a->out_teacher, TOOL_RECORDS, NULL);
    if (a->log)
        tool_writes(a->log, TOOL_TEXT, NULL);
}

static void explain(arguments *a)
{
    dbi_error error;
    dbi_checkpoint *student = a->student ? dbi_checkpoint_load(a->student, &error) : NULL;
    if ((a->student && !student) || fit_method(a, student, &error))
        tool_die(&error);
    dbi_checkpoint_free(student);
    json_t *settings = dbi_method_settings(&a->method, a->total_steps, &error);
    char *loss = dbi_method_formula(&a->method, &error);
    if (!settings || !loss)
        tool_die(&error);
    if (json_object_set_new(settings, "loss", json_string(loss))) {
        dbi_fail(&error, "out of memory");
        tool_die(&error);
    }
    free(loss);
    if (!a->total_steps)
        json_object_del(settings, "total-steps");
    if (json_dumpf(settings, stdout, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(12)) || puts("") == EOF ||
        fflush(stdout)) {
        dbi_fail_errno(&error, "standard output");
        tool_die(&error);
    }
    json_decref(settings);
}

int main(int argc, char **argv)
{
    arguments a = {.preset = "dbisl", .ema = -1, .warmup = true, .sampling = tool_sampling_defaults()};
    tool_options common;
    dbi_error error = {""};
    tool_parse(argc, argv, "dbisl-train-step", TOOL_THREADS | TOOL_SEED | TOOL_COMPRESS | TOOL_DEVICE | TOOL_PROGRESS,
               options, parse, "[BATCHES]",
               "Trains a student on batches, from standard input, the file BATCHES or made here (--split), by one of "
               "several semi-supervised methods.",
               &a, &common);
    if (a.explain) {
        explain(&a);
        return TOOL_DONE;
    }
    declare_files(&a);
    tool_keep_freed_memory();
    training s = {.arguments = &a, .common = &common};
    const bool failed =
        open_student(&s, &a, &error) || open_training(&s, &error) || train(&s, &error) || publish(&s, &error);
    close_training(&s);
    if (failed)
        tool_die(&error);
    tool_progress_end();
    return TOOL_DONE;
}

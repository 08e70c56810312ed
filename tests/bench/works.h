/* The pieces of work that are timed: each has an open() that prepares it from its arguments, ended by NULL, and a
 * once() that does it. See bench_work.c. */
#ifndef BENCH_WORKS_H
#define BENCH_WORKS_H

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/cpu.h"
#include "device/net.h"
#include "device/trainer.h"
#include "distance/edt.h"
#include "distance/levelset.real.h"
#include "distance/normalize.h"
#include "net/checkpoint.h"
#include "record/stream.h"
#include "reference.h"
#include "score/metrics.h"

static const dbi_device host = {.table = &dbi_cpu};

extern char **environ;

static dbi_error error;

static inline const char *argument(char **argv, int i)
{
    for (int k = 0; k <= i; k++)
        if (!argv[k])
            die("bench_work: an argument is missing");
    return argv[i];
}

static int number(char **argv, int i)
{
    const int n = atoi(argument(argv, i));
    if (n < 0)
        die("bench_work: a negative number");
    return n;
}

static void must(int status)
{
    if (status)
        die(error.text);
}

/* ---- training ---- */

typedef struct training {
    dbi_checkpoint *student, *teacher;
    dbi_method method;
    dbi_trainer *trainer;
    dbi_samples_f32 samples;
} training;

enum { TOTAL_STEPS = 1500 };

static void train(void *context)
{
    training *t = context;
    dbi_step_log log;
    /* Half way, where the unsupervised terms count. */
    must(dbi_trainer_step(t->trainer, &t->student->weights, t->teacher ? &t->teacher->weights : NULL, &t->samples,
                          TOTAL_STEPS / 2 + t->student->step, &log, &error));
    t->student->step++;
    if (t->teacher)
        must(dbi_checkpoint_average(t->teacher, t->student, 0.99, true, &error));
}

static void open_weights(training *t, const char *method, int filters)
{
    const dbi_arch arch = {1, 1, .filters = filters};
    must(dbi_method_preset(method, &t->method, &error));
    if (!(t->student = dbi_checkpoint_new(&arch, true, 1, &error)) ||
        (dbi_method_needs_teacher(&t->method) && !(t->teacher = dbi_checkpoint_new(&arch, false, 1, &error))))
        die(error.text);
}

/* Noise, with a bright ball that is the label of the labelled samples. */
static void *open_step(char **argv)
{
    training *t = need_memory(sizeof *t);
    int64_t size[3];
    parse_size(argument(argv, 1), size);
    const int batch = number(argv, 2), labeled = number(argv, 3);
    const size_t voxels = (size_t)(size[0] * size[1] * size[2]);
    float *image = random_array(voxels * (size_t)batch, 0.2),
          *sdf = need_memory(sizeof *sdf * voxels * (size_t)labeled);
    uint8_t *label = need_memory(voxels * (size_t)labeled);
    open_weights(t, argument(argv, 0), number(argv, 4));
    for (int n = 0; n < batch; n++)
        for (size_t i = 0; i < voxels; i++) {
            const int64_t z = (int64_t)i % size[2], y = (int64_t)i / size[2] % size[1],
                          x = (int64_t)i / size[2] / size[1];
            const double d = ball(size, x, y, z);
            image[(size_t)n * voxels + i] += d > 0;
            if (n < labeled) {
                label[(size_t)n * voxels + i] = d > 0;
                sdf[(size_t)n * voxels + i] = (float)fmax(-1, fmin(1, d / 10));
            }
        }
    t->samples = (dbi_samples_f32){image, label, sdf, NULL};
    const dbi_training start = {
        &t->method, 2 * TOTAL_STEPS, 1, &t->student->layout, {batch, labeled, 1, {size[0], size[1], size[2]}, 1}};
    if (!(t->trainer = dbi_trainer_open(&host, &start, &error)))
        die(error.text);
    return t;
}

/* ---- inference ---- */

typedef struct inference {
    dbi_checkpoint *checkpoint;
    dbi_net *net;
    float *image, *logits, *sdf;
} inference;

static void infer(void *context)
{
    inference *n = context;
    const dbi_pass pass = {.statistics = DBI_RUNNING_STATISTICS};
    must(dbi_net_forward(n->net, &n->checkpoint->weights, &pass, n->image, n->logits, n->sdf, &error));
}

static void *open_infer(char **argv)
{
    inference *n = need_memory(sizeof *n);
    int64_t size[3];
    parse_size(argument(argv, 0), size);
    const dbi_arch arch = {1, 1, .filters = number(argv, 1)};
    if (!(n->checkpoint = dbi_checkpoint_new(&arch, false, 1, &error)) ||
        !(n->net = dbi_net_open(&host, &n->checkpoint->layout, 1, size, false, &error)))
        die(error.text);
    const size_t voxels = (size_t)(size[0] * size[1] * size[2]);
    n->image = random_array(voxels, 1);
    n->logits = need_memory(sizeof(float) * voxels);
    n->sdf = need_memory(sizeof(float) * voxels);
    return n;
}

/* ---- labels ---- */

typedef struct volume {
    int64_t shape[3];
    uint8_t *label, *moved;
    float *p, *out, *gradient, *dp;
    uint32_t *foot;
} volume;

static dbi_record *load(const char *path)
{
    dbi_record *record = dbi_record_load(path, &error);
    if (!record)
        die(error.text);
    return record;
}

static uint8_t *label_of(const dbi_record *record, int64_t shape[3])
{
    const dbi_tensor *label = dbi_record_need(record, "label", DBI_U8, 3, NULL, &error);
    if (!label)
        die(error.text);
    memcpy(shape, label->shape, 3 * sizeof *shape);
    return label->data;
}

/* Where a box of this size begins that has the middle of the label's box in its own. */
static void middle(const uint8_t *label, const int64_t shape[3], const int64_t size[3], int64_t start[3])
{
    int64_t low[] = {INT64_MAX, INT64_MAX, INT64_MAX}, high[] = {-1, -1, -1};
    for (int64_t i = 0; i < shape[0] * shape[1] * shape[2]; i++) {
        const int64_t at[] = {i / shape[2] / shape[1], i / shape[2] % shape[1], i % shape[2]};
        for (int a = 0; label[i] && a < 3; a++) {
            low[a] = at[a] < low[a] ? at[a] : low[a];
            high[a] = at[a] > high[a] ? at[a] : high[a];
        }
    }
    for (int a = 0; a < 3; a++) {
        if (size[a] > shape[a])
            die("bench_work: the case is smaller than that");
        start[a] = high[a] < 0 ? 0 : (low[a] + high[a] + 1 - size[a]) / 2;
        start[a] = start[a] < 0 ? 0 : start[a] > shape[a] - size[a] ? shape[a] - size[a] : start[a];
    }
}

static void crop_bytes(const void *from, const int64_t shape[3], size_t element, const int64_t start[3],
                       const int64_t size[3], void *to)
{
    const char *in = from;
    char *out = to;
    const size_t row = (size_t)size[2] * element;
    for (int64_t x = 0; x < size[0]; x++)
        for (int64_t y = 0; y < size[1]; y++, out += row)
            memcpy(out, in + (size_t)(((start[0] + x) * shape[1] + start[1] + y) * shape[2] + start[2]) * element, row);
}

static void *open_label(char **argv)
{
    volume *v = need_memory(sizeof *v);
    v->label = label_of(load(argument(argv, 0)), v->shape);
    v->out = need_memory(sizeof(float) * (size_t)(v->shape[0] * v->shape[1] * v->shape[2]));
    return v;
}

static void signed_distance(void *context)
{
    volume *v = context;
    const dbi_normalize none = {.kind = DBI_NORMALIZE_NONE};
    must(dbi_signed_distance(v->label, 1, v->shape, (const double[]){1, 1, 1}, &none, v->out, &error));
}

static void *open_score(char **argv)
{
    volume *v = open_label(argv);
    const size_t row = (size_t)(v->shape[1] * v->shape[2]), count = (size_t)v->shape[0] * row,
                 by = row * (v->shape[0] > 2 ? 2 : 0);
    v->moved = need_memory(count);
    memcpy(v->moved + by, v->label, count - by);
    return v;
}

static void score(void *context)
{
    volume *v = context;
    dbi_scores scores;
    must(dbi_score(v->moved, v->label, 1, v->shape, (const double[]){1, 1, 1}, 1, &scores, &error));
}

/* p: the label, averaged over 3^3 voxels, as a network's probability falls off over a voxel or two. */
static void *open_levelset(char **argv)
{
    volume *v = open_label(argv);
    int64_t size[3], start[3];
    parse_size(argument(argv, 1), size);
    const size_t count = (size_t)(size[0] * size[1] * size[2]);
    uint8_t *part = need_memory(count);
    middle(v->label, v->shape, size, start);
    crop_bytes(v->label, v->shape, 1, start, size, part);
    memcpy(v->shape, size, sizeof size);
    v->p = need_memory(sizeof(float) * count);
    v->dp = need_memory(sizeof(float) * count);
    v->foot = need_memory(sizeof(uint32_t) * count);
    v->gradient = random_array(count, 1);
    for (size_t i = 0; i < count; i++) {
        const int64_t at[] = {(int64_t)i / size[2] / size[1], (int64_t)i / size[2] % size[1], (int64_t)i % size[2]};
        int sum = 0, of = 0;
        for (int64_t x = at[0] - 1; x <= at[0] + 1; x++)
            for (int64_t y = at[1] - 1; y <= at[1] + 1; y++)
                for (int64_t z = at[2] - 1; z <= at[2] + 1; z++)
                    if (x >= 0 && y >= 0 && z >= 0 && x < size[0] && y < size[1] && z < size[2]) {
                        sum += part[(x * size[1] + y) * size[2] + z] == 1;
                        of++;
                    }
        v->p[i] = (float)sum / (float)of;
    }
    free(part);
    return v;
}

static void levelset(void *context)
{
    volume *v = context;
    must(dbi_levelset_f32(v->shape, v->p, 0, v->out, v->foot, &error));
    must(dbi_levelset_gradient_f32(v->shape, v->p, v->foot, v->gradient, v->dp, &error));
}

/* ---- files and processes ---- */

static void *open_read(char **argv)
{
    return (void *)(uintptr_t)argument(argv, 0);
}

static void read_case(void *path)
{
    dbi_record_free(load(path));
}

static void *open_command(char **argv)
{
    argument(argv, 0);
    return argv;
}

static void command(void *context)
{
    char **argv = context;
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (posix_spawnp(&child, argv[0], &actions, NULL, argv, environ) || waitpid(child, &status, 0) != child ||
        !WIFEXITED(status) || WEXITSTATUS(status))
        die("bench_work: the command failed");
    posix_spawn_file_actions_destroy(&actions);
}

/* ---- the machine ---- */

typedef struct multiply_adds {
    int floats, threads;
    long rounds; /* of each thread */
} multiply_adds;

static void multiply_add(void *context)
{
    const multiply_adds *m = context;
#pragma omp parallel num_threads(m->threads)
    use(fma_loop(m->floats, m->rounds));
}

static void *open_multiply_adds(char **argv)
{
    multiply_adds *m = need_memory(sizeof *m);
    m->floats = vector_floats();
    m->threads = omp_get_max_threads();
    m->rounds = (long)(1e9 * number(argv, 0) / (2.0 * m->floats * FMA_CHAINS * m->threads));
    return m;
}

typedef struct bench_work {
    const char *name;
    void *(*open)(char **argv);
    void (*once)(void *context);
} bench_work;

static const bench_work bench_works[] = {
    {"step", open_step, train},           {"infer", open_infer, infer},
    {"sdf", open_label, signed_distance}, {"levelset", open_levelset, levelset},
    {"score", open_score, score},         {"read", open_read, read_case},
    {"command", open_command, command},   {"fma", open_multiply_adds, multiply_add},
};

/* NULL: there is none of this name. */
static inline const bench_work *bench_find(const char *name)
{
    for (size_t w = 0; w < sizeof bench_works / sizeof *bench_works; w++)
        if (!strcmp(name, bench_works[w].name))
            return &bench_works[w];
    return NULL;
}

#endif

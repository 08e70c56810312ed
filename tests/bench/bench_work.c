/* Does one piece of work again and again, for a comparison in turns: bench_work WORK ARGUMENTS...
 * Prepares, warms up, prints "ready" and then, for each line that it reads, does the work once and prints the seconds
 * it took. At the end of its input, or at the line "stop", it prints "peak MB", the largest resident memory, and goes.
 *
 *   step METHOD XxYxZ BATCH LABELED FILTERS   a step of training with loss and SGD, and the teacher's average where the
 *                                             method has one
 *   infer XxYxZ FILTERS                       a forward pass with running statistics
 *   sdf CASE                                  exact signed distance of class 1 of the case's label, raw
 *   levelset CASE XxYxZ                       distance to the 1/2 level set and its gradient, of the label's middle,
 *                                             softened
 *   score CASE                                all scores of the label, moved by two voxels, against itself
 *   read CASE                                 the case from its file into memory
 *   fma GFLOP                                 so many multiply-adds in registers
 *   command PROGRAM ARGUMENTS...              a whole process, its output thrown away; peak is the processes'
 *
 * And, without turns:
 *
 *   crop CASE XxYxZ OUT     the part of that size round the middle of the label
 *   plain CASE OUT          the case without compression, for readers that know no zstd
 *   flops XxYxZ BATCH LABELED FILTERS
 *                           "step GFLOP" of a training step's convolutions; "teacher GFLOP" of a pass of the unlabelled
 *                           samples
 *   pipe METHOD FILTERS     training on the batches of standard input: seconds, steps, and the share of them spent
 *                           waiting for a batch */
#include "method/batch.h"
#include "works.h"

static bool same_shape(const dbi_loss_shape *a, const dbi_loss_shape *b)
{
    return a->batch == b->batch && a->labeled == b->labeled && a->classes == b->classes && a->decoders == b->decoders &&
           !memcmp(a->size, b->size, sizeof a->size);
}

/* As dbisl-train-step goes through its input, with a clock round the waiting for the next batch. The first one does not
 * count: until it comes, the sampler reads its first cases. */
static void run_pipe(char **argv)
{
    training t = {0};
    dbi_loss_shape shape = {0};
    dbi_record *record;
    double waited = 0, begun = 0;
    int64_t steps = 0;
    open_weights(&t, argument(argv, 0), number(argv, 1));
    dbi_reader *reader = dbi_reader_open(NULL, &error);
    if (!reader || dbi_reader_ahead(reader, &error))
        die(error.text);
    for (;;) {
        const double start = wall_clock();
        const int got = dbi_reader_next(reader, &record, &error);
        if (got < 0)
            die(error.text);
        if (begun > 0)
            waited += wall_clock() - start;
        if (!got)
            break;
        dbi_batch batch;
        must(dbi_batch_open(record, &t.student->layout.arch, &t.method, &batch, &error));
        if (!t.trainer) {
            shape = batch.shape;
            const dbi_training begin = {&t.method, 2 * TOTAL_STEPS, 1, &t.student->layout, shape};
            if (!(t.trainer = dbi_trainer_open(&host, &begin, &error)))
                die(error.text);
        } else if (!same_shape(&shape, &batch.shape)) {
            die("bench_work: batches of different shapes");
        }
        t.samples = (dbi_samples_f32){batch.image, batch.label, batch.label_sdf, NULL};
        train(&t);
        dbi_batch_close(&batch);
        dbi_record_free(record);
        if (begun > 0)
            steps++;
        else
            begun = wall_clock();
    }
    const double all = wall_clock() - begun;
    printf("%.4f %lld %.5f\n", all, (long long)steps, waited / all);
    dbi_reader_close(reader);
}

static void run_flops(char **argv)
{
    int64_t size[3];
    dbi_layout layout;
    double forward = 0, first = 0;
    parse_size(argument(argv, 0), size);
    const int batch = number(argv, 1), labeled = number(argv, 2);
    const dbi_arch arch = {1, 1, .filters = number(argv, 3)};
    must(dbi_layout_make(&arch, &layout, &error));
    for (int l = 0; l < layout.layers; l++) {
        const dbi_layer *layer = &layout.layer[l];
        const int level = layer->level + (layer->kind == DBI_LAYER_UP), taps = layer->kind == DBI_LAYER_CONV3 ? 27 : 8;
        const double flops = 2.0 * taps * layer->in * layer->out *
                             (double)((size[0] >> level) * (size[1] >> level) * (size[2] >> level));
        forward += flops / 1e9;
        if (l == 0)
            first = flops / 1e9;
    }
    /* The first layer has no gradient of its data. */
    printf("step %.3f\nteacher %.3f\n", batch * (3 * forward - first), (batch - labeled) * forward);
}

static void run_crop(char **argv)
{
    dbi_record *record = load(argument(argv, 0));
    int64_t shape[3], size[3], start[3];
    parse_size(argument(argv, 1), size);
    middle(label_of(record, shape), shape, size, start);
    for (const char *const *name = (const char *const[]){"image", "label", NULL}; *name; name++) {
        dbi_tensor *whole = dbi_record_find(record, *name);
        int64_t to[DBI_MAX_DIMS] = {1, size[0], size[1], size[2]};
        if (!whole || (whole->ndim == 4 && whole->shape[0] != 1))
            die("bench_work: crop takes a case with one channel and a label");
        void *part = need_memory((size_t)(size[0] * size[1] * size[2]) * dbi_dtype_size(whole->dtype));
        crop_bytes(whole->data, shape, dbi_dtype_size(whole->dtype), start, size, part);
        const int ndim = whole->ndim;
        const dbi_dtype dtype = whole->dtype;
        dbi_record_drop(record, *name);
        dbi_tensor *cut = dbi_record_add(record, *name, dtype, ndim, ndim == 4 ? to : to + 1, &error);
        if (!cut)
            die(error.text);
        memcpy(cut->data, part, cut->count * dbi_dtype_size(dtype));
        free(part);
    }
    const dbi_compression compression = {.level = 0};
    must(dbi_record_save(record, argument(argv, 2), &compression, &error));
    dbi_record_free(record);
}

static void run_plain(char **argv)
{
    dbi_record *record = load(argument(argv, 0));
    const dbi_compression compression = {.none = true};
    must(dbi_record_save(record, argument(argv, 1), &compression, &error));
    dbi_record_free(record);
}

static const struct {
    const char *name;
    void (*run)(char **argv);
} others[] = {{"crop", run_crop}, {"plain", run_plain}, {"flops", run_flops}, {"pipe", run_pipe}};

static void turns(const bench_work *work, char **argv)
{
    char line[64];
    struct rusage usage;
    void *context = work->open(argv);
    work->once(context);
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) && strcmp(line, "stop\n") != 0) {
        const double start = wall_clock();
        work->once(context);
        printf("%.6f\n", wall_clock() - start);
        fflush(stdout);
    }
    getrusage(work->once == command ? RUSAGE_CHILDREN : RUSAGE_SELF, &usage);
    printf("peak %.1f\n", (double)usage.ru_maxrss / 1024);
}

int main(int argc, char **argv)
{
    const bench_work *work = argc > 1 ? bench_find(argv[1]) : NULL;
    if (work) {
        turns(work, argv + 2);
        return 0;
    }
    for (size_t w = 0; argc > 1 && w < sizeof others / sizeof *others; w++)
        if (!strcmp(argv[1], others[w].name)) {
            others[w].run(argv + 2);
            return 0;
        }
    die("usage: bench_work step|infer|sdf|levelset|score|read|command|crop|plain|flops|pipe ARGUMENTS...");
}

/* Times the network:
 *
 *   bench_net step|infer|batch XxYxZ BATCH REPEATS [FILTERS] [DEVICE] [NORM] [DECODERS]
 *
 * step: forward and backward pass and SGD; infer: forward pass with running statistics; batch: forward pass with the
 * batch's, as a teacher's. NORM and DECODERS: as of dbisl-init. One JSON line.
 *
 *   bench_net layers XxYxZ BATCH REPEATS [FILTERS] [DECODERS]
 *
 * Each convolution of the CPU device by itself, those behind an interpolation with it, best of REPEATS, beside what
 * bounds it: its operations at the rate of multiply-adds in registers, its bytes (each activation once, and the
 * weights) at that of memory, both measured first. A Markdown table. */
#include "cpu/cpu.h"
#include "cpu/fast.h"
#include "device/net.h"
#include "net/weights.real.h"
#include "reference.h"

/* ---- a whole pass ---- */

typedef struct task {
    dbi_layout layout;
    dbi_weights_f32 weights;
    dbi_net *net;
    dbi_pass pass;
    bool step;
    float *image, *logits, *sdf, *dlogits, *dsdf, *gradient;
} task;

static dbi_error error;

static void open_task(task *t, const char *what, const char *device, int64_t batch, const int64_t size[3], int filters,
                      const char *norm, int decoders)
{
    dbi_arch arch = {1, 1, .filters = filters, .decoders = decoders};
    const size_t inputs = (size_t)(batch * size[0] * size[1] * size[2]), count = inputs * (size_t)decoders;
    const dbi_device on = {.table = strcmp(device, "cpu") ? &dbi_reference : &dbi_cpu};
    t->step = !strcmp(what, "step");
    if (dbi_norm_parse(norm, &arch.norm, &error) || dbi_layout_make(&arch, &t->layout, &error) ||
        dbi_weights_new_f32(&t->weights, &t->layout, true, &error))
        die(error.text);
    dbi_weights_init_f32(&t->weights, 1);
    if (!(t->net = dbi_net_open(&on, &t->layout, batch, size, t->step, &error)))
        die(error.text);
    t->image = random_array(inputs, 1);
    t->logits = need_memory(sizeof(float) * count);
    t->sdf = need_memory(sizeof(float) * count);
    t->dlogits = random_array(count, 1e-6);
    t->dsdf = random_array(count, 1e-6);
    t->gradient = need_memory(sizeof(float) * t->layout.parameters);
    t->pass = (dbi_pass){.statistics = strcmp(what, "infer") ? DBI_BATCH_STATISTICS : DBI_RUNNING_STATISTICS,
                         .update_running = t->step,
                         .keep = t->step};
}

static double run_task(task *t)
{
    const dbi_sgd sgd = {0.01, 0.9, 1e-4};
    const double start = wall_clock();
    if (dbi_net_forward(t->net, &t->weights, &t->pass, t->image, t->logits, t->sdf, &error) ||
        (t->step && dbi_net_backward(t->net, &t->weights, t->dlogits, t->dsdf, t->gradient, &error)))
        die(error.text);
    if (t->step)
        dbi_sgd_step_f32(&t->weights, &sgd, t->gradient);
    return wall_clock() - start;
}

static void whole(const char *what, const char *size_text, const char *device, int64_t batch, const int64_t size[3],
                  int repeats, int filters, const char *norm, int decoders)
{
    static task t;
    double *times = need_memory(sizeof *times * (size_t)repeats);
    open_task(&t, what, device, batch, size, filters, norm, decoders);
    run_task(&t); /* warms up */
    for (int i = 0; i < repeats; i++)
        times[i] = run_task(&t);
    qsort(times, (size_t)repeats, sizeof *times, by_size);
    printf("{\"what\": \"%s %s batch %d filters %d decoders %d\", \"median_s\": %.4f, \"min_s\": %.4f, "
           "\"peak_rss_mb\": %.1f}\n",
           what, size_text, (int)batch, filters, decoders, times[repeats / 2], times[0], peak_mb());
    dbi_net_close(t.net);
}

/* ---- layer by layer ---- */

typedef struct machine {
    double flops, bytes; /* a second, in 1e9 */
} machine;

typedef struct device {
    const dbi_net_shape *shape;
    void *state;
    float *in, *out, *weight;
    float *in_gradient, *result, *weight_gradient; /* where results go: what is read stays as it is */
} device;

typedef enum part { FORWARD, DATA, WEIGHT, PARTS } part;

/* Does the layer read an interpolation, which it does on the way? */
static bool interpolates(const dbi_layout *layout, int layer)
{
    const int input = layout->layer[layer].input;
    return input >= 0 && layout->layer[input].kind == DBI_LAYER_INTERPOLATE;
}

/* Returns false where the layer has no such part. */
static bool do_part(const device *d, int layer, part p)
{
    if (p == DATA && layer == 0)
        return false;
    if (p == DATA && interpolates(d->shape->layout, layer)) {
        dbi_backend_fast.interpolated_gradient(d->state, layer, d->out, d->weight, d->in_gradient, false);
        return true;
    }
    if (p == FORWARD ? dbi_backend_fast.convolve(d->state, layer, d->in, d->weight, d->result, &error)
        : p == DATA  ? dbi_backend_fast.data_gradient(d->state, layer, d->out, d->weight, d->in_gradient, &error)
                     : dbi_backend_fast.weight_gradient(d->state, layer, d->in, d->out, d->weight_gradient, &error))
        die(error.text);
    return true;
}

/* Seconds; 0 where the layer has no such part. */
static double time_part(const device *d, int layer, part p, int repeats)
{
    double best = INFINITY;
    for (int i = 0; i <= repeats; i++) {
        const double start = wall_clock();
        if (!do_part(d, layer, p))
            return 0;
        if (i)
            best = fmin(best, wall_clock() - start);
    }
    return best;
}

/* Layers of equal kind, channels and sizes take equal time: one row. */
static bool alike(const dbi_layer *a, const dbi_layer *b)
{
    return a->kind == b->kind && a->in == b->in && a->out == b->out && a->level == b->level;
}

static void layer_row(const device *d, int index, const machine *m, int repeats, double sum[PARTS], double *bounds)
{
    static const char *const kinds[] = {
        [DBI_LAYER_CONV3] = "3³", [DBI_LAYER_DOWN] = "2³ down", [DBI_LAYER_UP] = "2³ up"};
    const dbi_layout *layout = d->shape->layout;
    const dbi_layer *l = &layout->layer[index];
    const bool interpolated = interpolates(layout, index);
    const int in_level = interpolated ? l->level + 1 : dbi_layer_in_level(l),
              taps = l->kind == DBI_LAYER_CONV3 ? 27 : 8;
    const int low = l->kind == DBI_LAYER_UP ? in_level : l->level; /* the level at which every tap counts */
    const int64_t *size = d->shape->size;
    const double voxels = (double)((size[0] >> low) * (size[1] >> low) * (size[2] >> low)),
                 sums = interpolated ? taps * l->in / 8.0 + 28.5 : taps * l->in, /* of an output value */
        gflop = 2e-9 * sums * l->out * voxels * (double)d->shape->batch;
    const size_t from = index ? dbi_backend_fast.elements(d->shape, l->in, in_level)
                              : (size_t)(d->shape->batch * size[0] * size[1] * size[2]) * (size_t)l->in,
                 to = dbi_backend_fast.elements(d->shape, l->out, l->level);
    const double gbyte = 4e-9 * (double)(from + to + (size_t)(l->in * l->out * taps)),
                 bound = fmax(gflop / m->flops, gbyte / m->bytes);
    int count = 0;
    for (int k = 0; k < layout->layers; k++)
        count += alike(l, &layout->layer[k]);
    printf("| %d × %s%s, %d → %d, %ldx%ldx%ld | %.2f | %.0f | %.2f, %s |", count, interpolated ? "interpolation, " : "",
           kinds[l->kind], l->in, l->out, (long)(size[0] >> l->level), (long)(size[1] >> l->level),
           (long)(size[2] >> l->level), gflop, 1000 * gbyte, 1000 * bound,
           gflop / m->flops > gbyte / m->bytes ? "operations" : "memory");
    for (part p = FORWARD; p < PARTS; p++) {
        const double took = time_part(d, index, p, repeats);
        if (took == 0) {
            printf(" |");
            continue;
        }
        printf(" %.2f ms, %.0f GFLOP/s, %.0f %% |", 1000 * took, gflop / took, 100 * bound / took);
        sum[p] += count * took;
        *bounds += count * bound;
    }
    printf("\n");
}

static void layers(int64_t batch, const int64_t size[3], int repeats, int filters, int decoders)
{
    const dbi_arch arch = {1, 1, .filters = filters, .decoders = decoders};
    const int threads = omp_get_max_threads();
    const machine m = {fma_rate(vector_floats(), threads, 0.5), memory_rate(threads, 0.5)};
    dbi_layout layout;
    size_t scratch, most = 0, weights = 0;
    double sum[PARTS] = {0}, bounds = 0;
    if (dbi_layout_make(&arch, &layout, &error))
        die(error.text);
    const dbi_net_shape shape = {&layout, batch, {size[0], size[1], size[2]}, true};
    device d = {.shape = &shape, .state = dbi_backend_fast.open(&shape, &scratch, &error)};
    if (!d.state)
        die(error.text);
    dbi_backend_fast.bind(d.state, need_memory(scratch));
    for (int l = 0; l < layout.layers; l++) {
        const size_t out = dbi_backend_fast.elements(&shape, layout.layer[l].out, layout.layer[l].level),
                     w = layout.layer[l].tensor < 0 ? 0 : layout.tensor[layout.layer[l].tensor].count;
        most = out > most ? out : most;
        weights = w > weights ? w : weights;
    }
    d.in = random_array(most, 1);
    d.out = random_array(most, 1);
    d.weight = random_array(weights, 0.05);
    d.result = need_memory(sizeof *d.result * most);
    d.in_gradient = need_memory(sizeof *d.in_gradient * most);
    d.weight_gradient = need_memory(sizeof *d.weight_gradient * weights);
    printf("%s, threads: %d, multiply-adds %.0f GFLOP/s, memory %.1f GB/s\n\n", vector_name(), threads, m.flops,
           m.bytes);
    printf("| layers, output | GFLOP | MB | bound, ms | forward | data gradient | weight gradient |\n| --- | --- | --- "
           "| --- | --- | --- | --- |\n");
    for (int l = 0; l < layout.layers; l++) {
        bool seen = layout.layer[l].kind == DBI_LAYER_INTERPOLATE;
        for (int k = 0; k < l; k++)
            seen |= alike(&layout.layer[k], &layout.layer[l]);
        if (!seen)
            layer_row(&d, l, &m, repeats, sum, &bounds);
    }
    const double all = sum[FORWARD] + sum[DATA] + sum[WEIGHT];
    printf("| all | | | | %.1f ms | %.1f ms | %.1f ms |\n\nconvolutions %.1f ms, their bounds %.1f ms",
           1000 * sum[FORWARD], 1000 * sum[DATA], 1000 * sum[WEIGHT], 1000 * all, 1000 * bounds);
    dbi_backend_fast.close(d.state);
    free(d.in);
    free(d.out);
    free(d.result);
    free(d.in_gradient);
    static task t;
    double best = INFINITY;
    open_task(&t, "step", "cpu", batch, size, filters, "batch", decoders);
    for (int i = 0; i <= repeats; i++)
        best = fmin(best, run_task(&t));
    printf("; forward and backward pass with SGD %.1f ms, so %.1f ms for all else\n", 1000 * best, 1000 * (best - all));
    dbi_net_close(t.net);
}

int main(int argc, char **argv)
{
    int64_t size[3];
    if (argc < 5)
        die("usage: bench_net step|infer|batch XxYxZ BATCH REPEATS [FILTERS] [DEVICE] [NORM] [DECODERS], or "
            "bench_net layers XxYxZ BATCH REPEATS [FILTERS] [DECODERS]");
    parse_size(argv[2], size);
    const int batch = atoi(argv[3]), repeats = atoi(argv[4]), filters = argc > 5 ? atoi(argv[5]) : 16;
    if (batch < 1 || repeats < 1)
        die("bench_net: BATCH and REPEATS are from 1 up");
    if (!strcmp(argv[1], "layers"))
        layers(batch, size, repeats, filters, argc > 6 ? atoi(argv[6]) : 1);
    else
        whole(argv[1], argv[2], argc > 6 ? argv[6] : "cpu", batch, size, repeats, filters, argc > 7 ? argv[7] : "batch",
              argc > 8 ? atoi(argv[8]) : 1);
    return 0;
}

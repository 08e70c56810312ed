/* Times the network: bench_net step|infer|batch XxYxZ BATCH REPEATS [FILTERS] [DEVICE]
 * step: forward and backward pass and SGD; infer: forward pass with running statistics; batch: forward pass with the batch's, as a teacher's.
 * Prints one JSON line like the PyTorch baseline it is compared with. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "net/net.h"
#include "net/weights.h"

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static _Noreturn void die(const char *text)
{
    fprintf(stderr, "bench_net: %s\n", text);
    exit(1);
}

static float *random_array(size_t count, double scale)
{
    float *array = malloc(count * sizeof *array);
    dbi_random random;
    if (!array)
        die("out of memory");
    dbi_random_start(&random, 1, DBI_ROLE_TEST, 0, 0);
    for (size_t i = 0; i < count; i++)
        array[i] = (float)(scale * dbi_random_normal(&random));
    return array;
}

int main(int argc, char **argv)
{
    long size[3];
    dbi_error error;
    dbi_layout layout;
    dbi_weights_f32 weights;
    if (argc < 5 || sscanf(argv[2], "%ldx%ldx%ld", &size[0], &size[1], &size[2]) != 3)
        die("usage: bench_net step|infer|batch XxYxZ BATCH REPEATS [FILTERS] [DEVICE]");
    bool step = !strcmp(argv[1], "step");
    int64_t batch = atoi(argv[3]), extent[] = {size[0], size[1], size[2]}, repeats = atoi(argv[4]);
    dbi_arch arch = {1, 1, argc > 5 ? atoi(argv[5]) : 16};
    if (dbi_layout_make(&arch, &layout, &error) || dbi_weights_new_f32(&weights, &layout, true, &error))
        die(error.text);
    dbi_weights_init_f32(&weights, 1);
    dbi_net_f32 *net = dbi_net_open_f32(&layout, argc > 6 ? argv[6] : "cpu", batch, extent, step, &error);
    if (!net)
        die(error.text);
    size_t count = (size_t)(batch * size[0] * size[1] * size[2]);
    float *image = random_array(count, 1), *logits = random_array(count, 1), *sdf = random_array(count, 1), *dlogits = random_array(count, 1e-6),
          *dsdf = random_array(count, 1e-6), *gradient = random_array(layout.parameters, 0);
    dbi_pass pass = {.statistics = strcmp(argv[1], "infer") ? DBI_BATCH_STATISTICS : DBI_RUNNING_STATISTICS, .update_running = step, .keep = step};
    dbi_sgd sgd = {0.01, 0.9, 1e-4};
    double *times = malloc((size_t)(repeats + 1) * sizeof *times);
    for (int64_t i = 0; i <= repeats; i++) { /* the first one warms up */
        double start = omp_get_wtime();
        if (dbi_net_forward_f32(net, &weights, &pass, image, logits, sdf, &error) ||
            (step && dbi_net_backward_f32(net, &weights, dlogits, dsdf, gradient, &error)))
            die(error.text);
        if (step)
            dbi_sgd_step_f32(&weights, &sgd, gradient);
        times[i] = omp_get_wtime() - start;
    }
    qsort(times + 1, (size_t)repeats, sizeof *times, by_size);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"what\": \"%s %s batch %d filters %d\", \"median_s\": %.4f, \"min_s\": %.4f, \"peak_rss_mb\": %.1f}\n", argv[1], argv[2], (int)batch,
           arch.filters, times[1 + repeats / 2], times[1], (double)usage.ru_maxrss / 1024);
    dbi_net_close_f32(net);
    return 0;
}

/* Measures what bounds all kernels here: bench_ceiling [XxYxZ [SECONDS]]
 * Rates of multiply-adds on one core and on all, memory bandwidth, and a good convolution, 3^3 from 32 to 32 channels
 * forward by oneDNN, on a volume of that size (default 56x56x40, where the network has 32 channels) and a batch of 2.
 * Each number is the best of what fits in SECONDS. Prints "NAME VALUE UNIT" lines. */
#include "reference.h"

static double seconds = 0.5;

/* Best rate over repeated calls, in 1e9 of `work` a second. */
static double best_rate(double work, void (*once)(void *context), void *context)
{
    double best = 0;
    const double until = wall_clock() + seconds;
    once(context); /* threads started */
    do {
        const double start = wall_clock();
        once(context);
        best = fmax(best, work / (wall_clock() - start) / 1e9);
    } while (wall_clock() < until);
    return best;
}

static void check(dnnl_status_t status)
{
    if (status != dnnl_success)
        die("oneDNN failed");
}

typedef struct convolution {
    dnnl_primitive_t primitive;
    dnnl_stream_t stream;
    dnnl_exec_arg_t args[3];
} convolution;

static void convolution_once(void *context)
{
    const convolution *c = context;
    check(dnnl_primitive_execute(c->primitive, c->stream, 3, c->args));
    check(dnnl_stream_wait(c->stream));
}

static double convolution_rate(const int64_t size[3], int threads)
{
    enum { CHANNELS = 32, BATCH = 2 };
    const dnnl_dims_t dims = {BATCH, CHANNELS, size[0], size[1], size[2]}, weight_dims = {CHANNELS, CHANNELS, 3, 3, 3},
                      ones = {1, 1, 1};
    dnnl_engine_t engine;
    convolution c;
    dnnl_memory_desc_t data, any;
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t pd;
    dnnl_memory_t in, out, weight;
    omp_set_num_threads(threads);
    check(dnnl_engine_create(&engine, dnnl_cpu, 0));
    check(dnnl_stream_create(&c.stream, engine, dnnl_stream_default_flags));
    check(dnnl_memory_desc_init_by_tag(&data, 5, dims, dnnl_f32, vector_floats() == 16 ? dnnl_nCdhw16c : dnnl_nCdhw8c));
    check(dnnl_memory_desc_init_by_tag(&any, 5, weight_dims, dnnl_f32, dnnl_format_tag_any));
    check(dnnl_convolution_forward_desc_init(&desc, dnnl_forward_training, dnnl_convolution_direct, &data, &any, NULL,
                                             &data, ones, ones, ones));
    check(dnnl_primitive_desc_create(&pd, &desc, NULL, engine, NULL));
    check(dnnl_primitive_create(&c.primitive, pd));
    const dnnl_memory_desc_t *own = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    const size_t count = dnnl_memory_desc_get_size(&data) / 4, weights = dnnl_memory_desc_get_size(own) / 4;
    float *x = random_array(count, 1), *y = need_memory(4 * count), *w = random_array(weights, 0.05);
    check(dnnl_memory_create(&in, &data, engine, x));
    check(dnnl_memory_create(&out, &data, engine, y));
    check(dnnl_memory_create(&weight, own, engine, w));
    memcpy(c.args, (dnnl_exec_arg_t[]){{DNNL_ARG_SRC, in}, {DNNL_ARG_DST, out}, {DNNL_ARG_WEIGHTS, weight}},
           sizeof c.args);
    const double rate = best_rate(2.0 * 27 * CHANNELS * (double)count, convolution_once, &c);
    dnnl_memory_destroy(in);
    dnnl_memory_destroy(out);
    dnnl_memory_destroy(weight);
    dnnl_primitive_destroy(c.primitive);
    dnnl_primitive_desc_destroy(pd);
    dnnl_stream_destroy(c.stream);
    dnnl_engine_destroy(engine);
    free(x);
    free(y);
    free(w);
    return rate;
}

int main(int argc, char **argv)
{
    int64_t size[3] = {56, 56, 40};
    const int threads = omp_get_max_threads(), floats = vector_floats();
    if (argc > 1)
        parse_size(argv[1], size);
    if (argc > 2 && !((seconds = atof(argv[2])) > 0))
        die("usage: bench_ceiling [XxYxZ [SECONDS]]");
    const dnnl_version_t *version = dnnl_version();
    printf("isa %s\nthreads %d\nonednn %d.%d.%d\n", vector_name(), threads, version->major, version->minor,
           version->patch);
    printf("fma_core %.1f GFLOP/s\n", fma_rate(floats, 1, seconds));
    printf("fma %.1f GFLOP/s\n", fma_rate(floats, threads, seconds));
    if (floats == 16)
        printf("fma_avx2_core %.1f GFLOP/s\n", fma_rate(8, 1, seconds));
    printf("memory_core %.1f GB/s\n", memory_rate(1, seconds));
    printf("memory %.1f GB/s\n", memory_rate(threads, seconds));
    printf("convolution_core %.1f GFLOP/s\n", convolution_rate(size, 1));
    printf("convolution %.1f GFLOP/s\n", convolution_rate(size, threads));
    return 0;
}

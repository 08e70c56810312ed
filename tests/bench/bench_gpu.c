/* Times the programs' work on a GPU: bench_gpu step XxYxZ BATCH REPEATS [FILTERS] [DEVICE]
 *                                    bench_gpu scan XxYxZ REPEATS [FILTERS] [DEVICE]
 * step: training steps of dbisl as dbisl-train-step does them, half of the batch labelled, with the teacher's average;
 * copies and losses included. scan: the prediction of a whole scan in windows of 112x112x80 at a stride of 18x18x4.
 * Prints one JSON line; for steps also what share of the device's memory and arithmetic bounds is reached. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "device/trainer.h"
#include "devices.h"
#include "net/checkpoint.h"
#include "predict/predict.h"

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static _Noreturn void die(const char *text)
{
    fprintf(stderr, "bench_gpu: %s\n", text);
    exit(1);
}

static float *random_array(size_t count)
{
    float *array = malloc(count * sizeof *array);
    dbi_random random;
    if (!array)
        die("out of memory");
    dbi_random_start(&random, 1, DBI_ROLE_TEST, 0, 0);
    for (size_t i = 0; i < count; i++)
        array[i] = (float)dbi_random_normal(&random);
    return array;
}

/* Operations and bytes that a step cannot do without: the student's forward and backward pass of all samples, the
 * teacher's forward pass of the unlabelled ones. Bytes are of activations alone, each read or written once by every
 * pass over it that batch normalization makes necessary. */
static void bounds(const dbi_layout *layout, const int64_t size[3], double batch, double unlabeled, double element,
                   double *operations, double *bytes)
{
    *operations = *bytes = 0;
    for (int l = 0; l < layout->layers; l++) {
        const dbi_layer *layer = &layout->layer[l];
        const double voxels =
            (double)((size[0] >> layer->level) * (size[1] >> layer->level) * (size[2] >> layer->level));
        const double taps = layer->kind == DBI_LAYER_CONV3 ? 27 : layer->kind == DBI_LAYER_DOWN ? 8 : 1;
        const double shrink = layer->kind == DBI_LAYER_DOWN ? 8 : layer->kind == DBI_LAYER_UP ? 0.125 : 1;
        const double in = voxels * shrink * layer->in, out = voxels * layer->out, skip = layer->skip < 0 ? 0 : out;
        const double forward = in + 4 * out + skip,
                     backward = (2 * out + skip) + (3 * out + skip) + (l ? 2 : 1) * (in + out);
        *operations += 2 * taps * layer->in * out * ((l ? 3 : 2) * batch + unlabeled);
        *bytes += element * ((forward + backward) * batch + forward * unlabeled);
    }
}

static void print_times(const char *what, double *times, int repeats)
{
    qsort(times, (size_t)repeats, sizeof *times, by_size);
    printf("{\"what\": \"%s\", \"median_s\": %.5f, \"min_s\": %.5f", what, times[repeats / 2], times[0]);
}

/* "cuda:1,bf16": a device and its precision. */
static dbi_device device_of(const char *text)
{
    char name[64];
    dbi_device device;
    dbi_error error;
    const size_t length = strcspn(text, ",");
    snprintf(name, sizeof name, "%.*s", (int)length, text);
    if (devices_find(name, true, &device, &error) ||
        (text[length] && dbi_precision_parse(text + length + 1, &device.precision, &error)) ||
        devices_check(&device, &error))
        die(error.text);
    return device;
}

static void time_steps(const int64_t size[3], int64_t batch, int repeats, int filters, const dbi_device *device,
                       const char *name)
{
    const dbi_arch arch = {1, 1, .filters = filters};
    const dbi_loss_shape shape = {batch, batch / 2, 1, {size[0], size[1], size[2]}, 1};
    dbi_error error;
    dbi_layout layout;
    dbi_method method;
    dbi_weights_f32 student, teacher;
    dbi_step_log log;
    if (dbi_layout_make(&arch, &layout, &error) || dbi_method_preset("dbisl", &method, &error) ||
        dbi_weights_new_f32(&student, &layout, true, &error) || dbi_weights_new_f32(&teacher, &layout, false, &error))
        die(error.text);
    dbi_weights_init_f32(&student, 1);
    dbi_weights_init_f32(&teacher, 1);
    const size_t voxels = (size_t)(size[0] * size[1] * size[2]);
    float *image = random_array((size_t)batch * voxels),
          *label_sdf = calloc((size_t)shape.labeled * voxels + 1, sizeof *label_sdf);
    uint8_t *label = calloc((size_t)shape.labeled * voxels + 1, 1);
    double *times = malloc((size_t)repeats * sizeof *times);
    const dbi_training training = {&method, 6000, 1, &layout, shape};
    dbi_trainer *trainer = dbi_trainer_open(device, &training, &error);
    if (!label_sdf || !label || !times || !trainer)
        die(trainer ? "out of memory" : error.text);
    dbi_trainer_average(trainer, 0.99, true);
    for (size_t i = 0; i < (size_t)shape.labeled * voxels; i++) {
        label[i] = i % voxels > voxels / 3 && i % voxels < voxels / 2;
        label_sdf[i] = label[i] ? 0.5f : -0.5f;
    }
    const dbi_samples_f32 samples = {image, label, label_sdf, NULL};
    const int warm = 5; /* choice of algorithms, recording of the graph */
    double before = 0;
    for (int i = 0; i < warm + repeats; i++) {
        if (dbi_trainer_submit(trainer, &student, &teacher, &samples, i, &error) ||
            (i && dbi_trainer_finish(trainer, &log, &error)))
            die(error.text);
        const double now = omp_get_wtime();
        if (i >= warm)
            times[i - warm] = now - before;
        before = now;
    }
    if (dbi_trainer_finish(trainer, &log, &error))
        die(error.text);
    char what[128];
    snprintf(what, sizeof what, "step %lldx%lldx%lld batch %d filters %d %s", (long long)size[0], (long long)size[1],
             (long long)size[2], (int)batch, filters, name);
    print_times(what, times, repeats);
    dbi_device_facts facts;
    if (device->table->describe && !device->table->describe(device, &facts, &error)) {
        double operations, bytes;
        bounds(&layout, size, (double)batch, (double)(batch - shape.labeled),
               device->precision == DBI_PRECISION_BF16 ? 2 : 4, &operations, &bytes);
        printf(
            ", \"gpu\": \"%s\", \"gflop\": %.0f, \"gbyte\": %.2f, \"arithmetic_share\": %.3f, \"memory_share\": %.3f",
            facts.name, operations / 1e9, bytes / 1e9, operations / facts.arithmetic / times[repeats / 2],
            bytes / facts.bandwidth / times[repeats / 2]);
    }
    printf("}\n");
    dbi_trainer_close(trainer);
    dbi_weights_free_f32(&student);
    dbi_weights_free_f32(&teacher);
    free(image);
    free(label_sdf);
    free(label);
    free(times);
}

static void time_scans(const int64_t size[3], int repeats, int filters, const dbi_device *device, const char *name)
{
    const dbi_arch arch = {1, 1, .filters = filters};
    const dbi_predict_settings settings = {.choice = DBI_WINDOW_GIVEN,
                                           .window = {112, 112, 80},
                                           .stride = {18, 18, 4},
                                           .weights = DBI_WEIGHTS_UNIFORM,
                                           .outputs = DBI_PREDICT_LABEL,
                                           .threshold = 0.5,
                                           .memory = (size_t)100000 * 1000000,
                                           .device = *device};
    dbi_error error;
    dbi_checkpoint *checkpoint = dbi_checkpoint_new(&arch, false, 1, &error);
    dbi_predictor *predictor = checkpoint ? dbi_predictor_open(checkpoint, &settings, &error) : NULL;
    dbi_record *scan = predictor ? dbi_record_new(&error) : NULL;
    const int64_t shape[] = {1, size[0], size[1], size[2]};
    dbi_tensor *image = scan ? dbi_record_add(scan, "image", DBI_F32, 4, shape, &error) : NULL;
    double *times = malloc((size_t)repeats * sizeof *times);
    if (!image || !times)
        die(error.text);
    float *voxels = random_array(image->count);
    memcpy(image->data, voxels, image->count * sizeof *voxels);
    for (int i = 0; i <= repeats; i++) { /* the first one warms up */
        const double start = omp_get_wtime();
        dbi_record *prediction = dbi_predict(predictor, scan, "", NULL, NULL, &error);
        if (!prediction)
            die(error.text);
        if (i)
            times[i - 1] = omp_get_wtime() - start;
        dbi_record_free(prediction);
    }
    char what[128];
    snprintf(what, sizeof what, "scan %lldx%lldx%lld filters %d %s", (long long)size[0], (long long)size[1],
             (long long)size[2], filters, name);
    print_times(what, times, repeats);
    printf("}\n");
    dbi_predictor_close(predictor);
    dbi_checkpoint_free(checkpoint);
    dbi_record_free(scan);
    free(voxels);
    free(times);
}

int main(int argc, char **argv)
{
    long x, y, z;
    const bool step = argc > 1 && !strcmp(argv[1], "step");
    if (argc < (step ? 5 : 4) || (!step && strcmp(argv[1], "scan")) || sscanf(argv[2], "%ldx%ldx%ld", &x, &y, &z) != 3)
        die("usage: bench_gpu step XxYxZ BATCH REPEATS [FILTERS] [DEVICE], bench_gpu scan XxYxZ REPEATS [FILTERS] "
            "[DEVICE]");
    const int64_t size[] = {x, y, z};
    char **rest = argv + (step ? 5 : 4);
    const int repeats = atoi(rest[-1]), filters = *rest ? atoi(*rest) : 16;
    const char *name = *rest && rest[1] ? rest[1] : "cuda,bf16";
    const dbi_device device = device_of(name);
    if (repeats < 1 || (step && atoi(argv[3]) < 2))
        die("at least one repeat, at least two samples");
    if (step)
        time_steps(size, atoi(argv[3]), repeats, filters, &device, name);
    else
        time_scans(size, repeats, filters, &device, name);
    return 0;
}

#include "maps/comparison.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "distance/blur.h"
#include "distance/closeness.h"
#include "distance/edt.h"
#include "distance/normalize.h"
#include "distance/number.h"
#include "maps/maps.h"
#include "record/sink.h"

struct dbi_comparison {
    dbi_comparison_settings settings;
    struct result {
        dbi_closeness *closeness;
        double seconds; /* of the fastest map */
        int64_t maps;
    } * results; /* [blurs][backgrounds][transforms] */
    int count;
};

dbi_comparison *dbi_comparison_open(const dbi_comparison_settings *settings, dbi_error *error)
{
    dbi_comparison *c = dbi_alloc(1, sizeof *c, error);
    if (!c)
        return NULL;
    c->settings = *settings;
    c->count = settings->blur_count * settings->background_count * settings->transform_count;
    bool failed = !(c->results = dbi_alloc((size_t)c->count, sizeof *c->results, error));
    for (int i = 0; i < c->count && !failed; i++) {
        c->results[i].seconds = INFINITY;
        failed = !(c->results[i].closeness = dbi_closeness_new(error));
    }
    if (failed) {
        dbi_comparison_close(c);
        return NULL;
    }
    return c;
}

void dbi_comparison_close(dbi_comparison *comparison)
{
    if (!comparison)
        return;
    for (int i = 0; i < comparison->count && comparison->results; i++)
        dbi_closeness_free(comparison->results[i].closeness);
    free(comparison->results);
    free(comparison);
}

/* One patch and all that is computed for it. */
typedef struct patch {
    int64_t first[3], shape[3], count;
    uint8_t *label;
    float *exact, *sharp, *blurred, *p, *s, *ds, *dp;
} patch;

static void free_patch(patch *t)
{
    free(t->label);
    float *const arrays[] = {t->exact, t->sharp, t->blurred, t->p, t->s, t->ds, t->dp};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
}

static int alloc_patch(patch *t, dbi_error *error)
{
    float **const arrays[] = {&t->exact, &t->sharp, &t->blurred, &t->p, &t->s, &t->ds, &t->dp};
    bool failed = !(t->label = dbi_alloc((size_t)t->count, 1, error));
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays && !failed; i++)
        failed = !(*arrays[i] = dbi_alloc((size_t)t->count, sizeof(float), error));
    return failed ? -1 : 0;
}

/* A class of a record: its label, or its probabilities. */
typedef struct source {
    const uint8_t *label;
    uint8_t value;
    const float *prob;
    int64_t shape[3];
} source;

static bool inside(const source *from, int64_t i)
{
    return from->prob ? from->prob[i] > 0.5f : from->label[i] == from->value;
}

/* Places the patch round the middle of the foreground's bounding box, within the volume. */
static void place(const source *from, const int64_t size[3], patch *t)
{
    int64_t least[3] = {INT64_MAX, INT64_MAX, INT64_MAX}, most[3] = {-1, -1, -1};
    const int64_t *n = from->shape, count = n[0] * n[1] * n[2];
    for (int64_t i = 0; i < count; i++) {
        if (!inside(from, i))
            continue;
        const int64_t at[3] = {i / (n[1] * n[2]), i / n[2] % n[1], i % n[2]};
        for (int a = 0; a < 3; a++) {
            least[a] = at[a] < least[a] ? at[a] : least[a];
            most[a] = at[a] > most[a] ? at[a] : most[a];
        }
    }
    t->count = 1;
    for (int a = 0; a < 3; a++) {
        t->shape[a] = size[a] && size[a] < n[a] ? size[a] : n[a];
        const int64_t last = n[a] - t->shape[a], first = most[a] < 0 ? 0 : (least[a] + most[a] + 1 - t->shape[a]) / 2;
        t->first[a] = first < 0 ? 0 : first < last ? first : last;
        t->count *= t->shape[a];
    }
}

/* Copies the patch out of the volume. *both: it has foreground and background. */
static void cut(const source *from, patch *t, bool *both)
{
    int64_t foreground = 0, k = 0;
    for (int64_t x = 0; x < t->shape[0]; x++)
        for (int64_t y = 0; y < t->shape[1]; y++)
            for (int64_t z = 0; z < t->shape[2]; z++, k++) {
                const int64_t i =
                    ((t->first[0] + x) * from->shape[1] + t->first[1] + y) * from->shape[2] + t->first[2] + z;
                t->label[k] = inside(from, i);
                t->sharp[k] = from->prob ? from->prob[i] : (float)t->label[k];
                foreground += t->label[k];
            }
    *both = foreground > 0 && foreground < t->count;
}

/* The processor time of all threads: it does not count what other programs do meanwhile. */
static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int measure(struct result *result, const dbi_transform *transform, patch *t, dbi_error *error)
{
    const dbi_normalize none = {.kind = DBI_NORMALIZE_NONE};
    dbi_tape_f32 *tape;
    double start = processor_seconds();
    if (dbi_transform_forward_f32(transform, &none, t->shape, t->p, t->s, &tape, error))
        return -1;
    double seconds = processor_seconds() - start;
    for (int64_t i = 0; i < t->count; i++)
        t->ds[i] = isfinite(t->s[i]) ? t->s[i] - t->exact[i] : 0;
    start = processor_seconds();
    const int status = dbi_transform_backward_f32(tape, t->ds, t->dp, error);
    seconds += processor_seconds() - start;
    dbi_tape_free_f32(tape);
    dbi_closeness_add(result->closeness, t->count, t->s, t->exact, t->dp);
    result->seconds = seconds < result->seconds ? seconds : result->seconds;
    result->maps++;
    return status;
}

static int compare(dbi_comparison *c, patch *t, dbi_error *error)
{
    const dbi_comparison_settings *s = &c->settings;
    struct result *result = c->results;
    for (int blur = 0; blur < s->blur_count; blur++) {
        memcpy(t->blurred, t->sharp, (size_t)t->count * sizeof *t->blurred);
        if (dbi_gaussian_blur(t->shape, s->blurs[blur], t->blurred, error))
            return -1;
        for (int background = 0; background < s->background_count; background++) {
            const double e = s->backgrounds[background];
            for (int64_t i = 0; i < t->count; i++)
                t->p[i] = (float)(e + (1 - 2 * e) * (double)t->blurred[i]);
            for (int k = 0; k < s->transform_count; k++)
                if (measure(result++, s->transforms + k, t, error))
                    return -1;
        }
    }
    return 0;
}

static int add_class(dbi_comparison *c, const source *from, int *added, dbi_error *error)
{
    const double voxels[3] = {1, 1, 1};
    const dbi_normalize none = {.kind = DBI_NORMALIZE_NONE};
    patch t = {0};
    bool both = false;
    place(from, c->settings.patch, &t);
    int status = alloc_patch(&t, error);
    if (!status)
        cut(from, &t, &both);
    if (both) {
        status =
            dbi_signed_distance(t.label, 1, t.shape, voxels, &none, t.exact, error) || compare(c, &t, error) ? -1 : 0;
        *added += 1;
    }
    free_patch(&t);
    return status;
}

int dbi_comparison_add(dbi_comparison *comparison, const dbi_record *record, int *added, dbi_error *error)
{
    const bool from_prob = comparison->settings.from_prob;
    const dbi_tensor *from;
    int64_t classes, count;
    *added = 0;
    if (dbi_record_distance_source(record, from_prob, &from, &classes, NULL, error))
        return -1;
    source s = {0};
    memcpy(s.shape, from->shape + (from_prob ? 1 : 0), sizeof s.shape);
    count = s.shape[0] * s.shape[1] * s.shape[2];
    for (int64_t k = 0; k < classes; k++) {
        s.value = (uint8_t)(k + 1);
        s.label = from_prob ? NULL : from->data;
        s.prob = from_prob ? (const float *)from->data + k * count : NULL;
        if (add_class(comparison, &s, added, error))
            return -1;
    }
    return 0;
}

static int write_rows(const dbi_comparison *c, const char *setting, const dbi_transform *transform,
                      const struct result *result, dbi_sink *sink, dbi_error *error)
{
    char name[64];
    dbi_closeness_report r;
    dbi_transform_format(transform, name);
    dbi_closeness_sum_up(result->closeness, &r);
    for (int band = 0; band < DBI_BANDS; band++) {
        if (dbi_sink_printf(sink, error, "%s\t%s\t%s\t%" PRId64 "\t%.4f\t%.4f\t%.4f\t%.4f\t%.4f\t%.6g\t%.6g\t%.4g",
                            setting, name, dbi_band_names[band], r.bands[band].voxels, r.bands[band].mean,
                            r.bands[band].p95, r.bands[band].offset, r.bands[band].shifted_mean,
                            r.bands[band].shifted_p95, r.nonfinite, r.nonfinite_gradient, r.gradient) ||
            (c->settings.time && dbi_sink_printf(sink, error, "\t%.4f", result->seconds)) ||
            dbi_sink_printf(sink, error, "\n"))
            return -1;
    }
    return 0;
}

int dbi_comparison_write(const dbi_comparison *comparison, dbi_sink *sink, dbi_error *error)
{
    const dbi_comparison_settings *s = &comparison->settings;
    const struct result *result = comparison->results;
    if (dbi_sink_printf(
            sink, error,
            "map\tblur\tbackground\ttransform\tband\tvoxels\tmean\tp95\toffset\tshifted_mean\tshifted_p95\tnonfinite\t"
            "nonfinite_gradient\tgradient%s\n",
            s->time ? "\tseconds" : ""))
        return -1;
    for (int blur = 0; blur < s->blur_count; blur++)
        for (int background = 0; background < s->background_count; background++) {
            char setting[96], one[32], two[32];
            snprintf(setting, sizeof setting, "%s\t%s\t%s", s->from_prob ? "prob" : "label",
                     dbi_shortest(s->blurs[blur], one), dbi_shortest(s->backgrounds[background], two));
            for (int k = 0; k < s->transform_count; k++)
                if (write_rows(comparison, setting, s->transforms + k, result++, sink, error))
                    return -1;
        }
    return 0;
}

#include "cohort/sampler.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "record/history.h"
#include "record/json.h"
#include "record/metadata.h"
#include "record/stream.h"

/* The streams of random numbers: j for the sample at place j of the batch, j + STREAM_NOISE for its noise, STREAM_CASES
 * to draw the cases of the batch. */
enum { STREAM_NOISE = 0x10000, STREAM_CASES = 0x20000 };

typedef struct source {
    char *path;
    bool labeled, square; /* square: the spacing is the same along the first two axes */
    dbi_record *record;   /* NULL when not in memory */
    size_t bytes;
    uint64_t last_used; /* the number of batches begun until then */
    int users;          /* how many batches are being made with it */
    bool loading;       /* a thread is loading it */
    dbi_error error;    /* of the last try to load it */
} source;

struct dbi_sampler {
    dbi_sampler_settings settings;
    source *sources; /* the labelled ones first */
    size_t count, labeled;
    int64_t channels, classes;      /* classes 0: no case has a label */
    char *preprocessing, *distance; /* distance: the labelled cases' metadata `sdf`; NULL: they have no map */
    bool clipped;
    pthread_mutex_t lock; /* for the fields below, and for what the sources have in memory */
    pthread_cond_t loaded;
    size_t bytes; /* in memory */
    uint64_t batches;
};

/* How a case is laid into a patch. Axis a of the patch runs along axis axis[a] of the case, in reverse if flip[a].
 * Position 0 of the patch is at position offset[a] of the turned and mirrored case. */
typedef struct placement {
    int axis[3];
    bool flip[3];
    int64_t offset[3];
} placement;

typedef struct sample {
    source *source;
    dbi_role role;
    int index; /* among the samples of its kind */
    placement place;
} sample;

dbi_sampler_settings dbi_sampler_defaults(void)
{
    return (dbi_sampler_settings){
        .labeled = 2, .unlabeled = 2, .flip = true, .turn = true, .cache_bytes = (int64_t)4 << 30};
}

static int check_settings(const dbi_sampler_settings *s, dbi_error *error)
{
    int64_t voxels;
    for (int a = 0; a < 3; a++)
        if (s->patch[a] < 1)
            return dbi_fail(error, "a patch of %lld,%lld,%lld voxels", (long long)s->patch[0], (long long)s->patch[1],
                            (long long)s->patch[2]);
    if (!dbi_count(s->patch, 3, &voxels) || voxels > (int64_t)1 << 28)
        return dbi_fail(error, "a patch of %lld,%lld,%lld voxels is too large", (long long)s->patch[0],
                        (long long)s->patch[1], (long long)s->patch[2]);
    if (s->labeled < 0 || s->unlabeled < 0 || s->labeled + s->unlabeled < 1 || s->labeled > DBI_SAMPLES_MAX ||
        s->unlabeled > DBI_SAMPLES_MAX)
        return dbi_fail(error, "%d labelled and %d unlabelled samples: 1 to %d", s->labeled, s->unlabeled,
                        DBI_SAMPLES_MAX);
    if (!(s->intensity >= 0 && s->intensity < 1) || !(s->noise >= 0 && isfinite(s->noise)))
        return dbi_fail(error, "the intensity change is from 0 to below 1, the noise from 0");
    return 0;
}

/* Takes what all cases must share from this case, if no case before it has said it. */
static int adopt(dbi_sampler *s, const dbi_record *record, const source *from, dbi_error *error)
{
    const dbi_tensor *image = dbi_record_find(record, "image");
    const char *preprocessing = dbi_meta_get(record, "preprocessing"), *distance = dbi_meta_get(record, "sdf");
    if (!s->preprocessing) {
        s->channels = image && image->ndim == 4 ? image->shape[0] : 0;
        if (preprocessing && !(s->preprocessing = strdup(preprocessing)))
            return dbi_fail(error, "out of memory");
    }
    if (from == s->sources && from->labeled && dbi_record_find(record, "sdf") && distance &&
        !(s->distance = strdup(distance)))
        return dbi_fail(error, "out of memory");
    if (!s->classes && dbi_meta_get(record, "classes") && dbi_meta_get_int(record, "classes", &s->classes, error))
        return -1;
    return 0;
}

static int check_distance(const dbi_sampler *s, const dbi_record *record, const int64_t shape[3], dbi_error *error)
{
    const bool there = dbi_record_find(record, "sdf");
    const char *distance = there ? dbi_meta_need(record, "sdf", error) : NULL;
    if (there && (!distance || !dbi_record_need(record, "sdf", DBI_F32, 4,
                                                (int64_t[]){s->classes, shape[0], shape[1], shape[2]}, error)))
        return -1;
    if (distance == s->distance || (distance && s->distance && !strcmp(distance, s->distance)))
        return 0;
    return dbi_fail(error, "its distance map is %s, but that of %s is %s", distance ? distance : "not there",
                    s->sources[0].path, s->distance ? s->distance : "not there");
}

/* Checks that the record is a case and fits the cases before it. */
static int check_record(const dbi_sampler *s, const dbi_record *record, const source *from, dbi_error *error)
{
    const char *kind = dbi_meta_get(record, "kind"), *preprocessing;
    const dbi_tensor *image;
    if (!kind || strcmp(kind, "case"))
        return dbi_fail(error, "not a case, but %s", kind ? kind : "a record of no kind");
    if (!(preprocessing = dbi_meta_need(record, "preprocessing", error)) ||
        !(image = dbi_record_need(record, "image", DBI_F32, 4, NULL, error)))
        return -1;
    if (strcmp(preprocessing, s->preprocessing))
        return dbi_fail(error, "prepared with %s, but %s with %s", preprocessing, s->sources[0].path, s->preprocessing);
    if (image->shape[0] != s->channels)
        return dbi_fail(error, "%lld channels, but %s has %lld", (long long)image->shape[0], s->sources[0].path,
                        (long long)s->channels);
    if (!image->count)
        return dbi_fail(error, "tensor \"image\" is empty");
    bool wants_label = from->labeled || s->settings.truth;
    int64_t classes = 0;
    if (from->labeled && !dbi_record_find(record, "label"))
        return dbi_fail(error, "an unlabelled case in the labelled part: no tensor \"label\"");
    if (wants_label && !dbi_record_need(record, "label", DBI_U8, 3, image->shape + 1, error))
        return -1;
    if ((wants_label || dbi_meta_get(record, "classes")) && dbi_meta_get_int(record, "classes", &classes, error))
        return -1;
    if (wants_label && (classes < 1 || classes > 255))
        return dbi_fail(error, "%lld classes: 1 to 255", (long long)classes);
    if (classes && classes != s->classes)
        return dbi_fail(error, "%lld classes, but the cases before it have %lld", (long long)classes,
                        (long long)s->classes);
    return from->labeled ? check_distance(s, record, image->shape + 1, error) : 0;
}

/* Finds out whether the case can be turned by 90 degrees: this would distort it when its spacing differs along the
 * first two axes. */
static int look_at_spacing(source *from, const dbi_record *record, dbi_error *error)
{
    double spacing[3];
    if (dbi_meta_get_numbers(record, "spacing", spacing, 3, error))
        return -1;
    from->square = fabs(spacing[0] - spacing[1]) <= 1e-3 * fmax(fabs(spacing[0]), fabs(spacing[1]));
    return 0;
}

static int check_case(dbi_sampler *s, source *from, dbi_error *error)
{
    dbi_record *record = dbi_record_peek(from->path, error);
    if (!record)
        return -1;
    int result = adopt(s, record, from, error) || check_record(s, record, from, error) ? -1 : 0;
    if (result == 0 && s->settings.turn)
        result = look_at_spacing(from, record, error);
    if (result)
        dbi_fail_in(error, "%s: record 0", from->path);
    dbi_record_free(record);
    return result;
}

static int take_rows(dbi_sampler *s, const dbi_manifest *manifest, dbi_part part, dbi_error *error)
{
    for (size_t i = 0; i < manifest->count; i++)
        if (manifest->rows[i].part == part) {
            source *one = &s->sources[s->count];
            *one = (source){.path = strdup(manifest->rows[i].path), .labeled = part == DBI_PART_LABELED};
            if (!one->path)
                return dbi_fail(error, "out of memory");
            s->count++;
            s->labeled += one->labeled;
        }
    return 0;
}

static int take_cases(dbi_sampler *s, const dbi_manifest *manifest, dbi_error *error)
{
    const dbi_sampler_settings *t = &s->settings;
    const char *name = manifest->name ? manifest->name : "the manifest";
    if (!(s->sources = dbi_alloc(manifest->count, sizeof *s->sources, error)))
        return -1;
    if ((t->labeled && take_rows(s, manifest, DBI_PART_LABELED, error)) ||
        (t->unlabeled && take_rows(s, manifest, DBI_PART_UNLABELED, error)))
        return -1;
    if (t->labeled && !s->labeled)
        return dbi_fail(error, "%s: labelled samples are wanted, but there is no labelled case", name);
    if (t->unlabeled && s->labeled == s->count)
        return dbi_fail(error, "%s: unlabelled samples are wanted, but there is no unlabelled case", name);
    return 0;
}

static int check_cases(dbi_sampler *s, dbi_error *error)
{
    for (size_t i = 0; i < s->count; i++)
        if (check_case(s, &s->sources[i], error))
            return -1;
    if (!s->distance)
        return 0;
    json_t *json = dbi_json_parse(s->distance, strlen(s->distance), error);
    if (!json)
        return dbi_fail_in(error, "metadata \"sdf\" of the cases is not JSON");
    const char *normalize = json_string_value(json_object_get(json, "normalize"));
    s->clipped = normalize && !strncmp(normalize, "clip", 4);
    json_decref(json);
    return 0;
}

dbi_sampler *dbi_sampler_open(const dbi_manifest *manifest, const dbi_sampler_settings *settings, dbi_error *error)
{
    if (check_settings(settings, error))
        return NULL;
    dbi_sampler *s = dbi_alloc(1, sizeof *s, error);
    if (!s)
        return NULL;
    s->settings = *settings;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->loaded, NULL);
    if (take_cases(s, manifest, error) || check_cases(s, error)) {
        dbi_sampler_close(s);
        return NULL;
    }
    return s;
}

void dbi_sampler_close(dbi_sampler *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->sources && i < s->count; i++) {
        dbi_record_free(s->sources[i].record);
        free(s->sources[i].path);
    }
    free(s->sources);
    free(s->preprocessing);
    free(s->distance);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->loaded);
    free(s);
}

static int check_voxels(const dbi_sampler *s, const dbi_record *record, dbi_error *error)
{
    static const char *const floats[] = {"image", "sdf"};
    for (int i = 0; i < 2; i++) {
        const dbi_tensor *t = dbi_record_find(record, floats[i]);
        const float *v = t ? t->data : NULL;
        for (size_t k = 0; t && k < t->count; k++)
            if (!isfinite(v[k]))
                return dbi_fail(error, "tensor \"%s\" holds a value that is not finite", floats[i]);
    }
    const dbi_tensor *label = dbi_record_find(record, "label");
    const uint8_t *v = label ? label->data : NULL;
    for (size_t k = 0; label && k < label->count; k++)
        if (v[k] > s->classes)
            return dbi_fail(error, "a label of %d with %lld classes", v[k], (long long)s->classes);
    return 0;
}

/* Loads a case from its file. Tensors of an unlabelled case that must not get into a batch are dropped at once. */
static dbi_record *load(const dbi_sampler *s, const source *one, dbi_error *error)
{
    dbi_record *record = dbi_record_load(one->path, error);
    if (!record)
        return NULL;
    if (check_record(s, record, one, error)) { /* the file may have changed since */
        dbi_record_free(record);
        dbi_fail_in(error, "%s: record 0", one->path);
        return NULL;
    }
    if (!one->labeled) {
        dbi_record_drop(record, "sdf");
        if (!s->settings.truth)
            dbi_record_drop(record, "label");
    }
    if (check_voxels(s, record, error)) {
        dbi_record_free(record);
        dbi_fail_in(error, "%s: record 0", one->path);
        return NULL;
    }
    return record;
}

static size_t bytes_of(const dbi_record *record)
{
    size_t bytes = 0;
    for (size_t i = 0; i < dbi_record_count(record); i++) {
        const dbi_tensor *t = dbi_record_at(record, i);
        bytes += t->count * dbi_dtype_size(t->dtype);
    }
    return bytes;
}

static void draw_placement(const dbi_sampler_settings *s, bool square, dbi_random *r, const int64_t shape[3],
                           placement *p)
{
    /* All numbers are drawn, even when not used, so that switching one change off leaves the others as they are. A turn
     * by 90 degrees is a swap of the axes and one mirroring, by 180 degrees two mirrorings. A case that 90 degrees
     * would distort is not turned instead, and turned by 180 instead of 270. */
    unsigned turn = dbi_random_below(r, 4), x = dbi_random_below(r, 2), y = dbi_random_below(r, 2),
             z = dbi_random_below(r, 2);
    if (!square && (turn & 1))
        turn--;
    bool swap = s->turn && (turn & 1);
    p->axis[0] = swap;
    p->axis[1] = !swap;
    p->axis[2] = 2;
    p->flip[0] = (s->turn && (turn == 1 || turn == 2)) != (s->flip && x);
    p->flip[1] = (s->turn && (turn == 2 || turn == 3)) != (s->flip && y);
    p->flip[2] = s->flip_z && z;
    for (int a = 0; a < 3; a++) {
        int64_t room = shape[p->axis[a]] - s->patch[a];
        int64_t at = dbi_random_below(r, (uint32_t)llabs(room) + 1);
        p->offset[a] = room >= 0 ? at : -at;
    }
}

/* Whether the volume covers the whole patch. */
static bool covers(const placement *p, const int64_t shape[3], const int64_t patch[3])
{
    for (int a = 0; a < 3; a++)
        if (p->offset[a] < 0 || shape[p->axis[a]] - p->offset[a] < patch[a])
            return false;
    return true;
}

/* Copies the patch out of one volume [shape] of `size` bytes a voxel. Parts of the patch beyond the volume are not
 * written. */
static void copy_patch(const placement *p, const int64_t shape[3], const int64_t patch[3], const void *from, void *to,
                       size_t size)
{
    int64_t stride[3] = {shape[1] * shape[2], shape[2], 1}, low[3], high[3], start = 0, step[3];
    for (int a = 0; a < 3; a++) {
        int axis = p->axis[a];
        int64_t n = shape[axis],
                first = p->flip[a] ? n - 1 - p->offset[a] : p->offset[a]; /* in the case, at patch position 0 */
        step[a] = p->flip[a] ? -stride[axis] : stride[axis];
        start += first * stride[axis];
        low[a] = p->offset[a] < 0 ? -p->offset[a] : 0;
        high[a] = n - p->offset[a] < patch[a] ? n - p->offset[a] : patch[a];
    }
    int64_t run = high[2] - low[2];
    for (int64_t x = low[0]; x < high[0]; x++)
        for (int64_t y = low[1]; y < high[1]; y++) {
            int64_t begin = start + x * step[0] + y * step[1] + low[2] * step[2],
                    target = (x * patch[1] + y) * patch[2] + low[2];
            if (step[2] == 1)
                memcpy((char *)to + (size_t)target * size, (const char *)from + (size_t)begin * size,
                       (size_t)run * size);
            else
                for (int64_t z = 0; z < run; z++)
                    memcpy((char *)to + (size_t)(target + z) * size,
                           (const char *)from + (size_t)(begin + z * step[2]) * size, size);
        }
}

static void change_intensity(const dbi_sampler_settings *s, dbi_random *r, float *image, int64_t channels,
                             size_t voxels)
{
    for (int64_t c = 0; c < channels; c++) {
        float gain = (float)(1 + s->intensity * (2 * dbi_random_uniform(r) - 1)),
              offset = (float)(s->intensity * (2 * dbi_random_uniform(r) - 1));
        for (size_t i = 0; i < voxels; i++)
            image[(size_t)c * voxels + i] = image[(size_t)c * voxels + i] * gain + offset;
    }
}

static void fill_image(const dbi_sampler *s, const sample *one, uint32_t step, float *to)
{
    const dbi_tensor *image = dbi_record_find(one->source->record, "image");
    const int64_t *shape = image->shape + 1, *patch = s->settings.patch;
    size_t voxels = (size_t)(patch[0] * patch[1] * patch[2]), volume = image->count / (size_t)s->channels;
    if (!covers(&one->place, shape, patch))
        memset(to, 0, (size_t)s->channels * voxels * sizeof *to);
    for (int64_t c = 0; c < s->channels; c++)
        copy_patch(&one->place, shape, patch, (const float *)image->data + (size_t)c * volume, to + (size_t)c * voxels,
                   sizeof *to);
    if (s->settings.intensity <= 0 && s->settings.noise <= 0)
        return;
    dbi_random r;
    dbi_random_start(&r, s->settings.seed, one->role, step, STREAM_NOISE + (uint32_t)one->index);
    if (s->settings.intensity > 0)
        change_intensity(&s->settings, &r, to, s->channels, voxels);
    for (size_t i = 0; s->settings.noise > 0 && i < (size_t)s->channels * voxels; i++)
        to[i] += (float)(s->settings.noise * dbi_random_normal(&r));
}

static void fill_label(const dbi_sampler *s, const sample *one, uint8_t *to)
{
    const dbi_tensor *label = dbi_record_find(one->source->record, "label");
    const int64_t *patch = s->settings.patch;
    if (!covers(&one->place, label->shape, patch))
        memset(to, 0, (size_t)(patch[0] * patch[1] * patch[2]));
    copy_patch(&one->place, label->shape, patch, label->data, to, 1);
}

static void fill_beyond(const dbi_sampler *s, const float *from, size_t volume, float *to, size_t voxels)
{
    float beyond = s->clipped ? -1 : from[0];
    for (size_t i = 0; !s->clipped && i < volume; i++)
        beyond = fminf(beyond, from[i]);
    for (size_t i = 0; i < voxels; i++)
        to[i] = beyond;
}

static void fill_distance(const dbi_sampler *s, const sample *one, float *to)
{
    const dbi_tensor *sdf = dbi_record_find(one->source->record, "sdf");
    const int64_t *patch = s->settings.patch;
    size_t voxels = (size_t)(patch[0] * patch[1] * patch[2]), volume = sdf->count / (size_t)s->classes;
    for (int64_t k = 0; k < s->classes; k++) {
        const float *from = (const float *)sdf->data + (size_t)k * volume;
        if (!covers(&one->place, sdf->shape + 1, patch))
            fill_beyond(s, from, volume, to + (size_t)k * voxels, voxels);
        copy_patch(&one->place, sdf->shape + 1, patch, from, to + (size_t)k * voxels, sizeof *to);
    }
}

/* Draws cases: the first `wanted` of a random order of `count` cases. When the order ends, a new one is drawn. */
static int draw_cases(const dbi_sampler *s, dbi_role role, uint32_t step, source *from, size_t count, int wanted,
                      sample *samples, dbi_error *error)
{
    if (!wanted)
        return 0;
    size_t *order = dbi_alloc(count, sizeof *order, error);
    if (!order)
        return -1;
    dbi_random r;
    dbi_random_start(&r, s->settings.seed, role, step, STREAM_CASES);
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    for (int j = 0; j < wanted; j++) {
        size_t at = (size_t)j % count, other = at + dbi_random_below(&r, (uint32_t)(count - at)), drawn = order[other];
        order[other] = order[at];
        order[at] = drawn;
        samples[j] = (sample){.source = &from[drawn], .role = role, .index = j};
    }
    free(order);
    return 0;
}

/* Frees the cases that were used longest ago until the limit is kept. Cases of batches that are being made stay. */
static void make_room(dbi_sampler *s)
{
    while ((int64_t)s->bytes > s->settings.cache_bytes) {
        source *oldest = NULL;
        for (size_t i = 0; i < s->count; i++) {
            source *one = &s->sources[i];
            if (one->record && !one->users && (!oldest || one->last_used < oldest->last_used))
                oldest = one;
        }
        if (!oldest)
            return;
        dbi_record_free(oldest->record);
        oldest->record = NULL;
        s->bytes -= oldest->bytes;
    }
}

/* Loads cases in parallel and wakes the threads that wait for them. */
static void load_all(dbi_sampler *s, source **wanted, int count)
{
#pragma omp parallel for schedule(dynamic) if (count > 1)
    for (int i = 0; i < count; i++) {
        dbi_error error;
        dbi_record *record = load(s, wanted[i], &error);
        pthread_mutex_lock(&s->lock);
        wanted[i]->record = record;
        wanted[i]->bytes = record ? bytes_of(record) : 0;
        wanted[i]->loading = false;
        if (!record)
            wanted[i]->error = error;
        s->bytes += wanted[i]->bytes;
        pthread_cond_broadcast(&s->loaded);
        pthread_mutex_unlock(&s->lock);
    }
}

static void release_cases(dbi_sampler *s, const sample *samples, int count)
{
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < count; i++)
        samples[i].source->users--;
    pthread_mutex_unlock(&s->lock);
}

/* Brings the cases of a batch into memory, where they stay until release_cases. A thread first loads the cases that no
 * thread is loading and only then waits for the others, so no two threads can wait for each other. */
static int hold_cases(dbi_sampler *s, const sample *samples, int count, dbi_error *error)
{
    source *wanted[2 * DBI_SAMPLES_MAX];
    int missing = 0;
    pthread_mutex_lock(&s->lock);
    s->batches++;
    for (int i = 0; i < count; i++) {
        source *one = samples[i].source;
        if (!one->record && !one->loading) {
            one->loading = true;
            wanted[missing++] = one;
        }
        one->last_used = s->batches;
        one->users++;
    }
    pthread_mutex_unlock(&s->lock);
    if (missing)
        load_all(s, wanted, missing);
    const source *failed = NULL;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; !failed && i < count; i++) {
        while (samples[i].source->loading)
            pthread_cond_wait(&s->loaded, &s->lock);
        failed = samples[i].source->record ? NULL : samples[i].source;
    }
    if (failed && error)
        *error = failed->error;
    make_room(s);
    pthread_mutex_unlock(&s->lock);
    if (failed)
        release_cases(s, samples, count);
    return failed ? -1 : 0;
}

static int add_metadata(const dbi_sampler *s, uint32_t step, dbi_record *batch, dbi_error *error)
{
    const dbi_sampler_settings *t = &s->settings;
    if (dbi_meta_set(batch, "kind", "batch", error) || dbi_meta_set_int(batch, "step", step, error) ||
        dbi_meta_set_format(batch, "seed", error, "%llu", (unsigned long long)t->seed) ||
        dbi_meta_set_int(batch, "labeled", t->labeled, error) ||
        (s->classes && dbi_meta_set_int(batch, "classes", s->classes, error)) ||
        dbi_meta_set(batch, "preprocessing", s->preprocessing, error) ||
        dbi_meta_set(batch, "sdf", t->labeled ? s->distance : NULL, error))
        return -1;
    json_t *settings = json_pack("{s:[I,I,I],s:i,s:i,s:o,s:b,s:b,s:b,s:b,s:f,s:f}", "patch", (json_int_t)t->patch[0],
                                 (json_int_t)t->patch[1], (json_int_t)t->patch[2], "labeled", t->labeled, "unlabeled",
                                 t->unlabeled, "seed", dbi_json_seed(t->seed), "truth", t->truth, "flip", t->flip,
                                 "flip_z", t->flip_z, "turn", t->turn, "intensity", t->intensity, "noise", t->noise);
    int result = settings ? dbi_history_add(batch, "sample", settings, error, NULL) : dbi_fail(error, "out of memory");
    json_decref(settings);
    return result;
}

static int fill(const dbi_sampler *s, const sample *samples, int count, uint32_t step, dbi_record *batch,
                dbi_error *error)
{
    const int64_t *p = s->settings.patch, m = s->settings.labeled, n = count;
    size_t voxels = (size_t)(p[0] * p[1] * p[2]);
    dbi_tensor *image =
        dbi_record_add_raw(batch, "image", DBI_F32, 5, (int64_t[]){n, s->channels, p[0], p[1], p[2]}, error);
    dbi_tensor *label =
        image && m ? dbi_record_add_raw(batch, "label", DBI_U8, 4, (int64_t[]){m, p[0], p[1], p[2]}, error) : NULL;
    dbi_tensor *sdf = label && s->distance ? dbi_record_add_raw(batch, "sdf", DBI_F32, 5,
                                                                (int64_t[]){m, s->classes, p[0], p[1], p[2]}, error)
                                           : NULL;
    bool wants_truth = s->settings.truth && n > m;
    dbi_tensor *truth = image && wants_truth
                            ? dbi_record_add_raw(batch, "truth", DBI_U8, 4, (int64_t[]){n - m, p[0], p[1], p[2]}, error)
                            : NULL;
    if (!image || (m && !label) || (m && s->distance && !sdf) || (wants_truth && !truth))
        return -1;
    /* One thread does this: it takes a few milliseconds, and other threads make other batches. */
    for (int i = 0; i < count; i++) {
        fill_image(s, &samples[i], step, (float *)image->data + (size_t)i * (size_t)s->channels * voxels);
        if (i < m)
            fill_label(s, &samples[i], (uint8_t *)label->data + (size_t)i * voxels);
        if (i < m && sdf)
            fill_distance(s, &samples[i], (float *)sdf->data + (size_t)i * (size_t)s->classes * voxels);
        if (i >= m && truth)
            fill_label(s, &samples[i], (uint8_t *)truth->data + (size_t)(i - m) * voxels);
    }
    return add_metadata(s, step, batch, error);
}

dbi_record *dbi_sampler_batch(dbi_sampler *s, uint32_t step, dbi_error *error)
{
    const dbi_sampler_settings *t = &s->settings;
    int count = t->labeled + t->unlabeled;
    sample samples[2 * DBI_SAMPLES_MAX];
    if (draw_cases(s, DBI_ROLE_LABELED, step, s->sources, s->labeled, t->labeled, samples, error) ||
        draw_cases(s, DBI_ROLE_UNLABELED, step, s->sources + s->labeled, s->count - s->labeled, t->unlabeled,
                   samples + t->labeled, error) ||
        hold_cases(s, samples, count, error))
        return NULL;
    for (int i = 0; i < count; i++) {
        dbi_random r;
        dbi_random_start(&r, t->seed, samples[i].role, step, (uint32_t)samples[i].index);
        draw_placement(t, samples[i].source->square, &r, dbi_record_find(samples[i].source->record, "image")->shape + 1,
                       &samples[i].place);
    }
    dbi_record *batch = dbi_record_new(error);
    if (batch && fill(s, samples, count, step, batch, error)) {
        dbi_record_free(batch);
        batch = NULL;
    }
    release_cases(s, samples, count);
    return batch;
}

#include "image/case.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "image/case_id.h"
#include "image/geometry.h"
#include "image/resample.h"
#include "image/scan.h"
#include "image/source.h"
#include "image/voxels.h"
#include "record/history.h"
#include "record/metadata.h"

/* A case that is being made: what the steps share. */
typedef struct work {
    const dbi_case_input *input;
    const dbi_preparation *settings;
    dbi_source source;
    dbi_geometry geometry;
    dbi_grid grid;   /* of the case before the crop */
    float **channel; /* input->channels arrays, of grid's shape */
    uint8_t *label;
    int64_t classes;
    dbi_intensity_result *intensity; /* per channel */
    char (*checksum)[33], label_checksum[33];
} work;

static size_t voxel_count(const int64_t shape[3])
{
    return (size_t)(shape[0] * shape[1] * shape[2]);
}

/* Plans the geometry from the scan's grid and the settings. A spacing within 1e-4 of the wanted one is kept, because
 * files round it to single precision. */
static int plan(work *w, dbi_error *error)
{
    dbi_geometry *g = &w->geometry;
    dbi_grid canonical;
    double spacing[3];
    *g = (dbi_geometry){.downsample = w->settings->downsample, .ratio = {1, 1, 1}};
    dbi_orientation_find(&w->source.grid, &g->orientation);
    dbi_orientation_grid(&g->orientation, &w->source.grid, &canonical);
    dbi_grid_spacing(&canonical, spacing);
    for (int a = 0; w->settings->resample && a < 3; a++) {
        double ratio = w->settings->spacing[a] / spacing[a];
        if (fabs(ratio - 1) <= 1e-4)
            continue;
        g->ratio[a] = ratio;
        g->resampled = true;
    }
    memcpy(g->shape, canonical.shape, sizeof g->shape);
    w->grid = canonical;
    if (g->resampled) {
        if (dbi_resample_shape(canonical.shape, g->ratio, g->resampled_shape, error))
            return -1;
        memcpy(g->shape, g->resampled_shape, sizeof g->shape);
        dbi_grid_step(&canonical, g->ratio, g->shape, &w->grid);
    }
    if (g->downsample > 1) {
        const double step[] = {(double)g->downsample, (double)g->downsample, (double)g->downsample};
        const int64_t before[] = {g->shape[0], g->shape[1], g->shape[2]};
        for (int a = 0; a < 3; a++)
            g->shape[a] /= g->downsample;
        if (g->shape[0] < 1 || g->shape[1] < 1 || g->shape[2] < 1)
            return dbi_fail(error,
                            "%" PRId64 " x %" PRId64 " x %" PRId64 " voxels are too few to downsample by %" PRId64,
                            before[0], before[1], before[2], g->downsample);
        dbi_grid grid = w->grid;
        dbi_grid_step(&grid, step, g->shape, &w->grid);
    }
    memcpy(g->size, g->shape, sizeof g->size);
    return dbi_grid_check(&w->grid, error);
}

/* A channel's voxels after orientation, resampling and downsampling; free(). Frees the scan's voxels as soon as they
 * are copied, because two large scans may not fit. */
static float *image_through(const work *w, dbi_voxels *voxels, dbi_error *error)
{
    const dbi_geometry *g = &w->geometry;
    const int64_t *scan_shape = w->source.grid.shape;
    int64_t shape[3];
    for (int a = 0; a < 3; a++)
        shape[a] = scan_shape[g->orientation.axis[a]];
    float *image = dbi_alloc(voxel_count(shape), sizeof *image, error);
    if (!image || dbi_voxels_image(voxels, scan_shape, &g->orientation, image, error)) {
        free(image);
        return NULL;
    }
    free(voxels->owned);
    voxels->owned = NULL;
    if (g->resampled) {
        image = dbi_resample_linear(image, shape, g->ratio, g->resampled_shape, error);
        memcpy(shape, g->resampled_shape, sizeof shape);
    }
    if (image && g->downsample > 1) {
        float *small = dbi_downsample_mean(image, shape, g->downsample, error);
        free(image);
        image = small;
    }
    return image;
}

static uint8_t *label_through(const work *w, const dbi_voxels *voxels, int *largest, dbi_error *error)
{
    const dbi_geometry *g = &w->geometry;
    const int64_t *scan_shape = w->source.grid.shape;
    int64_t shape[3];
    for (int a = 0; a < 3; a++)
        shape[a] = scan_shape[g->orientation.axis[a]];
    uint8_t *label = dbi_alloc(voxel_count(shape), 1, error);
    if (!label || dbi_voxels_label(voxels, scan_shape, &g->orientation,
                                   w->input->classes ? (int)w->input->classes : 255, label, largest, error)) {
        free(label);
        return NULL;
    }
    if (g->resampled) {
        uint8_t *other = dbi_resample_nearest(label, shape, g->ratio, g->resampled_shape, error);
        free(label);
        label = other;
        memcpy(shape, g->resampled_shape, sizeof shape);
    }
    if (label && g->downsample > 1) {
        uint8_t *small = dbi_downsample_label(label, shape, g->downsample, error);
        free(label);
        label = small;
    }
    return label;
}

static int take_label(work *w, const char *path, const dbi_voxels *voxels, dbi_error *error)
{
    int largest = 0;
    w->label = label_through(w, voxels, &largest, error);
    if (w->label && largest == 0 && !w->input->classes)
        dbi_fail(error, "the label is empty: no voxel is foreground (give the number of classes to accept it)");
    else if (w->label) {
        w->classes = w->input->classes ? w->input->classes : largest;
        return 0;
    }
    return dbi_fail_in(error, "%s", path);
}

/* A file without a place in space can only be compared by its shape. */
static int same_place(const dbi_source *a, const dbi_source *b, dbi_error *error)
{
    dbi_grid other = b->grid;
    if (!dbi_source_placed(a) || !dbi_source_placed(b))
        memcpy(other.affine, a->grid.affine, sizeof other.affine);
    return dbi_grid_same(&a->grid, &other, error);
}

static int load_label(work *w, dbi_error *error)
{
    dbi_scan scan;
    const char *path = w->input->label;
    if (dbi_scan_load(path, DBI_SCAN_LABEL, w->input->source_spacing, &scan, error))
        return -1;
    int result = same_place(&w->source, &scan.source, error);
    if (result) {
        dbi_fail_in(error, "not in the grid of %s", w->input->scans[0]);
        dbi_fail_in(error, "%s", path);
    } else {
        result = take_label(w, path, &scan.label, error);
    }
    memcpy(w->label_checksum, scan.checksum, sizeof scan.checksum);
    dbi_scan_free(&scan);
    return result;
}

/* The first scan sets the grid; the others must agree with it. */
static int load_channel(work *w, size_t c, dbi_error *error)
{
    dbi_scan scan;
    const char *path = w->input->scans[c];
    bool own_label = c == 0 && !w->input->label && !w->input->ignore_label;
    if (dbi_scan_load(path, DBI_SCAN_IMAGE | (own_label ? DBI_SCAN_LABEL : 0), w->input->source_spacing, &scan, error))
        return -1;
    int result = 0;
    if (w->input->source_spacing && dbi_source_placed(&scan.source))
        result = dbi_fail(error, "a source spacing is for HDF5 files, this one has its own");
    if (c == 0) {
        w->source = scan.source;
        result = result ? result : plan(w, error);
    } else if (!result && same_place(&w->source, &scan.source, error)) {
        result = dbi_fail_in(error, "not in the grid of %s", w->input->scans[0]);
    }
    if (!result) {
        w->channel[c] = image_through(w, &scan.image, error);
        result = w->channel[c] ? dbi_intensity_apply(&w->settings->intensity, w->channel[c], voxel_count(w->grid.shape),
                                                     &w->intensity[c], error)
                               : -1;
    }
    if (result)
        dbi_fail_in(error, "%s", path);
    else if (scan.label.type != DBI_VOXEL_NONE)
        result = take_label(w, path, &scan.label, error);
    memcpy(w->checksum[c], scan.checksum, sizeof scan.checksum);
    dbi_scan_free(&scan);
    return result;
}

static bool any(const uint8_t *label, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (label[i])
            return true;
    return false;
}

/* Sets the crop: the box of the foreground, widened on all sides by the margin where there is room. */
static int find_crop(work *w, dbi_error *error)
{
    dbi_geometry *g = &w->geometry;
    const int64_t *n = g->shape;
    int64_t low[3] = {n[0], n[1], n[2]}, high[3] = {-1, -1, -1};
    if (!w->label)
        return dbi_fail(error, "%s: a crop round the label, but there is no label", w->input->scans[0]);
    for (int64_t x = 0; x < n[0]; x++)
        for (int64_t y = 0; y < n[1]; y++) {
            const uint8_t *row = w->label + (x * n[1] + y) * n[2];
            int64_t first = 0, last = n[2] - 1;
            if (!any(row, (size_t)n[2]))
                continue;
            while (!row[first])
                first++;
            while (!row[last])
                last--;
            const int64_t begin[] = {x, y, first}, end[] = {x, y, last};
            for (int a = 0; a < 3; a++) {
                low[a] = begin[a] < low[a] ? begin[a] : low[a];
                high[a] = end[a] > high[a] ? end[a] : high[a];
            }
        }
    if (high[0] < 0)
        return dbi_fail(error, "%s: the label is empty: nothing to crop round",
                        w->input->label ? w->input->label : w->input->scans[0]);
    g->cropped = true;
    for (int a = 0; a < 3; a++) {
        int64_t margin = w->settings->crop;
        low[a] = low[a] > margin ? low[a] - margin : 0;
        high[a] = high[a] < n[a] - 1 - margin ? high[a] + margin : n[a] - 1;
        g->offset[a] = low[a];
        g->size[a] = high[a] - low[a] + 1;
    }
    return 0;
}

static void copy_box(const void *from, const dbi_geometry *g, size_t width, void *to)
{
    const char *in = from;
    char *out = to;
    size_t row = (size_t)g->size[2] * width;
    for (int64_t x = 0; x < g->size[0]; x++)
        for (int64_t y = 0; y < g->size[1]; y++) {
            int64_t at = ((g->offset[0] + x) * g->shape[1] + g->offset[1] + y) * g->shape[2] + g->offset[2];
            memcpy(out, in + (size_t)at * width, row);
            out += row;
        }
}

static int add_tensors(work *w, dbi_record *record, dbi_error *error)
{
    const dbi_geometry *g = &w->geometry;
    size_t count = voxel_count(g->size);
    const int64_t shape[] = {(int64_t)w->input->channels, g->size[0], g->size[1], g->size[2]};
    dbi_tensor *image = dbi_record_add(record, "image", DBI_F32, 4, shape, error);
    if (!image)
        return -1;
    for (size_t c = 0; c < w->input->channels; c++) {
        copy_box(w->channel[c], g, sizeof(float), (float *)image->data + c * count);
        free(w->channel[c]);
        w->channel[c] = NULL;
    }
    if (!w->label)
        return 0;
    dbi_tensor *label = dbi_record_add(record, "label", DBI_U8, 3, shape + 1, error);
    if (!label)
        return -1;
    copy_box(w->label, g, 1, label->data);
    return 0;
}

static json_t *normalization_json(const work *w, dbi_error *error)
{
    char kind[80];
    dbi_intensity_format(&w->settings->intensity, kind);
    json_t *channels = json_array();
    bool good = channels != NULL;
    for (size_t c = 0; good && c < w->input->channels; c++)
        good = !json_array_append_new(
            channels, json_pack("{s:f, s:f}", "shift", w->intensity[c].shift, "scale", w->intensity[c].scale));
    json_t *json = good ? json_pack("{s:s, s:O}", "kind", kind, "channels", channels) : NULL;
    json_decref(channels);
    if (!json)
        dbi_fail(error, "out of memory");
    return json;
}

static int add_history(const work *w, dbi_record *record, dbi_error *error)
{
    json_t *json = dbi_preparation_json(w->settings, error);
    const double *spacing = w->input->source_spacing;
    char channels[33];
    memcpy(channels, w->checksum[0], sizeof channels);
    for (size_t c = 1; c < w->input->channels; c++)
        dbi_scan_checksum(channels, (const uint8_t *)w->checksum[c], 32);
    int result = json ? 0 : -1;
    if (json && spacing &&
        json_object_set_new(json, "source_spacing", json_pack("[f,f,f]", spacing[0], spacing[1], spacing[2])))
        result = dbi_fail(error, "out of memory");
    if (!result)
        result = w->label_checksum[0] ? dbi_history_add(record, "preprocess", json, error, "scan", channels, "label",
                                                        w->label_checksum, NULL)
                                      : dbi_history_add(record, "preprocess", json, error, "scan", channels, NULL);
    json_decref(json);
    return result;
}

static char *copy_of(const char *text, dbi_error *error)
{
    char *copy = strdup(text);
    if (!copy)
        dbi_fail(error, "out of memory");
    return copy;
}

static int add_metadata(const work *w, dbi_record *record, dbi_error *error)
{
    dbi_grid grid = w->grid;
    memcpy(grid.shape, w->geometry.size, sizeof grid.shape);
    for (int i = 0; i < 3; i++)
        for (int a = 0; a < 3; a++)
            grid.affine[i][3] += grid.affine[i][a] * (double)w->geometry.offset[a];
    char *settings = dbi_preparation_format(w->settings, error);
    char *id = w->input->id ? copy_of(w->input->id, error) : dbi_case_id(w->input->scans[0], error);
    json_t *normalization = normalization_json(w, error);
    int result = !settings || !id || !normalization || dbi_meta_set(record, "kind", "case", error) ||
                 dbi_meta_set(record, "id", id, error) ||
                 (w->classes && dbi_meta_set_int(record, "classes", w->classes, error)) ||
                 dbi_grid_set(record, &grid, error) || dbi_source_set(record, &w->source, error) ||
                 dbi_geometry_set(record, &w->geometry, error) ||
                 dbi_meta_set(record, "preprocessing", settings, error) ||
                 dbi_meta_set_json(record, "normalization", normalization, error) || add_history(w, record, error);
    json_decref(normalization);
    free(settings);
    free(id);
    return result ? -1 : 0;
}

static int prepare(work *w, dbi_error *error)
{
    for (size_t c = 0; c < w->input->channels; c++)
        if (load_channel(w, c, error))
            return -1;
    if (w->input->label && !w->input->ignore_label && load_label(w, error))
        return -1;
    if (!w->label)
        w->classes = w->input->classes;
    return w->settings->crop >= 0 ? find_crop(w, error) : 0;
}

dbi_record *dbi_case_from_scan(const dbi_case_input *input, const dbi_preparation *settings, dbi_error *error)
{
    work w = {.input = input, .settings = settings};
    dbi_record *record = NULL;
    w.channel = dbi_alloc(input->channels, sizeof *w.channel, error);
    w.intensity = dbi_alloc(input->channels, sizeof *w.intensity, error);
    w.checksum = dbi_alloc(input->channels, sizeof *w.checksum, error);
    if (w.channel && w.intensity && w.checksum && !prepare(&w, error) && (record = dbi_record_new(error)) &&
        (add_tensors(&w, record, error) || add_metadata(&w, record, error))) {
        dbi_fail_in(error, "%s", input->scans[0]);
        dbi_record_free(record);
        record = NULL;
    }
    for (size_t c = 0; w.channel && c < input->channels; c++)
        free(w.channel[c]);
    free(w.channel);
    free(w.intensity);
    free(w.checksum);
    free(w.label);
    return record;
}

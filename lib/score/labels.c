#include "score/labels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "image/case_id.h"
#include "image/scan.h"
#include "image/source.h"
#include "image/voxels.h"
#include "record/metadata.h"
#include "record/stream.h"

struct dbi_label_reader {
    const char *path;
    dbi_reader *records; /* NULL: a scan */
    int64_t next;
};

dbi_label_reader *dbi_label_open(const char *path, dbi_error *error)
{
    dbi_label_reader *reader = dbi_alloc(1, sizeof *reader, error);
    if (!reader)
        return NULL;
    reader->path = path;
    if (strcmp(path, "-") && dbi_is_scan(path))
        return reader;
    reader->records = dbi_reader_open(path, error);
    if (!reader->records) {
        free(reader);
        return NULL;
    }
    return reader;
}

void dbi_label_close(dbi_label_reader *reader)
{
    if (!reader)
        return;
    if (reader->records)
        dbi_reader_close(reader->records);
    free(reader);
}

void dbi_label_free(dbi_label *label)
{
    free(label->id);
    free(label->voxels);
    *label = (dbi_label){0};
}

static int from_record(const dbi_record *record, int64_t index, dbi_label *label, dbi_error *error)
{
    const dbi_tensor *tensor = dbi_record_need(record, "label", DBI_U8, 3, NULL, error);
    if (!tensor)
        return -1;
    if (!tensor->count)
        return dbi_fail(error, "tensor \"label\" has no voxels");
    const char *id = dbi_meta_get(record, "id");
    label->named = id != NULL;
    const int printed = id ? asprintf(&label->id, "%s", id) : asprintf(&label->id, "record %lld", (long long)index);
    if (printed < 0) {
        label->id = NULL;
        return dbi_fail(error, "out of memory");
    }
    label->voxels = dbi_alloc(tensor->count, 1, error);
    if (!label->voxels)
        return -1;
    memcpy(label->voxels, tensor->data, tensor->count);
    for (size_t i = 0; i < tensor->count; i++)
        label->most = label->voxels[i] > label->most ? label->voxels[i] : label->most;
    memcpy(label->grid.shape, tensor->shape, sizeof label->grid.shape);
    label->placed = dbi_meta_get(record, "affine") != NULL;
    if (label->placed && (dbi_meta_get_numbers(record, "affine", &label->grid.affine[0][0], 16, error) ||
                          dbi_grid_check(&label->grid, error)))
        return -1;
    if (dbi_meta_get(record, "classes") && dbi_meta_get_int(record, "classes", &label->classes, error))
        return -1;
    if (label->classes < 0 || label->classes > UINT8_MAX)
        return dbi_fail(error, "%lld classes, not from 0 to %d", (long long)label->classes, UINT8_MAX);
    if (label->classes && label->most > label->classes)
        return dbi_fail(error, "the label has a value of %d, above the %lld of \"classes\"", label->most,
                        (long long)label->classes);
    return 0;
}

static int from_scan(const char *path, dbi_label *label, dbi_error *error)
{
    dbi_scan scan;
    if (dbi_scan_load(path, DBI_SCAN_LABEL, NULL, &scan, error))
        return -1;
    dbi_orientation orientation;
    int status = -1;
    dbi_orientation_find(&scan.source.grid, &orientation);
    dbi_orientation_grid(&orientation, &scan.source.grid, &label->grid);
    label->placed = dbi_source_placed(&scan.source);
    const int64_t *n = label->grid.shape;
    if ((label->id = dbi_case_id(path, error)) && (label->voxels = dbi_alloc((size_t)(n[0] * n[1] * n[2]), 1, error)))
        status = dbi_voxels_label(&scan.label, scan.source.grid.shape, &orientation, UINT8_MAX, label->voxels,
                                  &label->most, error);
    if (status)
        dbi_fail_in(error, "%s", path);
    dbi_scan_free(&scan);
    return status;
}

int dbi_label_next(dbi_label_reader *reader, dbi_label *label, dbi_error *error)
{
    *label = (dbi_label){0};
    const int64_t index = reader->next++;
    int status;
    if (reader->records) {
        dbi_record *record;
        status = dbi_reader_next(reader->records, &record, error);
        if (status <= 0)
            return status;
        status = from_record(record, index, label, error);
        if (status)
            dbi_fail_in(error, "%s: record %lld", strcmp(reader->path, "-") ? reader->path : "standard input",
                        (long long)index);
        dbi_record_free(record);
    } else {
        if (index > 0)
            return 0;
        status = from_scan(reader->path, label, error);
    }
    if (status)
        dbi_label_free(label);
    return status ? -1 : 1;
}

int dbi_label_check(const dbi_label *prediction, const dbi_label *reference, dbi_error *error)
{
    const int64_t *p = prediction->grid.shape, *r = reference->grid.shape;
    if (prediction->named && reference->named && strcmp(prediction->id, reference->id))
        return dbi_fail(error, "a prediction of case \"%s\" against the reference \"%s\"", prediction->id,
                        reference->id);
    if (memcmp(p, r, 3 * sizeof *p))
        return dbi_fail(error, "a prediction of shape [%lld,%lld,%lld] against a reference of shape [%lld,%lld,%lld]",
                        (long long)p[0], (long long)p[1], (long long)p[2], (long long)r[0], (long long)r[1],
                        (long long)r[2]);
    if (prediction->placed && reference->placed && dbi_grid_same(&prediction->grid, &reference->grid, error))
        return dbi_fail_in(error, "prediction and reference are at different places");
    if (reference->classes && prediction->most > reference->classes)
        return dbi_fail(error, "the prediction has a label of %d, above the reference's %lld of \"classes\"",
                        prediction->most, (long long)reference->classes);
    if (prediction->classes && reference->most > prediction->classes)
        return dbi_fail(error, "the reference has a label of %d, above the prediction's %lld of \"classes\"",
                        reference->most, (long long)prediction->classes);
    return 0;
}

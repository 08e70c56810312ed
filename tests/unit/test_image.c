/* lib/image: what the programs cannot show, or not as closely. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "image/case.h"
#include "image/case_id.h"
#include "image/components.h"
#include "image/fence.h"
#include "image/formats.h"
#include "image/geometry.h"
#include "image/gzip.h"
#include "image/nifti_write.h"
#include "image/resample.h"
#include "image/restore.h"
#include "image/scan.h"
#include "image/source.h"
#include "record/bytes.h"
#include "record/json.h"
#include "record/metadata.h"
#include "record/sink.h"

enum { X = 13, Y = 11, Z = 9, COUNT = X * Y * Z };
static const int64_t shape[3] = {X, Y, Z};

static float *ramp(const int64_t n[3], double a, double b, double c)
{
    float *out = malloc((size_t)(n[0] * n[1] * n[2]) * sizeof *out), *at = out;
    for (int64_t x = 0; x < n[0]; x++)
        for (int64_t y = 0; y < n[1]; y++)
            for (int64_t z = 0; z < n[2]; z++)
                *at++ = (float)(a * (double)x + b * (double)y + c * (double)z);
    return out;
}

/* A ramp stays a ramp, away from the edges that are replicated, for wider and for finer grids. */
static void test_linear_keeps_ramps(void **state)
{
    (void)state;
    const double steps[][3] = {{1, 1, 1},     {0.5, 0.7, 0.31}, {1.5, 2, 3.3},
                               {0.4, 1, 2.7}, {1.01, 0.99, 1},  {1.1, 7.7, 1.4}};
    const int64_t n[3] = {40, 30, 20};
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        int64_t to[3];
        assert_int_equal(dbi_resample_shape(n, steps[s], to, NULL), 0);
        float *out = dbi_resample_linear(ramp(n, 1, 2, -3), n, steps[s], to, NULL), *at = out;
        assert_non_null(out);
        for (int64_t x = 0; x < to[0]; x++)
            for (int64_t y = 0; y < to[1]; y++)
                for (int64_t z = 0; z < to[2]; z++, at++) {
                    const int64_t i[] = {x, y, z};
                    double place[3];
                    int inside = 1;
                    for (int a = 0; a < 3; a++) {
                        place[a] = ((double)i[a] + 0.5) * steps[s][a] - 0.5;
                        double reach = fmax(1, steps[s][a]);
                        inside &= place[a] - reach >= -1 && place[a] + reach <= (double)n[a];
                    }
                    if (inside)
                        assert_float_equal(*at, (place[0] + 2 * place[1] - 3 * place[2]), 2e-4);
                }
        free(out);
    }
}

/* The highest frequency of the old grid does not come through a grid of twice the step as a lower one. */
static void test_linear_does_not_alias(void **state)
{
    (void)state;
    const int64_t n[3] = {64, 1, 1};
    const double step[3] = {2.1, 1, 1};
    int64_t to[3];
    float *in = malloc(64 * sizeof *in);
    for (int i = 0; i < 64; i++)
        in[i] = i % 2 ? 1 : -1;
    assert_int_equal(dbi_resample_shape(n, step, to, NULL), 0);
    float *out = dbi_resample_linear(in, n, step, to, NULL);
    for (int64_t i = 1; i + 2 < to[0]; i++)
        assert_true(fabsf(out[i]) < 0.1F);
    free(out);
}

static void test_sizes_are_bounded(void **state)
{
    (void)state;
    int64_t to[3];
    dbi_error error;
    assert_int_equal(dbi_resample_shape(shape, (double[]){1e-300, 1, 1}, to, &error), -1);
    assert_int_equal(dbi_resample_shape(shape, (double[]){1e300, 1e300, 1e300}, to, &error), 0);
    assert_int_equal(to[0] * to[1] * to[2], 1);
}

/* Steps that no integer can hold. */
static void test_large_steps(void **state)
{
    (void)state;
    static const double steps[] = {100, 1e15, 1e19, 1e300};
    const int64_t n[3] = {2, 3, 5}, to[3] = {2, 1, 2};
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        const double step[3] = {steps[s], steps[s], steps[s]};
        uint8_t in[30] = {[29] = 7};
        uint8_t *label = dbi_resample_nearest(in, n, step, to, NULL);
        float *image = dbi_resample_linear(ramp(n, 1, 1, 1), n, step, to, NULL);
        assert_non_null(label);
        assert_non_null(image);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(label[i], 7);
            assert_true(image[i] >= 0 && image[i] <= 7);
        }
        free(label);
        free(image);
    }
}

static void fill_random(uint8_t *label, uint32_t most, uint32_t stream)
{
    dbi_random r;
    dbi_random_start(&r, 3, DBI_ROLE_TEST, 0, stream);
    for (int i = 0; i < COUNT; i++)
        label[i] = (uint8_t)dbi_random_below(&r, most + 1);
}

/* By its definition, class by class. */
static void test_downsample(void **state)
{
    (void)state;
    uint8_t label[COUNT];
    float image[COUNT];
    for (int64_t factor = 1; factor <= 4; factor++) {
        fill_random(label, 2, (uint32_t)factor);
        for (int i = 0; i < COUNT; i++)
            image[i] = (float)(label[i] * label[i]) - 0.25F;
        uint8_t *small = dbi_downsample_label(label, shape, factor, NULL);
        float *mean = dbi_downsample_mean(image, shape, factor, NULL);
        int64_t at = 0;
        for (int64_t x = 0; x < X / factor; x++)
            for (int64_t y = 0; y < Y / factor; y++)
                for (int64_t z = 0; z < Z / factor; z++, at++) {
                    double share[3] = {0}, sum = 0;
                    for (int64_t v = 0; v < factor * factor * factor; v++) {
                        int64_t i = v / (factor * factor), j = v / factor % factor, k = v % factor;
                        int64_t from = ((x * factor + i) * Y + y * factor + j) * Z + z * factor + k;
                        share[label[from]] += 1 / (double)(factor * factor * factor);
                        sum += (double)image[from] / (double)(factor * factor * factor);
                    }
                    assert_int_equal(small[at], share[1] > 0.4999 ? 1 : share[2] > 0.4999 ? 2 : 0);
                    assert_float_equal(mean[at], sum, 1e-6);
                }
        free(small);
        free(mean);
    }
    assert_null(dbi_downsample_mean(image, shape, 10, NULL));
}

/* Flood fill, from each voxel not seen yet. */
static uint32_t flood(const uint8_t *label, uint8_t value, uint32_t *id)
{
    static int stack[COUNT];
    uint32_t count = 0;
    memset(id, 0, COUNT * sizeof *id);
    for (int seed = 0; seed < COUNT; seed++) {
        if (label[seed] != value || id[seed])
            continue;
        int top = 0;
        id[stack[top++] = seed] = ++count;
        while (top) {
            int at = stack[--top], x = at / (Y * Z), y = at / Z % Y, z = at % Z;
            for (int n = 0; n < 27; n++) {
                int i = x + n / 9 - 1, j = y + n / 3 % 3 - 1, k = z + n % 3 - 1, to = (i * Y + j) * Z + k;
                if (i >= 0 && i < X && j >= 0 && j < Y && k >= 0 && k < Z && label[to] == value && !id[to])
                    id[stack[top++] = to] = count;
            }
        }
    }
    return count;
}

static void test_components(void **state)
{
    (void)state;
    static uint32_t id[COUNT], wanted[COUNT];
    uint8_t label[COUNT];
    /* from nearly full to nearly empty: label 1 of 2, 3, ... values */
    for (uint32_t most = 1; most <= 40; most++) {
        uint32_t count;
        fill_random(label, most, 100 + most);
        assert_int_equal(dbi_components(label, 1, shape, id, &count, NULL), 0);
        assert_int_equal(count, flood(label, 1, wanted));
        assert_memory_equal(id, wanted, sizeof id);
    }
}

static void test_largest_components(void **state)
{
    (void)state;
    static uint32_t id[COUNT];
    uint8_t label[COUNT], kept[COUNT];
    fill_random(label, 20, 7);
    memcpy(kept, label, sizeof kept);
    assert_int_equal(dbi_largest_components(kept, shape, 20, NULL), 0);
    for (uint8_t k = 1; k <= 20; k++) {
        uint32_t count = flood(label, k, id), best = 1;
        int size[COUNT + 1] = {0};
        for (int i = 0; i < COUNT; i++)
            size[id[i]]++;
        for (uint32_t c = 2; c <= count; c++)
            best = size[c] > size[best] ? c : best;
        for (int i = 0; i < COUNT; i++)
            if (label[i] == k)
                assert_int_equal(kept[i], id[i] == best ? k : 0);
    }
    memset(kept, 0, sizeof kept);
    assert_int_equal(dbi_largest_components(kept, shape, 3, NULL), 0);
}

/* All 48 ways to lay the axes: the turn leads to RAS+, and world positions stay. */
static void test_orientations(void **state)
{
    (void)state;
    static const int permutations[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int way = 0; way < 48; way++) {
        dbi_grid grid = {.shape = {X, Y, Z}}, turned;
        dbi_orientation o;
        for (int a = 0; a < 3; a++) {
            for (int i = 0; i < 3; i++)
                grid.affine[i][a] = 0.1 * (i + 1) * (a == 1 ? -1 : 1); /* a little oblique */
            grid.affine[permutations[way % 6][a]][a] += (way / 6 >> a & 1 ? -1 : 1) * (a + 1.0);
            grid.affine[a][3] = 10 * a - 7;
        }
        grid.affine[3][3] = 1;
        dbi_orientation_find(&grid, &o);
        dbi_orientation_grid(&o, &grid, &turned);
        for (int a = 0; a < 3; a++) {
            assert_int_equal(o.axis[permutations[way % 6][a]], a);
            assert_true(turned.affine[a][a] > 0);
            assert_int_equal(turned.shape[a], shape[o.axis[a]]);
        }
        /* the turned grid's voxel (1,2,3) is at the scan's voxel that the turn says */
        const int64_t at[] = {1, 2, 3};
        int64_t index[3];
        for (int a = 0; a < 3; a++)
            index[o.axis[a]] = o.flip[a] ? turned.shape[a] - 1 - at[a] : at[a];
        for (int i = 0; i < 3; i++) {
            double here = turned.affine[i][3], there = grid.affine[i][3];
            for (int a = 0; a < 3; a++) {
                here += turned.affine[i][a] * (double)at[a];
                there += grid.affine[i][a] * (double)index[a];
            }
            assert_float_equal(here, there, 1e-12);
        }
    }
}

static void test_preparation_text(void **state)
{
    (void)state;
    dbi_error error;
    dbi_preparation p, q;
    dbi_preparation_default(&p);
    char *text = dbi_preparation_format(&p, NULL);
    assert_string_equal(text, "{\"crop\":\"none\",\"downsample\":1,\"normalize\":\"zscore\",\"spacing\":null}");
    free(text);
    p = (dbi_preparation){true, {0.1, 2, 1.0 / 3}, 2, {DBI_INTENSITY_WINDOW, -100.5, 1.0 / 3}, 25};
    text = dbi_preparation_format(&p, NULL);
    assert_int_equal(dbi_preparation_parse(text, &q, NULL), 0);
    char *again = dbi_preparation_format(&q, NULL);
    assert_string_equal(text, again);
    assert_true(q.resample && q.spacing[2] == p.spacing[2] && q.intensity.high == p.intensity.high && q.crop == 25 &&
                q.downsample == 2);
    free(text);
    free(again);
    static const char *const wrong[] = {
        "",
        "{}",
        "[]",
        "{\"crop\":\"none\",\"downsample\":0,\"normalize\":\"zscore\",\"spacing\":null}",
        "{\"crop\":\"none\",\"downsample\":1.5,\"normalize\":\"zscore\",\"spacing\":null}",
        "{\"crop\":\"none\",\"downsample\":1,\"normalize\":\"best\",\"spacing\":null}",
        "{\"crop\":\"label:x\",\"downsample\":1,\"normalize\":\"zscore\",\"spacing\":null}",
        "{\"crop\":\"none\",\"downsample\":1,\"normalize\":\"zscore\",\"spacing\":[1,2]}",
        "{\"crop\":\"none\",\"downsample\":1,\"normalize\":\"zscore\",\"spacing\":[1,2,0]}",
        "{\"crop\":\"none\",\"downsample\":1,\"normalize\":\"zscore\",\"spacing\":[1,2,\"3\"]}",
        "{\"crop\":\"none\",\"downsample\":1,\"normalize\":\"zscore\",\"spacing\":null,\"sharpen\":1}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(dbi_preparation_parse(wrong[i], &q, &error), -1);
}

static void test_case_ids(void **state)
{
    (void)state;
    char folder[] = "/tmp/dbisl-ids-XXXXXX";
    char *before = getcwd(NULL, 0);
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    static const char *const files[] = {"A.zip", "s1_T10:30:00.nii.gz", "A.zip:file.nii"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        fclose(fopen(files[i], "w"));
    static const char *const names[][2] = {
        {"s1_T10:30:00.nii.gz", "s1_T10:30:00"},
        {"A.zip:file.nii", "A.zip:file"},
        {"A.zip:d/s1_T10:30:00.nii.gz", "s1_T10:30:00"},
        {"A.zip:s1_T10:30:00.nii.gz", "s1_T10:30:00"},
        {"missing_T10:30:00.nii.gz", "missing_T10:30:00"},
        {"a/b/P01.nii.gz", "P01"},
        {"a\tb\n.nii", "a_b_"},
        {"P01.nii", "P01"},
        {"x.y.hdr.gz", "x.y"},
        {"-", "stdin"},
        {"A.zip:d/P02.h5", "P02"},
        {"A.zip:P02.nii", "P02"},
        {"d/P3/mri_norm2.h5", "P3"},
        {"P3/mri_norm2.h5", "P3"},
        {"mri_norm2.h5", "mri_norm2"},
        {"A.zip:P4/mri_norm2.h5", "P4"},
        {".nii", ".nii"},
        {"/mri_norm2.h5", "mri_norm2"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *id = dbi_case_id(names[i][0], NULL);
        assert_string_equal(id, names[i][1]);
        free(id);
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(files[i]);
    assert_int_equal(chdir(before), 0);
    free(before);
    rmdir(folder);
}

/* Geometry to metadata and back; and a crop of a case of two classes restored to a grid that is turned and finer. */
static void test_geometry_metadata(void **state)
{
    (void)state;
    const int64_t scan[3] = {30, 40, 50};
    dbi_geometry g = {.orientation = {{2, 0, 1}, {true, false, true}},
                      .resampled = true,
                      .ratio = {2.5, 1, 1.0 / 3},
                      .downsample = 2,
                      .cropped = true,
                      .offset = {1, 2, 3},
                      .size = {4, 5, 6}},
                 back;
    assert_int_equal(dbi_resample_shape((int64_t[]){50, 30, 40}, g.ratio, g.resampled_shape, NULL), 0);
    for (int a = 0; a < 3; a++)
        g.shape[a] = g.resampled_shape[a] / 2;
    dbi_record *record = dbi_record_new(NULL);
    assert_int_equal(dbi_geometry_set(record, &g, NULL), 0);
    assert_int_equal(dbi_geometry_get(record, scan, &back, NULL), 0);
    assert_memory_equal(&g.orientation.axis, &back.orientation.axis, sizeof g.orientation.axis);
    assert_memory_equal(&g.ratio, &back.ratio, sizeof g.ratio);
    assert_memory_equal(&g.shape, &back.shape, sizeof g.shape);
    assert_memory_equal(&g.size, &back.size, sizeof g.size);
    assert_float_equal(dbi_geometry_step(&back, 0), 5, 0);
    dbi_error error;
    assert_int_equal(dbi_geometry_get(record, (int64_t[]){30, 40, 44}, &back, &error), -1);
    dbi_record_free(record);
}

/* What can be written can be read, and what cannot be read is not written. */
static void test_source_metadata(void **state)
{
    (void)state;
    static const int codes[] = {0, 4, 255, 256, DBI_MOST_CODE, DBI_MOST_CODE + 1, INT_MAX, -1};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        dbi_error error;
        dbi_source back, source = {.grid = {.shape = {X, Y, Z}},
                                   .format = "nifti2",
                                   .sform_code = codes[i],
                                   .qform_code = 1,
                                   .qfac = 1,
                                   .units = 2};
        for (int a = 0; a < 4; a++)
            source.grid.affine[a][a] = 1;
        dbi_record *record = dbi_record_new(NULL);
        bool good = codes[i] >= 0 && codes[i] <= DBI_MOST_CODE;
        assert_int_equal(dbi_source_set(record, &source, &error), good ? 0 : -1);
        if (good) {
            assert_int_equal(dbi_source_get(record, &back, &error), 0);
            assert_int_equal(back.sform_code, codes[i]);
        }
        dbi_record_free(record);
    }
}

/* Blocks and their borders: what gzip undoes is what was written. */
static void test_gzip(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 352, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 17 << 20};
    char path[] = "/tmp/dbisl-gzip-XXXXXX.gz";
    int fd = mkstemps(path, 3);
    assert_true(fd >= 0);
    close(fd);
    uint8_t *data = malloc(17 << 20);
    dbi_random r;
    dbi_random_start(&r, 1, DBI_ROLE_TEST, 0, 0);
    for (size_t i = 0; i < 17 << 20; i++)
        data[i] = (uint8_t)(i < 3 << 20 ? dbi_random_u32(&r) : i >> 8); /* what cannot be compressed, and what can */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *back;
        size_t size;
        dbi_sink *sink = dbi_sink_open(path, NULL);
        assert_int_equal(dbi_gzip_write(sink, data, sizes[i], 1, NULL), 0);
        assert_int_equal(dbi_sink_commit(sink, NULL), 0);
        if (sizes[i] == 0)
            continue; /* an input without bytes is an error of its own */
        assert_int_equal(dbi_bytes_read(path, 0, &back, &size, NULL), 0);
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(back, data, size);
        free(back);
    }
    free(data);
    unlink(path);
}

static void test_intensity_text(void **state)
{
    (void)state;
    static const char *const right[] = {"zscore", "zscore:foreground", "none", "window:-100,240.5"};
    static const char *const wrong[] = {
        "",           "z",          "window:",      "window:1",     "window:1,",   "window:2,1",
        "window:1,1", "window:a,b", "window:1,2,3", "window:nan,2", "window:1,inf"};
    dbi_intensity i;
    dbi_error error;
    char text[80];
    for (size_t k = 0; k < sizeof right / sizeof *right; k++) {
        assert_int_equal(dbi_intensity_parse(right[k], &i, NULL), 0);
        dbi_intensity_format(&i, text);
        assert_string_equal(text, right[k]);
    }
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++)
        assert_int_equal(dbi_intensity_parse(wrong[k], &i, NULL), -1);
    assert_int_equal(dbi_intensity_parse("foo", &i, &error), -1);
    assert_string_equal(error.text, "\"foo\": choose none, zscore, zscore:foreground or window:LO,HI");
}

/* Large offsets do not cost the deviation its digits; more voxels than one block of sums. */
static void test_intensity_precision(void **state)
{
    (void)state;
    enum { MANY = 200000 };
    float *v = malloc(MANY * sizeof *v);
    dbi_intensity_result result;
    for (int i = 0; i < MANY; i++)
        v[i] = 1e5F + (float)(i % 2);
    assert_int_equal(dbi_intensity_apply(&(dbi_intensity){.kind = DBI_INTENSITY_ZSCORE}, v, MANY, &result, NULL), 0);
    assert_float_equal(result.shift, (1e5 + 0.5), 1e-9);
    assert_float_equal(result.scale, 0.5, 1e-9);
    for (int i = 0; i < MANY; i++)
        assert_float_equal(v[i], (i % 2 ? 1 : -1), 1e-5);
    dbi_error error;
    for (int i = 0; i < MANY; i++)
        v[i] = 3;
    assert_int_equal(dbi_intensity_apply(&(dbi_intensity){.kind = DBI_INTENSITY_NONE}, v, MANY, &result, &error), -1);
    free(v);
}

/* Finite voxels whose normalization is not; and voxels that were not finite before it. */
static void test_intensity_stays_finite(void **state)
{
    (void)state;
    static const float values[][4] = {{0, 0, 1e-20F, -1e30F}, {0, 1, 2, INFINITY}, {0, 1, 2, NAN}, {NAN, 1, 2, 3}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        dbi_intensity_result result;
        dbi_error error;
        float v[4];
        memcpy(v, values[i], sizeof v);
        assert_int_equal(dbi_intensity_apply(&(dbi_intensity){.kind = DBI_INTENSITY_FOREGROUND}, v, 4, &result, &error),
                         -1);
        memcpy(v, values[i], sizeof v);
        int bad = dbi_intensity_apply(&(dbi_intensity){.kind = DBI_INTENSITY_NONE}, v, 4, &result, &error);
        assert_int_equal(bad, i ? -1 : 0);
    }
}

/* jansson's memory: the allocation after so many others fails. */
static _Thread_local int left = INT_MAX;

static void *scarce_malloc(size_t size)
{
    return left-- == 0 ? NULL : malloc(size);
}

/* *failed: the allocation has been asked for. */
static dbi_record *small_case(const char *path, int allocations, bool *failed)
{
    const dbi_case_input input = {.scans = (const char *const[]){path, path}, .channels = 2, .label = path};
    dbi_preparation settings;
    dbi_error error = {""};
    dbi_preparation_default(&settings);
    settings.resample = true;
    settings.downsample = 2;
    settings.crop = 1;
    settings.spacing[0] = settings.spacing[1] = settings.spacing[2] = 0.5;
    left = allocations;
    dbi_record *record = dbi_case_from_scan(&input, &settings, &error);
    *failed = left < 0;
    left = INT_MAX;
    assert_true(record || error.text[0]);
    return record;
}

/* Where jansson gets no memory, at whatever place, there is an error and not a case that lacks something. */
static void test_scarce_memory(void **state)
{
    (void)state;
    char path[] = "/tmp/dbisl-scarce-XXXXXX.nii";
    int fd = mkstemps(path, 4);
    assert_true(fd >= 0);
    close(fd);
    dbi_volume volume;
    dbi_grid grid = {.shape = {5, 5, 5}, .affine = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}}};
    assert_int_equal(dbi_volume_new(&volume, &grid, 1, DBI_U8, NULL), 0);
    memset((uint8_t *)volume.data + 62, 1, 20);
    assert_int_equal(dbi_scan_write(path, &volume, NULL, NULL), 0);
    dbi_volume_free(&volume);
    json_decref(dbi_json_parse("1", 1, NULL)); /* sets its own functions once */
    json_set_alloc_funcs(scarce_malloc, free);
    static const char *const keys[] = {
        "kind", "id", "affine", "spacing", "source", "geometry", "preprocessing", "normalization", "history"};
    bool failed;
    int count = 0;
    dbi_record *whole = small_case(path, INT_MAX, &failed), *record;
    assert_non_null(whole);
    do {
        record = small_case(path, count++, &failed);
        for (size_t k = 0; record && k < sizeof keys / sizeof *keys; k++)
            assert_string_equal(dbi_meta_get(record, keys[k]), dbi_meta_get(whole, keys[k]));
        dbi_record_free(record);
    } while (failed);
    assert_true(count > 100);
    json_set_alloc_funcs(malloc, free);
    dbi_record_free(whole);
    unlink(path);
}

static volatile int spun;

static int fenced(const void *input, uint8_t **reply, size_t *size, dbi_error *error)
{
    const char *what = input;
    if (!strcmp(what, "crash"))
        raise(SIGSEGV);
    if (!strcmp(what, "abort"))
        abort();
    while (!strcmp(what, "spin"))
        spun = 0;
    if (!strcmp(what, "memory"))
        return (*reply = malloc((size_t)1 << 30)) ? 0 : dbi_fail(error, "no memory");
    if (!strcmp(what, "error"))
        return dbi_fail(error, "wrong %d", 7);
    *size = !strcmp(what, "large") ? 2000000 : strlen(what);
    *reply = calloc(2000000, 1);
    memcpy(*reply, what, strlen(what));
    return 0;
}

/* What happens behind the fence is an error with a message in front of it; and a reply comes through. */
static void test_fence(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"crash", "the library that reads such files crashed (Segmentation fault): the file is damaged"},
        {"abort", "the library that reads such files crashed (Aborted): the file is damaged"},
        {"spin", "it takes too long to find out what is in the file: damaged?"},
        {"memory", "no memory"},
        {"error", "wrong 7"},
        {"large", NULL},
    };
    uint8_t *reply;
    size_t size;
    dbi_error error;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(dbi_fence(fenced, cases[i][0], 1, 1000000, &reply, &size, &error), -1);
        assert_null(reply);
        if (cases[i][1])
            assert_string_equal(error.text, cases[i][1]);
    }
    assert_int_equal(dbi_fence(fenced, "good", 1, 1000000, &reply, &size, &error), 0);
    assert_int_equal(size, 4);
    assert_memory_equal(reply, "good", 4);
    free(reply);
}

/* Every row of the table is complete, and is found by what it says of itself. */
static void test_formats(void **state)
{
    (void)state;
    static const char *const scans[] = {"a.nii", "a.NII.GZ", "a.hdr", "a.img.gz", "d/a.h5", "A.zip:a.hdf5", ".nii"};
    static const char *const no_scans[] = {"a.h5.gz", "a.gz", "nii", "a.st.zst", "", "a.nii/b"};
    static const char *const written[] = {"a.nii", "a.nii.gz", "a.Nii", "-"};
    static const char *const not_written[] = {".nii", ".nii.gz", "a.img", "a.h5", "a.st", ""};
    const dbi_scan_format *format;
    dbi_error error;
    size_t rows = 0, endings = 0;
    for (; (format = dbi_format_at(rows)); rows++) {
        assert_true(format->name && format->kind[0] && format->endings[0] && format->probe && format->read);
        assert_true(!format->write == !format->written[0]);
        for (const char *const *kind = format->kind; *kind; kind++) {
            assert_ptr_equal(dbi_format_of_kind(*kind), format);
            assert_true(strlen(*kind) < sizeof((dbi_source *)NULL)->format);
        }
        for (const char *const *end = format->written; *end; end++)
            assert_string_equal(dbi_format_written_at(endings++), *end);
    }
    assert_null(dbi_format_written_at(endings));
    assert_true(rows >= 2);
    for (size_t i = 0; i < sizeof scans / sizeof *scans; i++)
        assert_non_null(dbi_format_of_name(scans[i]));
    for (size_t i = 0; i < sizeof no_scans / sizeof *no_scans; i++)
        assert_null(dbi_format_of_name(no_scans[i]));
    for (size_t i = 0; i < sizeof written / sizeof *written; i++)
        assert_non_null(dbi_format_to_write(written[i], NULL));
    for (size_t i = 0; i < sizeof not_written / sizeof *not_written; i++)
        assert_null(dbi_format_to_write(not_written[i], &error));
    assert_null(dbi_format_to_write("a.mha", &error));
    assert_string_equal(error.text, "a.mha: the name of a NIfTI file ends in .nii.gz or .nii");
    assert_null(dbi_format_of_bytes((const uint8_t *)"PK\3\4", 4, &error));
    assert_true(!strncmp(error.text, "neither NIfTI", 13) && strstr(error.text, "HDF5") &&
                strstr(error.text, ", but a zip archive"));
    assert_string_equal(dbi_format_of_bytes((const uint8_t *)"\x89HDF\r\n\x1a\n", 8, NULL)->name, "HDF5");
    assert_string_equal(dbi_format_of_bytes((const uint8_t *)"\x5c\1\0\0", 4, NULL)->name, "NIfTI");
    assert_null(dbi_format_of_kind("nifti3"));
}

/* A format that is not NIfTI says its place by the grid alone. */
static void test_place_of_another_format(void **state)
{
    (void)state;
    dbi_source source = {
        .grid = {.shape = {2, 3, 4}, .affine = {{-1, 0.5, 0, 7}, {0.5, 2, 0, -8}, {0, 0, 3, 9}, {0, 0, 0, 1}}},
        .format = "other"};
    char path[] = "/tmp/dbisl-test-image-XXXXXX.nii";
    dbi_volume volume;
    dbi_scan scan;
    dbi_error error;
    const int file = mkstemps(path, 4);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(dbi_volume_new(&volume, &(dbi_grid){.shape = {2, 3, 4}}, 1, DBI_U8, &error), 0);
    assert_int_equal(dbi_nifti_write(path, &volume, &source, &error), 0);
    assert_int_equal(dbi_scan_load(path, DBI_SCAN_LABEL, NULL, &scan, &error), 0);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            assert_float_equal(scan.source.grid.affine[i][j], source.grid.affine[i][j], 1e-6);
    dbi_scan_free(&scan);
    dbi_volume_free(&volume);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_keeps_ramps),
        cmocka_unit_test(test_linear_does_not_alias),
        cmocka_unit_test(test_sizes_are_bounded),
        cmocka_unit_test(test_large_steps),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_place_of_another_format),
        cmocka_unit_test(test_fence),
        cmocka_unit_test(test_scarce_memory),
        cmocka_unit_test(test_intensity_stays_finite),
        cmocka_unit_test(test_downsample),
        cmocka_unit_test(test_components),
        cmocka_unit_test(test_largest_components),
        cmocka_unit_test(test_orientations),
        cmocka_unit_test(test_preparation_text),
        cmocka_unit_test(test_case_ids),
        cmocka_unit_test(test_geometry_metadata),
        cmocka_unit_test(test_source_metadata),
        cmocka_unit_test(test_gzip),
        cmocka_unit_test(test_intensity_text),
        cmocka_unit_test(test_intensity_precision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

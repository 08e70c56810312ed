/* Batches: pure functions of seed and number, image, label and distance moved together, and nothing of what must not be
 * in them. */
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/parallel.h"
#include "cohort/ahead.h"
#include "cohort/sampler.h"
#include "record/checksum.h"
#include "record/metadata.h"
#include "record/stream.h"

enum { CASES = 7, LABELED = 3, CLASSES = 3 };

static char directory[] = "/tmp/test_sampler.XXXXXX";
static dbi_error error;

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) && !chdir(directory) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *is, int kind, struct FTW *place)
{
    (void)is, (void)kind, (void)place;
    return remove(path);
}

static int remove_directory(void **state)
{
    (void)state;
    return chdir("/") || nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Every voxel of a test case says where it is: the image holds 1 + its index in the case plus a million for each case,
 * label and distance are functions of that number. */
static const int64_t shapes[CASES][3] = {{14, 11, 9}, {9, 13, 12}, {5, 14, 6}, {12, 12, 8},
                                         {13, 6, 10}, {7, 9, 5},   {16, 10, 9}};

static uint8_t label_of(int64_t number)
{
    return (uint8_t)((uint64_t)number * 2654435761u >> 7 & 3);
}

static float distance_of(int64_t number, int class)
{
    return (float)((number * (class + 3)) % 1000) / 1000 - 0.5f;
}

static dbi_record *make_case(int c, bool label)
{
    dbi_record *record = dbi_record_new(&error);
    const int64_t *n = shapes[c];
    float *image = dbi_record_add(record, "image", DBI_F32, 4, (int64_t[]){2, n[0], n[1], n[2]}, &error)->data;
    int64_t voxels = n[0] * n[1] * n[2];
    for (int64_t i = 0; i < voxels; i++) {
        image[i] = (float)(1000000 * (c + 1) + 1 + i);
        image[voxels + i] = -image[i];
    }
    if (label) {
        uint8_t *l = dbi_record_add(record, "label", DBI_U8, 3, n, &error)->data;
        float *sdf = dbi_record_add(record, "sdf", DBI_F32, 4, (int64_t[]){CLASSES, n[0], n[1], n[2]}, &error)->data;
        for (int64_t i = 0; i < voxels; i++) {
            l[i] = label_of((int64_t)image[i]);
            for (int k = 0; k < CLASSES; k++)
                sdf[k * voxels + i] = distance_of((int64_t)image[i], k);
        }
        assert_int_equal(dbi_meta_set_int(record, "classes", CLASSES, &error), 0);
        assert_int_equal(dbi_meta_set(record, "sdf", "{\"normalize\":\"clip:10\",\"transform\":\"exact\"}", &error), 0);
    }
    assert_int_equal(dbi_meta_set(record, "kind", "case", &error), 0);
    assert_int_equal(dbi_meta_set_format(record, "id", &error, "case%d", c), 0);
    assert_int_equal(dbi_meta_set(record, "preprocessing", "{\"normalize\":\"zscore\"}", &error), 0);
    assert_int_equal(dbi_meta_set(record, "spacing", "[1.5,1.5,2]", &error), 0);
    return record;
}

static void save(dbi_record *record, const char *path)
{
    remove(path); /* some file systems sync what is overwritten */
    if (dbi_record_save(record, path, &(dbi_compression){0}, &error))
        fail_msg("%s", error.text);
    dbi_record_free(record);
}

/* case0 ... case6, the first three labelled; all have labels in their files. */
static dbi_manifest make_cohort(void)
{
    dbi_manifest manifest = {0};
    for (int c = 0; c < CASES; c++) {
        char path[32], id[32];
        snprintf(path, sizeof path, "case%d.st.zst", c);
        snprintf(id, sizeof id, "case%d", c);
        save(make_case(c, true), path);
        assert_int_equal(
            dbi_manifest_add(&manifest, path, id, c < LABELED ? DBI_PART_LABELED : DBI_PART_UNLABELED, &error), 0);
    }
    return manifest;
}

static dbi_sampler_settings small_settings(void)
{
    dbi_sampler_settings s = dbi_sampler_defaults();
    memcpy(s.patch, (int64_t[]){10, 8, 7}, sizeof s.patch);
    s.seed = 42;
    return s;
}

static dbi_sampler *open_sampler(const dbi_manifest *manifest, const dbi_sampler_settings *settings)
{
    dbi_sampler *sampler = dbi_sampler_open(manifest, settings, &error);
    if (!sampler)
        fail_msg("%s", error.text);
    return sampler;
}

static dbi_record *batch_of(dbi_sampler *sampler, uint32_t step)
{
    dbi_record *batch = dbi_sampler_batch(sampler, step, &error);
    if (!batch)
        fail_msg("%s", error.text);
    return batch;
}

static void checksum_of(const dbi_manifest *manifest, const dbi_sampler_settings *settings, uint32_t step,
                        char text[33])
{
    dbi_sampler *sampler = open_sampler(manifest, settings);
    dbi_record *batch = batch_of(sampler, step);
    assert_int_equal(dbi_record_checksum(batch, text, &error), 0);
    dbi_record_free(batch);
    dbi_sampler_close(sampler);
}

/* What one sample was made by, read off its image. */
typedef struct seen {
    int which;                 /* case */
    int axis[3], sign[3];      /* patch axis a runs along case axis axis[a], forwards or backwards */
    int64_t corner[3], inside; /* case position at patch position 0; voxels of the case in the patch */
} seen;

static int64_t at(const int64_t patch[3], int64_t x, int64_t y, int64_t z)
{
    return (x * patch[1] + y) * patch[2] + z;
}

/* Finds the placement from the first run of neighbours inside the case and checks that every voxel follows it. */
static seen look(const float *image, const int64_t patch[3])
{
    int64_t voxels = patch[0] * patch[1] * patch[2], first = 0;
    while (first < voxels && image[first] == 0)
        first++;
    assert_true(first < voxels);
    seen s = {.which = (int)(image[first] / 1000000) - 1};
    assert_in_range(s.which, 0, CASES - 1);
    const int64_t *n = shapes[s.which], stride[3] = {n[1] * n[2], n[2], 1}, base = 1000000 * (s.which + 1) + 1;
    const int64_t here[3] = {first / (patch[1] * patch[2]), first / patch[2] % patch[1], first % patch[2]};
    int64_t index = (int64_t)image[first] - base;
    const int64_t position[3] = {index / stride[0], index / stride[1] % n[1], index % n[2]};
    for (int a = 0; a < 3; a++) {
        int64_t next[3] = {here[0], here[1], here[2]};
        next[a]++;
        assert_true(next[a] < patch[a]);
        int64_t step = (int64_t)image[at(patch, next[0], next[1], next[2])] - (int64_t)image[first];
        for (int b = 0; b < 3; b++)
            if (llabs(step) == stride[b]) {
                s.axis[a] = b;
                s.sign[a] = step > 0 ? 1 : -1;
            }
        assert_int_not_equal(s.sign[a], 0);
    }
    assert_int_not_equal(s.axis[0], s.axis[1]);
    for (int a = 0; a < 3; a++)
        s.corner[s.axis[a]] = position[s.axis[a]] - s.sign[a] * here[a];
    for (int64_t x = 0; x < patch[0]; x++)
        for (int64_t y = 0; y < patch[1]; y++)
            for (int64_t z = 0; z < patch[2]; z++) {
                const int64_t p[3] = {x, y, z};
                int64_t c[3], expected = 0;
                for (int a = 0; a < 3; a++)
                    c[s.axis[a]] = s.corner[s.axis[a]] + s.sign[a] * p[a];
                if (c[0] >= 0 && c[1] >= 0 && c[2] >= 0 && c[0] < n[0] && c[1] < n[1] && c[2] < n[2])
                    expected = base + c[0] * stride[0] + c[1] * stride[1] + c[2] * stride[2];
                assert_true((int64_t)image[at(patch, x, y, z)] == expected);
                s.inside += expected != 0;
            }
    return s;
}

static const float *floats(const dbi_record *batch, const char *name)
{
    return dbi_record_find(batch, name)->data;
}

static void test_all_tensors_move_together(void **state)
{
    (void)state;
    dbi_manifest manifest = make_cohort();
    dbi_sampler_settings s = small_settings();
    s.truth = true;
    dbi_sampler *sampler = open_sampler(&manifest, &s);
    size_t voxels = (size_t)(s.patch[0] * s.patch[1] * s.patch[2]);
    for (uint32_t step = 0; step < 40; step++) {
        dbi_record *batch = batch_of(sampler, step);
        const float *image = floats(batch, "image"), *sdf = floats(batch, "sdf");
        const uint8_t *label = dbi_record_find(batch, "label")->data, *truth = dbi_record_find(batch, "truth")->data;
        int which[4];
        for (int i = 0; i < 4; i++) {
            const float *mine = image + (size_t)i * 2 * voxels;
            seen was = look(mine, s.patch);
            which[i] = was.which;
            assert_true(i < 2 ? was.which < LABELED : was.which >= LABELED);
            /* As much of the case as fits is in the patch. */
            const int64_t *n = shapes[was.which];
            int64_t most = 1;
            for (int a = 0; a < 3; a++)
                most *= n[was.axis[a]] < s.patch[a] ? n[was.axis[a]] : s.patch[a];
            assert_int_equal(was.inside, most);
            const uint8_t *l = i < 2 ? label + (size_t)i * voxels : truth + (size_t)(i - 2) * voxels;
            for (size_t v = 0; v < voxels; v++) {
                assert_true(mine[voxels + v] == -mine[v]);
                assert_int_equal(l[v], mine[v] != 0 ? label_of((int64_t)mine[v]) : 0);
                for (int k = 0; i < 2 && k < CLASSES; k++)
                    assert_true(sdf[((size_t)i * CLASSES + (size_t)k) * voxels + v] ==
                                (mine[v] != 0 ? distance_of((int64_t)mine[v], k) : -1));
            }
        }
        assert_int_not_equal(which[0], which[1]);
        assert_int_not_equal(which[2], which[3]);
        dbi_record_free(batch);
    }
    dbi_sampler_close(sampler);
    dbi_manifest_free(&manifest);
}

/* A distance map that is not clipped continues with its smallest value. */
static void test_padding_of_an_unclipped_distance(void **state)
{
    (void)state;
    dbi_record *record = make_case(2, true);
    assert_int_equal(dbi_meta_set(record, "sdf", "{\"normalize\":\"none\"}", &error), 0);
    save(record, "max.st.zst");
    dbi_manifest manifest = {0};
    assert_int_equal(dbi_manifest_add(&manifest, "max.st.zst", "max", DBI_PART_LABELED, &error), 0);
    dbi_sampler_settings s = small_settings();
    s.unlabeled = 0;
    s.labeled = 1;
    dbi_sampler *sampler = open_sampler(&manifest, &s);
    dbi_record *batch = batch_of(sampler, 0);
    const float *image = floats(batch, "image"), *sdf = floats(batch, "sdf");
    size_t voxels = (size_t)(s.patch[0] * s.patch[1] * s.patch[2]), beyond = 0;
    for (int k = 0; k < CLASSES; k++) {
        float smallest = INFINITY;
        for (int64_t i = 0; i < 5 * 14 * 6; i++)
            smallest = fminf(smallest, distance_of(3000001 + i, k));
        for (size_t v = 0; v < voxels; v++)
            if (image[v] == 0) {
                assert_true(sdf[(size_t)k * voxels + v] == smallest);
                beyond++;
            }
    }
    assert_true(beyond > 0);
    dbi_record_free(batch);
    dbi_sampler_close(sampler);
    dbi_manifest_free(&manifest);
}

/* Which of the 16 ways to lay a case into a patch occur: bit 0 the swap of the first two axes, bits 1 to 3 the mirrored
 * patch axes. */
static unsigned ways(const dbi_manifest *manifest, const dbi_sampler_settings *s, int counts[16])
{
    unsigned all = 0;
    dbi_sampler *sampler = open_sampler(manifest, s);
    size_t voxels = (size_t)(s->patch[0] * s->patch[1] * s->patch[2]);
    for (uint32_t step = 0; step < 100; step++) {
        dbi_record *batch = batch_of(sampler, step);
        for (int i = 0; i < 4; i++) {
            seen was = look(floats(batch, "image") + (size_t)i * 2 * voxels, s->patch);
            int way = (was.axis[0] != 0) | (was.sign[0] < 0) << 1 | (was.sign[1] < 0) << 2 | (was.sign[2] < 0) << 3;
            all |= 1u << way;
            counts[way]++;
        }
        dbi_record_free(batch);
    }
    dbi_sampler_close(sampler);
    return all;
}

static void test_turns_and_flips(void **state)
{
    (void)state;
    dbi_manifest manifest = make_cohort();
    dbi_sampler_settings s = small_settings();
    int counts[16] = {0}, others[16] = {0};
    assert_int_equal(ways(&manifest, &s, counts), 0xff); /* all eight, the third axis left alone */
    for (int w = 0; w < 8; w++)
        assert_in_range(counts[w], 25, 75); /* 400 samples, 50 each; standard deviation 6.6 */
    s.turn = false;
    assert_int_equal(ways(&manifest, &s, others), 1 << 0 | 1 << 2 | 1 << 4 | 1 << 6);
    s.flip = false;
    assert_int_equal(ways(&manifest, &s, others), 1 << 0);
    s.turn = true; /* the four rotations: a swap goes with one mirrored axis, no swap with none or both */
    assert_int_equal(ways(&manifest, &s, others), 1 << 0 | 1 << 3 | 1 << 5 | 1 << 6);
    s.flip = s.flip_z = true;
    assert_int_equal(ways(&manifest, &s, others), 0xffff);
    dbi_manifest_free(&manifest);
}

/* Quarter turns would distort these: they are drawn, and not made. */
static void test_turns_of_thick_slices(void **state)
{
    (void)state;
    dbi_manifest manifest = make_cohort();
    for (int c = 0; c < CASES; c++) {
        dbi_record *record = make_case(c, true);
        assert_int_equal(dbi_meta_set(record, "spacing", "[4,0.6,0.6]", &error), 0);
        save(record, manifest.rows[c].path);
    }
    dbi_sampler_settings s = small_settings();
    int counts[16] = {0}, others[16] = {0};
    assert_int_equal(ways(&manifest, &s, counts), 1 << 0 | 1 << 2 | 1 << 4 | 1 << 6);
    s.flip = false;
    assert_int_equal(ways(&manifest, &s, others), 1 << 0 | 1 << 6);
    dbi_manifest_free(&manifest);
}

/* Every place where a patch fits is drawn, the first and the last included. */
static void test_places(void **state)
{
    (void)state;
    dbi_manifest manifest = {0};
    save(make_case(0, true), "case0.st.zst");
    assert_int_equal(dbi_manifest_add(&manifest, "case0.st.zst", "case0", DBI_PART_LABELED, &error), 0);
    dbi_sampler_settings s = small_settings();
    s.labeled = 4;
    s.unlabeled = 0;
    s.turn = s.flip = false;
    memcpy(s.patch, (int64_t[]){10, 11, 12}, sizeof s.patch); /* of 14, 11, 9 */
    int x[5] = {0}, z[4] = {0};
    dbi_sampler *sampler = open_sampler(&manifest, &s);
    for (uint32_t step = 0; step < 50; step++) {
        dbi_record *batch = batch_of(sampler, step);
        for (int i = 0; i < 4; i++) {
            seen was = look(floats(batch, "image") + i * 2 * 10 * 11 * 12, s.patch);
            assert_in_range(was.corner[0], 0, 4);
            assert_int_equal(was.corner[1], 0);
            assert_in_range(-was.corner[2], 0, 3);
            x[was.corner[0]]++;
            z[-was.corner[2]]++;
        }
        dbi_record_free(batch);
    }
    for (int i = 0; i < 5; i++)
        assert_in_range(x[i], 20, 60);
    for (int i = 0; i < 4; i++)
        assert_in_range(z[i], 28, 72);
    dbi_sampler_close(sampler);
    dbi_manifest_free(&manifest);
}

static void test_batches_are_functions_of_their_number(void **state)
{
    (void)state;
    dbi_manifest manifest = make_cohort();
    dbi_sampler_settings s = small_settings();
    s.intensity = 0.2;
    s.noise = 0.1;
    char alone[33], other[33];
    checksum_of(&manifest, &s, 17, alone);
    dbi_sampler *sampler = open_sampler(&manifest, &s);
    for (uint32_t step = 10; step < 20; step++) {
        dbi_record *batch = batch_of(sampler, step);
        assert_int_equal(dbi_record_checksum(batch, other, &error), 0);
        assert_int_equal(strcmp(alone, other) == 0, step == 17);
        dbi_record_free(batch);
    }
    dbi_sampler_close(sampler);
    s.cache_bytes = 0;
    checksum_of(&manifest, &s, 17, other);
    assert_string_equal(alone, other);
    dbi_set_threads(5);
    checksum_of(&manifest, &s, 17, other);
    assert_string_equal(alone, other);
    dbi_set_threads(1);
    checksum_of(&manifest, &s, 17, other);
    assert_string_equal(alone, other);
    s.seed++;
    checksum_of(&manifest, &s, 17, other);
    assert_string_not_equal(alone, other);
    dbi_manifest_free(&manifest);
}

static void test_labeled_samples_do_not_depend_on_the_others(void **state)
{
    (void)state;
    dbi_manifest manifest = make_cohort();
    dbi_sampler_settings s = small_settings(), alone = s, more = s;
    s.noise = alone.noise = more.noise = 0.5;
    alone.unlabeled = 0;
    more.labeled = 3;
    more.unlabeled = 4;
    const dbi_sampler_settings *settings[] = {&s, &alone, &more};
    size_t voxels = (size_t)(s.patch[0] * s.patch[1] * s.patch[2]);
    for (uint32_t step = 0; step < 5; step++) {
        dbi_record *batch[3];
        for (int i = 0; i < 3; i++) {
            dbi_sampler *sampler = open_sampler(&manifest, settings[i]);
            batch[i] = batch_of(sampler, step);
            dbi_sampler_close(sampler);
        }
        for (int i = 1; i < 3; i++) {
            assert_memory_equal(floats(batch[0], "image"), floats(batch[i], "image"), 2 * 2 * voxels * sizeof(float));
            assert_memory_equal(floats(batch[0], "label"), floats(batch[i], "label"), 2 * voxels);
            assert_memory_equal(floats(batch[0], "sdf"), floats(batch[i], "sdf"), 2 * CLASSES * voxels * sizeof(float));
        }
        /* and the unlabelled ones not on the labelled ones */
        assert_memory_equal(floats(batch[0], "image") + 2 * 2 * voxels, floats(batch[2], "image") + 3 * 2 * voxels,
                            2 * 2 * voxels * sizeof(float));
        assert_null(dbi_record_find(batch[1], "truth"));
        for (int i = 0; i < 3; i++)
            dbi_record_free(batch[i]);
    }
    dbi_manifest_free(&manifest);
}

/* The labels of unlabelled cases can be anything, or missing, and no byte of a batch changes; those of labelled cases
 * cannot. */
static void test_unlabeled_labels_stay_out(void **state)
{
    (void)state;
    dbi_manifest manifest = make_cohort();
    dbi_sampler_settings s = small_settings(), with_truth = s;
    with_truth.truth = true;
    char before[33], truth_before[33], after[33];
    checksum_of(&manifest, &s, 3, before);
    checksum_of(&manifest, &with_truth, 3, truth_before);
    for (int c = LABELED; c < CASES; c++) {
        dbi_record *record = make_case(c, true);
        dbi_tensor *label = dbi_record_find(record, "label"), *sdf = dbi_record_find(record, "sdf");
        for (size_t i = 0; i < label->count; i++)
            ((uint8_t *)label->data)[i] ^= 1;
        for (size_t i = 0; i < sdf->count; i++)
            ((float *)sdf->data)[i] += 1;
        save(record, manifest.rows[c].path);
    }
    checksum_of(&manifest, &s, 3, after);
    assert_string_equal(before, after);
    checksum_of(&manifest, &with_truth, 3, after);
    assert_string_not_equal(truth_before, after);
    for (int c = LABELED; c < CASES; c++)
        save(make_case(c, false), manifest.rows[c].path);
    checksum_of(&manifest, &s, 3, after);
    assert_string_equal(before, after);
    assert_null(dbi_sampler_open(&manifest, &with_truth, &error));
    assert_non_null(strstr(error.text, "case3.st.zst: record 0: no tensor \"label\""));
    dbi_record *record = make_case(0, true);
    ((uint8_t *)dbi_record_find(record, "label")->data)[500] ^= 1;
    save(record, manifest.rows[0].path);
    bool differs = false;
    for (uint32_t step = 0; step < 10 && !differs; step++) {
        dbi_sampler *sampler = open_sampler(&manifest, &s);
        dbi_record *changed = batch_of(sampler, step);
        dbi_sampler_close(sampler);
        const float *image = floats(changed, "image");
        const uint8_t *label = dbi_record_find(changed, "label")->data;
        size_t voxels = (size_t)(s.patch[0] * s.patch[1] * s.patch[2]);
        for (size_t i = 0; i < 2; i++)
            for (size_t v = 0; v < voxels; v++)
                differs |= label[i * voxels + v] !=
                           (image[i * 2 * voxels + v] != 0 ? label_of((int64_t)image[i * 2 * voxels + v]) : 0);
        dbi_record_free(changed);
    }
    assert_true(differs);
    dbi_manifest_free(&manifest);
}

static void test_metadata(void **state)
{
    (void)state;
    dbi_manifest manifest = make_cohort();
    dbi_sampler_settings s = small_settings();
    s.labeled = 1;
    s.unlabeled = 3;
    dbi_sampler *sampler = open_sampler(&manifest, &s);
    dbi_record *batch = batch_of(sampler, 4000000000u);
    assert_string_equal(dbi_meta_get(batch, "kind"), "batch");
    assert_string_equal(dbi_meta_get(batch, "step"), "4000000000");
    assert_string_equal(dbi_meta_get(batch, "seed"), "42");
    assert_string_equal(dbi_meta_get(batch, "labeled"), "1");
    assert_string_equal(dbi_meta_get(batch, "classes"), "3");
    assert_string_equal(dbi_meta_get(batch, "preprocessing"), "{\"normalize\":\"zscore\"}");
    assert_non_null(strstr(dbi_meta_get(batch, "sdf"), "clip:10"));
    assert_non_null(strstr(dbi_meta_get(batch, "history"), "sample"));
    const int64_t shape[5] = {4, 2, 10, 8, 7}, label[4] = {1, 10, 8, 7}, sdf[5] = {1, 3, 10, 8, 7};
    assert_non_null(dbi_record_need(batch, "image", DBI_F32, 5, shape, &error));
    assert_non_null(dbi_record_need(batch, "label", DBI_U8, 4, label, &error));
    assert_non_null(dbi_record_need(batch, "sdf", DBI_F32, 5, sdf, &error));
    dbi_record_free(batch);
    dbi_sampler_close(sampler);
    s.labeled = 0;
    sampler = open_sampler(&manifest, &s);
    batch = batch_of(sampler, 0);
    assert_null(dbi_record_find(batch, "label"));
    assert_null(dbi_record_find(batch, "sdf"));
    assert_null(dbi_meta_get(batch, "sdf"));
    dbi_record_free(batch);
    dbi_sampler_close(sampler);
    dbi_manifest_free(&manifest);
}

/* Gain and offset per sample and channel, then noise; the rest stays. */
static void test_intensity_and_noise(void **state)
{
    (void)state;
    dbi_manifest manifest = make_cohort();
    dbi_sampler_settings plain = small_settings(), gain = plain, noise = plain;
    gain.intensity = 0.3;
    noise.noise = 0.25;
    /* Numbers small enough that a float holds their changes exactly enough. */
    for (int c = 0; c < CASES; c++) {
        dbi_record *record = make_case(c, true);
        dbi_tensor *image = dbi_record_find(record, "image");
        for (size_t i = 0; i < image->count; i++)
            ((float *)image->data)[i] = (float)(i % 11) - 5;
        save(record, manifest.rows[c].path);
    }
    size_t voxels = (size_t)(plain.patch[0] * plain.patch[1] * plain.patch[2]);
    const dbi_sampler_settings *settings[] = {&plain, &gain, &noise};
    dbi_record *batch[3];
    for (int i = 0; i < 3; i++) {
        dbi_sampler *sampler = open_sampler(&manifest, settings[i]);
        batch[i] = batch_of(sampler, 9);
        dbi_sampler_close(sampler);
        assert_memory_equal(floats(batch[0], "label"), floats(batch[i], "label"), 2 * voxels);
    }
    double sum = 0, squares = 0, last = 0;
    for (size_t v = 0; v < 4 * 2; v++) {
        const float *from = floats(batch[0], "image") + v * voxels, *to = floats(batch[1], "image") + v * voxels;
        size_t a = 0, b = 0;
        for (size_t i = 0; i < voxels; i++) {
            a = from[i] < from[a] ? i : a;
            b = from[i] > from[b] ? i : b;
        }
        double slope = (to[b] - to[a]) / (from[b] - from[a]), offset = to[a] - slope * from[a];
        assert_in_range((int64_t)(slope * 1000), 700, 1300);
        assert_true(fabs(offset) <= 0.3 && fabs(slope - 1) > 1e-6 && slope != last);
        last = slope;
        for (size_t i = 0; i < voxels; i++) {
            assert_true(fabs(to[i] - (slope * from[i] + offset)) < 1e-4);
            double d = floats(batch[2], "image")[v * voxels + i] - from[i];
            sum += d;
            squares += d * d;
        }
    }
    double n = 8.0 * (double)voxels;
    assert_true(fabs(sum / n) < 5 * 0.25 / sqrt(n));
    assert_true(fabs(squares / n / 0.0625 - 1) < 0.1);
    for (int i = 0; i < 3; i++)
        dbi_record_free(batch[i]);
    dbi_manifest_free(&manifest);
}

static void test_ahead(void **state)
{
    (void)state;
    dbi_manifest manifest = make_cohort();
    dbi_sampler_settings s = small_settings();
    dbi_sampler *sampler = open_sampler(&manifest, &s);
    for (int size = 1; size < 9; size += 3) {
        dbi_ahead *ahead = dbi_ahead_start(sampler, 5, 6, size, &error);
        dbi_record *batch;
        for (int64_t k = 5, step; k < 11; k++) {
            assert_int_equal(dbi_ahead_next(ahead, &batch, &error), 1);
            assert_int_equal(dbi_meta_get_int(batch, "step", &step, &error), 0);
            assert_int_equal(step, k);
            dbi_record_free(batch);
        }
        assert_int_equal(dbi_ahead_next(ahead, &batch, &error), 0);
        dbi_ahead_stop(ahead);
        ahead = dbi_ahead_start(sampler, 0, 1000000, size, &error); /* left early */
        assert_int_equal(dbi_ahead_next(ahead, &batch, &error), 1);
        dbi_record_free(batch);
        dbi_ahead_stop(ahead);
    }
    dbi_sampler_close(sampler);
    /* A case that goes away: the batches before it come, then the error. */
    s.cache_bytes = 0;
    sampler = open_sampler(&manifest, &s);
    for (int c = 0; c < LABELED; c++)
        assert_int_equal(remove(manifest.rows[c].path), 0);
    dbi_ahead *ahead = dbi_ahead_start(sampler, 0, 100, 2, &error);
    dbi_record *batch;
    assert_int_equal(dbi_ahead_next(ahead, &batch, &error), -1);
    assert_non_null(strstr(error.text, "case"));
    assert_int_equal(dbi_ahead_next(ahead, &batch, &error), -1);
    dbi_ahead_stop(ahead);
    dbi_sampler_close(sampler);
    dbi_manifest_free(&manifest);
}

enum { AHEAD = 24 };

/* How many batches come, and their checksums. */
static int take_all(const dbi_manifest *manifest, const dbi_sampler_settings *s, int threads, int size,
                    char (*text)[33])
{
    dbi_set_threads(threads);
    dbi_sampler *sampler = open_sampler(manifest, s);
    dbi_ahead *ahead = dbi_ahead_start(sampler, 3, AHEAD, size, &error);
    assert_non_null(ahead);
    dbi_record *batch;
    int n = 0;
    for (; dbi_ahead_next(ahead, &batch, &error) == 1; n++) {
        assert_int_equal(dbi_record_checksum(batch, text[n], &error), 0);
        dbi_record_free(batch);
    }
    dbi_ahead_stop(ahead);
    dbi_sampler_close(sampler);
    return n;
}

/* Whatever the number of threads: the same batches, in order; and where a case is damaged, all before the first that
 * needs it, and its error. */
static void test_ahead_with_threads(void **state)
{
    (void)state;
    const int cores = omp_get_max_threads();
    dbi_manifest manifest = make_cohort();
    dbi_sampler_settings s = small_settings();
    char one[AHEAD][33], many[AHEAD][33], message[sizeof error.text];
    assert_int_equal(take_all(&manifest, &s, 1, 1, one), AHEAD);
    for (int i = 0; i < 20; i++) {
        s.cache_bytes = i % 2 ? 0 : 1 << 20;
        assert_int_equal(take_all(&manifest, &s, 1 + i % 7, 7, many), AHEAD);
        assert_memory_equal(one, many, sizeof one);
    }
    dbi_record *spoilt = dbi_record_load(manifest.rows[0].path, &error);
    assert_non_null(spoilt);
    ((uint8_t *)dbi_record_find(spoilt, "label")->data)[0] = 200; /* the header says nothing of it */
    assert_int_equal(dbi_record_save(spoilt, manifest.rows[0].path, NULL, &error), 0);
    dbi_record_free(spoilt);
    const int before = take_all(&manifest, &s, 1, 1, one);
    assert_true(before < AHEAD);
    strcpy(message, error.text);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(take_all(&manifest, &s, 2 + i % 5, 7, many), before);
        assert_memory_equal(one, many, (size_t)before * sizeof *one);
        assert_string_equal(message, error.text);
    }
    dbi_set_threads(cores);
    dbi_manifest_free(&manifest);
}

typedef void (*spoil)(dbi_record *record);

static void spoil_preprocessing(dbi_record *r)
{
    dbi_meta_set(r, "preprocessing", "{\"normalize\":\"none\"}", NULL);
}

static void spoil_classes(dbi_record *r)
{
    dbi_meta_set(r, "classes", "2", NULL);
}

static void spoil_classes_text(dbi_record *r)
{
    dbi_meta_set(r, "classes", "many", NULL);
}

static void spoil_kind(dbi_record *r)
{
    dbi_meta_set(r, "kind", "prediction", NULL);
}

static void spoil_no_spacing(dbi_record *r)
{
    dbi_meta_set(r, "spacing", NULL, NULL);
}

static void spoil_distance(dbi_record *r)
{
    dbi_meta_set(r, "sdf", "{\"normalize\":\"clip:8\"}", NULL);
}

static void spoil_distance_away(dbi_record *r)
{
    dbi_record_drop(r, "sdf");
}

static void spoil_label_away(dbi_record *r)
{
    dbi_record_drop(r, "label");
}

static void spoil_label_shape(dbi_record *r)
{
    dbi_record_drop(r, "label");
    dbi_record_add(r, "label", DBI_U8, 3, (int64_t[]){3, 4, 5}, NULL);
}

static void spoil_image_type(dbi_record *r)
{
    dbi_record_drop(r, "image");
    dbi_record_add(r, "image", DBI_F64, 4, (int64_t[]){2, 9, 13, 12}, NULL);
}

static void spoil_channels(dbi_record *r)
{
    dbi_record_drop(r, "image");
    dbi_record_add(r, "image", DBI_F32, 4, (int64_t[]){1, 9, 13, 12}, NULL);
}

static void spoil_empty(dbi_record *r)
{
    dbi_record_drop(r, "image");
    dbi_record_add(r, "image", DBI_F32, 4, (int64_t[]){2, 9, 0, 12}, NULL);
}

static void spoil_nan(dbi_record *r)
{
    ((float *)dbi_record_find(r, "image")->data)[7] = NAN;
}

static void spoil_label_value(dbi_record *r)
{
    ((uint8_t *)dbi_record_find(r, "label")->data)[7] = CLASSES + 1;
}

/* Opens and makes a few batches; the error of the first that fails. */
static void expect_fault(const dbi_manifest *manifest, const dbi_sampler_settings *s, const char *text)
{
    bool failed = false;
    dbi_sampler *sampler = dbi_sampler_open(manifest, s, &error);
    failed = !sampler;
    for (uint32_t step = 0; step < 10 && !failed; step++) {
        dbi_record *batch = dbi_sampler_batch(sampler, step, &error);
        failed = !batch;
        dbi_record_free(batch);
    }
    dbi_sampler_close(sampler);
    if (!failed || !strstr(error.text, text))
        fail_msg("%s instead of: %s", failed ? error.text : "no error", text);
}

static void test_faults_of_cases(void **state)
{
    (void)state;
    static const struct {
        spoil spoil;
        const char *text;
    } faults[] = {
        {spoil_preprocessing,
         "prepared with {\"normalize\":\"none\"}, but case0.st.zst with {\"normalize\":\"zscore\"}"},
        {spoil_classes, "2 classes, but the cases before it have 3"},
        {spoil_classes_text, "classes"},
        {spoil_kind, "not a case, but prediction"},
        {spoil_no_spacing, "spacing"},
        {spoil_distance, "clip:8"},
        {spoil_distance_away, "its distance map is not there"},
        {spoil_label_away, "an unlabelled case in the labelled part"},
        {spoil_label_shape, "tensor \"label\" has shape [3,4,5]"},
        {spoil_image_type, "tensor \"image\" is F64, not F32"},
        {spoil_channels, "1 channels, but case0.st.zst has 2"},
        {spoil_empty, "tensor \"image\" is empty"},
        {spoil_nan, "not finite"},
        {spoil_label_value, "a label of 4 with 3 classes"},
    };
    dbi_manifest manifest = make_cohort();
    dbi_sampler_settings s = small_settings();
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        dbi_record *record = make_case(1, true);
        faults[i].spoil(record);
        save(record, manifest.rows[1].path);
        expect_fault(&manifest, &s, faults[i].text);
        assert_non_null(strstr(error.text, "case1.st.zst: record 0: "));
    }
    dbi_record *record = make_case(1, true);
    spoil_no_spacing(record);
    save(record, manifest.rows[1].path);
    s.turn = false; /* then the spacing does not matter */
    dbi_sampler_close(open_sampler(&manifest, &s));
    dbi_manifest_free(&manifest);
}

static void test_faults_of_settings(void **state)
{
    (void)state;
    dbi_manifest manifest = make_cohort(), part = {0};
    dbi_sampler_settings s = small_settings();
    for (int64_t bad = -1; bad < 1; bad++) {
        s.patch[1] = bad;
        expect_fault(&manifest, &s, "a patch of");
    }
    s.patch[0] = s.patch[1] = INT64_MAX / 2;
    expect_fault(&manifest, &s, "too large");
    s = small_settings();
    s.labeled = s.unlabeled = 0;
    expect_fault(&manifest, &s, "0 labelled and 0 unlabelled");
    s.labeled = DBI_SAMPLES_MAX + 1;
    expect_fault(&manifest, &s, "unlabelled samples");
    s = small_settings();
    s.noise = NAN;
    expect_fault(&manifest, &s, "noise");
    s = small_settings();
    part = (dbi_manifest){.count = LABELED, .rows = manifest.rows};
    expect_fault(&part, &s, "no unlabelled case");
    part = (dbi_manifest){.count = CASES - LABELED, .rows = manifest.rows + LABELED};
    expect_fault(&part, &s, "no labelled case");
    dbi_manifest_free(&manifest);
}

/* A case cut off anywhere is an error of the sampler, and nothing worse. */
static void test_truncated_case(void **state)
{
    (void)state;
    dbi_manifest manifest = make_cohort();
    dbi_sampler_settings s = small_settings();
    static char bytes[1 << 18];
    FILE *file = fopen("case4.st.zst", "rb");
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_in_range(size, 1000, sizeof bytes - 1);
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(remove("case4.st.zst"), 0);
        file = fopen("case4.st.zst", "wb");
        assert_int_equal(fwrite(bytes, 1, size * i / 50, file), size * i / 50);
        assert_int_equal(fclose(file), 0);
        expect_fault(&manifest, &s, "case4.st.zst: ");
    }
    dbi_manifest_free(&manifest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_tensors_move_together),
        cmocka_unit_test(test_padding_of_an_unclipped_distance),
        cmocka_unit_test(test_turns_and_flips),
        cmocka_unit_test(test_turns_of_thick_slices),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_batches_are_functions_of_their_number),
        cmocka_unit_test(test_labeled_samples_do_not_depend_on_the_others),
        cmocka_unit_test(test_unlabeled_labels_stay_out),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_intensity_and_noise),
        cmocka_unit_test(test_ahead),
        cmocka_unit_test(test_ahead_with_threads),
        cmocka_unit_test(test_faults_of_cases),
        cmocka_unit_test(test_faults_of_settings),
        cmocka_unit_test(test_truncated_case),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

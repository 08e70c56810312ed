/* The small parts of the CUDA device: precisions, memory, division among threads, conversions, random numbers, the file
 * of convolutions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "cuda/algorithms.h"
#include "cuda/common.h"
#include "cuda/device.h"
#include "emulated.h"

static void test_precisions(void **state)
{
    (void)state;
    dbi_error error;
    dbi_precision precision;
    for (int p = DBI_PRECISION_FP32; p <= DBI_PRECISION_BF16; p++) {
        assert_int_equal(dbi_precision_parse(dbi_precision_name((dbi_precision)p), &precision, &error), 0);
        assert_int_equal(precision, p);
    }
    assert_int_equal(dbi_precision_parse("fp16", &precision, &error), -1);
}

static void test_arena(void **state)
{
    (void)state;
    dbi_error error;
    static dbi_arena arena;
    static char *part[DBI_ARENA_NEEDS + 1];
    memset(&arena, 0, sizeof arena);
    for (int i = 0; i < DBI_ARENA_NEEDS; i++) {
        part[i] = (char *)&arena;
        assert_int_equal(dbi_arena_need(&arena, &part[i], (size_t)(i % 600), &error), 0);
        if (i % 600 == 0) { /* nothing takes no place */
            assert_null(part[i]);
            assert_int_equal(dbi_arena_need(&arena, &part[i], 1, &error), 0);
        }
        if (arena.count == DBI_ARENA_NEEDS)
            break;
    }
    assert_int_equal(dbi_arena_need(&arena, &part[DBI_ARENA_NEEDS], 1, &error), -1);
    assert_int_equal(dbi_arena_open(&arena, &error), 0);
    for (int i = 0; i < DBI_ARENA_NEEDS; i++) {
        const size_t bytes = i % 600 ? (size_t)(i % 600) : 1;
        assert_int_equal((uintptr_t)part[i] % 256, 0);
        for (size_t k = 0; k < bytes; k++)
            assert_int_equal(part[i][k], 0); /* clear, and nobody else's */
        memset(part[i], 1, bytes);
    }
    dbi_arena_close(&arena);
    static unsigned char together[(size_t)DBI_ARENA_NEEDS * 768];
    assert_true(arena.bytes <= sizeof together);
    arena.base = together; /* in one allocation: in their order, none in another's place, none beyond the end */
    dbi_arena_point(&arena);
    for (int i = 0; i < DBI_ARENA_NEEDS; i++) {
        const ptrdiff_t at = part[i] - (char *)together;
        assert_int_equal(at % 256, 0);
        assert_true(i == 0 || at >= part[i - 1] - (char *)together + ((i - 1) % 600 ? (i - 1) % 600 : 1));
        assert_true((size_t)at + (size_t)(i % 600 ? i % 600 : 1) <= arena.bytes);
    }
    memset(&arena, 0, sizeof arena);
    assert_int_equal(dbi_arena_need(&arena, &part[0], SIZE_MAX / 4, &error), 0);
    assert_int_equal(dbi_arena_need(&arena, &part[0], SIZE_MAX / 3, &error), -1);
    assert_int_equal(dbi_arena_need(&arena, &part[0], SIZE_MAX, &error), -1);
}

/* Every voxel and group of channels is some thread's, once, and no thread goes beyond. */
static void test_tilings(void **state)
{
    (void)state;
    static const int channels[] = {1, 7, 8, 9, 16, 24, 40, 256, 264, 272, 4096};
    static const int64_t voxels[] = {1, 2, 31, 128, 980, 2048, 4097, 100000, 1081343};
    int64_t counts[DBI_MOST_PARTIALS] = {0};
    for (size_t c = 0; c < sizeof channels / sizeof *channels; c++)
        for (size_t v = 0; v < sizeof voxels / sizeof *voxels; v++) {
            const dbi_tiling t = dbi_tiling_make(voxels[v], channels[c]);
            if (voxels[v] * t.groups > 3000000)
                continue;
            assert_int_equal(t.groups * DBI_GROUP, dbi_padded(channels[c]));
            assert_true(t.lanes <= DBI_MOST_LANES && t.lanes * t.rows == DBI_BLOCK && (t.lanes & (t.lanes - 1)) == 0);
            assert_true(t.chunks <= DBI_MOST_PARTIALS && t.tiles * t.lanes >= t.groups &&
                        (t.tiles - 1) * t.lanes < t.groups);
            unsigned char *seen = calloc((size_t)(voxels[v] * t.groups), 1);
            assert_non_null(seen);
            for (int64_t block = 0; block < dbi_tiling_blocks(&t); block++)
                for (int thread = 0; thread < DBI_BLOCK; thread++) {
                    const dbi_place p = dbi_tiling_place(&t, block, thread);
                    assert_true(p.begin < voxels[v] && p.chunk < t.chunks);
                    for (int64_t at = p.first; p.group < t.groups && at < voxels[v]; at += p.step)
                        for (int k = 0; k < dbi_tiling_rounds(&t, at); k++) {
                            assert_true(at + k * t.rows < voxels[v]);
                            seen[(at + k * t.rows) * t.groups + p.group]++;
                            counts[p.chunk] += p.group == 0;
                        }
                }
            for (int64_t j = 0; j < t.chunks; j++) {
                assert_int_equal(counts[j], dbi_tiling_count(&t, j));
                counts[j] = 0;
            }
            for (int64_t i = 0; i < voxels[v] * t.groups; i++) {
                assert_int_equal(seen[i], 1);
                seen[i] = 0;
            }
            for (int64_t block = 0; block < dbi_tiling_run_blocks(&t); block++)
                for (int thread = 0; thread < DBI_BLOCK; thread++) {
                    const dbi_place p = dbi_tiling_place(&t, block, thread);
                    for (int k = 0; p.group < t.groups && p.first < voxels[v] && k < dbi_tiling_rounds(&t, p.first);
                         k++)
                        seen[(p.first + k * t.rows) * t.groups + p.group]++;
                }
            for (int64_t i = 0; i < voxels[v] * t.groups; i++)
                assert_int_equal(seen[i], 1);
            free(seen);
        }
    const dbi_tiling large = dbi_tiling_make((int64_t)1 << 40, 16); /* 64-bit arithmetic */
    const dbi_place last = dbi_tiling_place(&large, dbi_tiling_blocks(&large) - 1, 0);
    int64_t all = 0;
    for (int64_t j = 0; j < large.chunks; j++)
        all += dbi_tiling_count(&large, j);
    assert_true(all == (int64_t)1 << 40 && large.chunks <= DBI_MOST_PARTIALS);
    assert_true(last.first + large.runs / large.chunks * last.step > ((int64_t)1 << 40) - last.step);
}

static void test_divide(void **state)
{
    (void)state;
    static const int64_t a[] = {0, 1, 7, 4294967295, 4294967296, 4294967297, 1000000000000007, INT64_MAX};
    static const int64_t b[] = {1, 3, 4294967295, 4294967296, 5000000000};
    for (size_t i = 0; i < sizeof a / sizeof *a; i++)
        for (size_t j = 0; j < sizeof b / sizeof *b; j++)
            assert_true(dbi_divide(a[i], b[j]) == a[i] / b[j]);
    assert_int_equal(dbi_cuda_blocks(0, 256), 0);
    assert_int_equal(dbi_cuda_blocks(1, 256), 1);
    assert_int_equal(dbi_cuda_blocks(256, 256), 1);
    assert_int_equal(dbi_cuda_blocks(257, 256), 2);
    assert_true(dbi_cuda_blocks((int64_t)1 << 40, 256) == (int64_t)1 << 32);
}

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Every bfloat16 survives; between two of them the nearer one is taken, the even one in the middle. */
static void test_bf16(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const float f = dbi_bf16_to_float((dbi_bf16){(uint16_t)bits});
        const dbi_bf16 back = dbi_bf16_from_float(f);
        if (isnan(f)) {
            assert_true(isnan(dbi_bf16_to_float(back)));
            continue;
        }
        assert_int_equal(back.bits, bits);
        if (!isinf(f)) {
            assert_int_equal(dbi_bf16_from_float(from_bits(bits << 16 | 0x7fff)).bits, bits);
            assert_int_equal(dbi_bf16_from_float(from_bits(bits << 16 | 0x8000)).bits, bits + (bits & 1));
            assert_int_equal(dbi_bf16_from_float(from_bits(bits << 16 | 0x8001)).bits, bits + 1);
        }
    }
    assert_true(
        isnan(dbi_bf16_to_float(dbi_bf16_from_float(from_bits(0x7f800001))))); /* a NaN whose upper half is infinity */
}

static void test_random_numbers_are_the_hosts(void **state)
{
    (void)state;
    static const uint64_t seeds[] = {0, 1, 0x123456789abcdef0};
    for (int s = 0; s < 3; s++)
        for (uint32_t stream = 0; stream < 3; stream++) {
            dbi_random random;
            dbi_random_start(&random, seeds[s], DBI_ROLE_DROPOUT, 77 * stream, stream);
            for (uint32_t block = 0; block < 5; block++) {
                uint32_t got[4];
                dbi_random_block(seeds[s], DBI_ROLE_DROPOUT, 77 * stream, stream, block, got);
                for (int i = 0; i < 4; i += 2)
                    assert_true(dbi_uniform_of(got[i], got[i + 1]) == dbi_random_uniform(&random));
            }
        }
}

/* ---- The file of convolutions ---- */

static char folder[32];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test_cuda_device.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "chmod -R u+w %s && rm -r %s", folder, folder);
    return system(command);
}

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_algorithms_are_remembered(void **state)
{
    (void)state;
    dbi_error error;
    const char *path = in_folder("remembered");
    dbi_algorithms *a = dbi_algorithms_open(path, &error), *b;
    assert_non_null(a);
    assert_true(dbi_algorithms_lasting(a));
    assert_int_equal(dbi_algorithms_find(a, "one"), -1);
    assert_int_equal(dbi_algorithms_lock(a, &error), 0);
    assert_int_equal(dbi_algorithms_lock(a, &error), 0);
    for (int i = 0; i < 200; i++) {
        char key[32];
        snprintf(key, sizeof key, "key %d", i);
        assert_int_equal(dbi_algorithms_set(a, key, i, &error), 0);
    }
    assert_int_equal(dbi_algorithms_set(a, "key 7", 70, &error), 0);
    assert_non_null(b = dbi_algorithms_open(path, &error)); /* opened before the first one saved */
    dbi_algorithms_save(a);
    dbi_algorithms_close(a);
    assert_int_equal(dbi_algorithms_find(b, "key 7"), -1);
    assert_int_equal(dbi_algorithms_lock(b, &error), 0); /* knows now what was found meanwhile */
    assert_int_equal(dbi_algorithms_find(b, "key 7"), 70);
    assert_int_equal(dbi_algorithms_set(b, "more", 3, &error), 0);
    dbi_algorithms_save(b);
    dbi_algorithms_close(b);
    assert_non_null(a = dbi_algorithms_open(path, &error));
    assert_int_equal(dbi_algorithms_find(a, "key 199"), 199);
    assert_int_equal(dbi_algorithms_find(a, "more"), 3);
    dbi_algorithms_close(a);
}

static void test_bad_lines_are_passed_over(void **state)
{
    (void)state;
    dbi_error error;
    char text[4096];
    char endless[1024];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = 0;
    snprintf(text, sizeof text,
             "good\t5\nno number\nno number\t\nnegative\t-1\nspace\t 1\ntail\t1 "
             "2\nhuge\t99999999999999999999\nlarge\t1000001\n\t3\n%s\t4\nbin\x01\t1\n"
             "last good\t1000000\n\n%s\t8\ncut off\t12",
             endless, endless);
    write_text(in_folder("bad"), text);
    dbi_algorithms *a = dbi_algorithms_open(in_folder("bad"), &error);
    assert_non_null(a);
    assert_int_equal(dbi_algorithms_find(a, "good"), 5);
    assert_int_equal(dbi_algorithms_find(a, "last good"), 1000000);
    static const char *const absent[] = {"no number", "negative", "space",   "tail",    "huge",
                                         "large",     "",         "bin\x01", "cut off", "x"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        assert_int_equal(dbi_algorithms_find(a, absent[i]), -1);
    for (const char *p = endless; *p; p++)
        if (dbi_algorithms_find(a, p) != -1)
            fail_msg("a part of a line that is too long");
    dbi_algorithms_close(a);
}

static void test_no_file(void **state)
{
    (void)state;
    dbi_error error;
    dbi_algorithms *a = dbi_algorithms_open(in_folder("not/there"), &error);
    assert_non_null(a);
    assert_false(dbi_algorithms_lasting(a));
    assert_int_equal(dbi_algorithms_lock(a, &error), 0);
    assert_int_equal(dbi_algorithms_set(a, "key", 1, &error), 0);
    assert_int_equal(dbi_algorithms_find(a, "key"), 1);
    dbi_algorithms_save(a);
    dbi_algorithms_close(a);
    assert_int_equal(setenv("XDG_CACHE_HOME", folder, 1), 0);
    assert_non_null(a = dbi_algorithms_open(NULL, &error)); /* makes its folder */
    assert_true(dbi_algorithms_lasting(a));
    assert_int_equal(dbi_algorithms_set(a, "key", 1, &error), 0);
    dbi_algorithms_save(a);
    dbi_algorithms_close(a);
    assert_int_equal(access(in_folder("dbisl/convolutions.tsv"), R_OK), 0);
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", folder, 1);
    assert_non_null(a = dbi_algorithms_open(NULL, &error));
    assert_true(dbi_algorithms_lasting(a));
    dbi_algorithms_close(a);
    assert_int_equal(access(in_folder(".cache/dbisl/convolutions.tsv"), R_OK), 0);
    unsetenv("HOME");
    assert_non_null(a = dbi_algorithms_open(NULL, &error));
    assert_false(dbi_algorithms_lasting(a));
    dbi_algorithms_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_precisions),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_tilings),
        cmocka_unit_test(test_divide),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_random_numbers_are_the_hosts),
        cmocka_unit_test(test_algorithms_are_remembered),
        cmocka_unit_test(test_bad_lines_are_passed_over),
        cmocka_unit_test(test_no_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

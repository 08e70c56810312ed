/* Records, streams and their bytes: what is written comes back, and nothing that comes in can do harm. */
#include <archive.h>
#include <archive_entry.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/random.h"
#include "record/bytes.h"
#include "record/checksum.h"
#include "record/history.h"
#include "record/json.h"
#include "record/metadata.h"
#include "record/sink.h"
#include "record/stream.h"
#include "record/summary.h"

static char directory[32];
static dbi_error error;

static int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/dev/shm/test_record.XXXXXX"); /* every file is synced, which is slow on a busy disk */
    if (!mkdtemp(directory) && !mkdtemp(strcpy(directory, "/tmp/test_record.XXXXXX")))
        return -1;
    return chdir(directory);
}

static int remove_one(const char *path, const struct stat *is, int kind, struct FTW *place)
{
    (void)is, (void)kind, (void)place;
    return remove(path);
}

static int remove_directory(void **state)
{
    (void)state;
    return nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A new file: some file systems write to disk at once what replaces an old file's contents. */
static FILE *new_file(const char *path)
{
    unlink(path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    return file;
}

static void put_file(const char *path, const void *data, size_t size)
{
    FILE *file = new_file(path);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static uint8_t *get_file(const char *path, size_t *size)
{
    uint8_t *data;
    assert_int_equal(dbi_bytes_read(path, 0, &data, size, &error), 0);
    return data;
}

static void assert_said(const char *text)
{
    if (!strstr(error.text, text))
        fail_msg("\"%s\" does not say \"%s\"", error.text, text);
}

/* A tensor of every type, a scalar, one without elements, and metadata that needs escapes. */
static dbi_record *sample(uint32_t seed)
{
    dbi_record *record = dbi_record_new(&error);
    assert_non_null(record);
    dbi_random random;
    dbi_random_start(&random, seed, DBI_ROLE_TEST, 0, 0);
    for (int type = 0; type < DBI_DTYPES; type++) {
        char name[32];
        snprintf(name, sizeof name, "t.%s", dbi_dtype_name((dbi_dtype)type));
        int64_t shape[] = {3, 1 + (int64_t)dbi_random_below(&random, 4), 5};
        dbi_tensor *tensor = dbi_record_add(record, name, (dbi_dtype)type, 3, shape, &error);
        assert_non_null(tensor);
        for (size_t i = 0; i < tensor->count * dbi_dtype_size(tensor->dtype); i++)
            ((uint8_t *)tensor->data)[i] = (uint8_t)dbi_random_below(&random, type == DBI_BOOL ? 2 : 256);
    }
    assert_non_null(dbi_record_add(record, "scalar", DBI_I64, 0, NULL, &error));
    assert_non_null(dbi_record_add(record, "empty", DBI_F32, 2, (int64_t[]){0, 7}, &error));
    assert_int_equal(dbi_meta_set(record, "kind", "case", &error), 0);
    assert_int_equal(dbi_meta_set(record, "quoted \"key\"", "line\nbreak, \xc3\xa9", &error), 0);
    return record;
}

static void assert_same_record(const dbi_record *a, const dbi_record *b)
{
    assert_int_equal(dbi_record_count(a), dbi_record_count(b));
    for (size_t i = 0; i < dbi_record_count(a); i++) {
        const dbi_tensor *p = dbi_record_at(a, i), *q = dbi_record_at(b, i);
        assert_string_equal(p->name, q->name);
        assert_int_equal(p->dtype, q->dtype);
        assert_int_equal(p->ndim, q->ndim);
        assert_memory_equal(p->shape, q->shape, sizeof p->shape);
        assert_memory_equal(p->data, q->data, p->count * dbi_dtype_size(p->dtype));
        assert_int_equal((uintptr_t)q->data % 64, 0);
    }
    const char *key;
    for (size_t i = 0; (key = dbi_meta_key(a, i)); i++)
        assert_string_equal(dbi_meta_get(a, key), dbi_meta_get(b, key));
    char one[33], two[33];
    assert_int_equal(dbi_record_checksum(a, one, &error), 0);
    assert_int_equal(dbi_record_checksum(b, two, &error), 0);
    assert_string_equal(one, two);
}

static void test_tensors(void **state)
{
    (void)state;
    dbi_record *record = dbi_record_new(&error);
    int64_t shape[] = {2, 3};
    dbi_tensor *image = dbi_record_add(record, "image", DBI_F32, 2, shape, &error);
    assert_non_null(image);
    assert_int_equal(image->count, 6);
    for (int i = 0; i < 6; i++)
        assert_true(((float *)image->data)[i] == 0);
    assert_null(dbi_record_add(record, "image", DBI_U8, 2, shape, &error));
    assert_said("two tensors are called \"image\"");
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i * 7919 % 1000);
        assert_non_null(dbi_record_add(record, name, DBI_U8, 0, NULL, &error));
    }
    assert_ptr_equal(dbi_record_find(record, "image"), image);
    assert_null(dbi_record_find(record, "label"));
    for (int i = 0; i < 1000; i += 2) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        dbi_record_drop(record, name);
        assert_null(dbi_record_find(record, name));
    }
    dbi_record_drop(record, "never there");
    assert_int_equal(dbi_record_count(record), 501);
    assert_string_equal(dbi_record_at(record, 1)->name, "919");
    assert_null(dbi_record_at(record, 501));
    dbi_record_free(record);
    dbi_record_free(NULL);
}

static void test_impossible_tensors(void **state)
{
    (void)state;
    dbi_record *record = dbi_record_new(&error);
    static const struct {
        int ndim;
        int64_t shape[DBI_MAX_DIMS];
    } bad[] = {{1, {-1}},
               {2, {1LL << 40, 1LL << 40}},
               {1, {INT64_MAX}},
               {3, {INT64_MAX, 2, 0}},
               {2, {1LL << 31, 1LL << 30}},
               {9, {1}},
               {-1, {0}}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(dbi_record_add(record, "t", DBI_F64, bad[i].ndim, bad[i].shape, &error));
        assert_said("tensor \"t\"");
        assert_int_equal(dbi_record_count(record), 0);
        assert_null(dbi_record_find(record, "t"));
    }
    dbi_record_free(record);
}

static void test_need(void **state)
{
    (void)state;
    dbi_record *record = dbi_record_new(&error);
    int64_t shape[] = {3, 4};
    dbi_record_add(record, "label", DBI_U8, 2, shape, &error);
    assert_non_null(dbi_record_need(record, "label", DBI_U8, 2, shape, &error));
    assert_non_null(dbi_record_need(record, "label", DBI_U8, 2, NULL, &error));
    assert_non_null(dbi_record_need(record, "label", DBI_U8, 2, (int64_t[]){-1, 4}, &error));
    assert_null(dbi_record_need(record, "image", DBI_U8, 2, NULL, &error));
    assert_string_equal(error.text, "no tensor \"image\"");
    assert_null(dbi_record_need(record, "label", DBI_F32, 2, shape, &error));
    assert_string_equal(error.text, "tensor \"label\" is U8, not F32");
    assert_null(dbi_record_need(record, "label", DBI_U8, 3, (int64_t[]){-1, 4, 5}, &error));
    assert_string_equal(error.text, "tensor \"label\" has shape [3,4], not [*,4,5]");
    assert_null(dbi_record_need(record, "label", DBI_U8, 1, NULL, &error));
    assert_string_equal(error.text, "tensor \"label\" has shape [3,4], not [*]");
    assert_null(dbi_record_need(record, "label", DBI_U8, 2, (int64_t[]){4, 3}, &error));
    dbi_record_free(record);
}

static void test_metadata(void **state)
{
    (void)state;
    dbi_record *record = dbi_record_new(&error), *copy = dbi_record_new(&error);
    static const char *const keys[] = {"m", "b", "z", "a", "n", "b"};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(dbi_meta_set_int(record, keys[i], (int64_t)i, &error), 0);
    static const char *const sorted[] = {"a", "b", "m", "n", "z"};
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(dbi_meta_key(record, i), sorted[i]);
    assert_null(dbi_meta_key(record, 5));
    assert_string_equal(dbi_meta_get(record, "b"), "5");
    assert_int_equal(dbi_meta_set(record, "b", NULL, &error), 0);
    assert_int_equal(dbi_meta_set(record, "b", NULL, &error), 0);
    assert_null(dbi_meta_get(record, "b"));
    assert_null(dbi_meta_need(record, "b", &error));
    assert_string_equal(error.text, "no metadata \"b\"");
    dbi_meta_set(copy, "a", "old", &error);
    dbi_meta_set(copy, "own", "stays", &error);
    assert_int_equal(dbi_meta_copy(copy, record, &error), 0);
    assert_string_equal(dbi_meta_get(copy, "a"), "3");
    assert_string_equal(dbi_meta_get(copy, "own"), "stays");
    dbi_record_free(record);
    dbi_record_free(copy);
}

static void test_metadata_numbers(void **state)
{
    (void)state;
    dbi_record *record = dbi_record_new(&error);
    int64_t whole;
    assert_int_equal(dbi_meta_set_int(record, "n", INT64_MIN, &error), 0);
    assert_int_equal(dbi_meta_get_int(record, "n", &whole, &error), 0);
    assert_true(whole == INT64_MIN);
    static const char *const not_whole[] = {"", " 1", "1 ", "1.5", "x", "99999999999999999999", "+1"};
    for (size_t i = 0; i < sizeof not_whole / sizeof *not_whole; i++) {
        dbi_meta_set(record, "n", not_whole[i], &error);
        assert_int_equal(dbi_meta_get_int(record, "n", &whole, &error), -1);
        assert_said("not a whole number");
    }
    double values[] = {0.1, -3, 1e-300, 1.0 / 3}, back[4];
    assert_int_equal(dbi_meta_set_numbers(record, "v", values, 4, &error), 0);
    assert_int_equal(dbi_meta_get_numbers(record, "v", back, 4, &error), 0);
    assert_memory_equal(values, back, sizeof values);
    assert_int_equal(dbi_meta_set_numbers(record, "nan", (double[]){NAN}, 1, &error), -1);
    dbi_meta_set(record, "v", "[[1,2],[3,[4]]]", &error);
    assert_int_equal(dbi_meta_get_numbers(record, "v", back, 4, &error), 0);
    assert_true(back[0] == 1 && back[3] == 4);
    static const char *const not_four[] = {"[1,2,3]", "[1,2,3,4,5]", "[1,2,3,\"4\"]", "[1,2,3,null]",
                                           "{}",      "[1,2,3",      "[1,2,3,1e999]", "[1,2,3,NaN]"};
    for (size_t i = 0; i < sizeof not_four / sizeof *not_four; i++) {
        dbi_meta_set(record, "v", not_four[i], &error);
        assert_int_equal(dbi_meta_get_numbers(record, "v", back, 4, &error), -1);
        assert_said("metadata \"v\"");
    }
    dbi_record_free(record);
}

static void test_history(void **state)
{
    (void)state;
    dbi_record *record = dbi_record_new(&error);
    json_t *settings = json_pack("{s:i, s:s}", "z", 1, "a", "x");
    assert_int_equal(dbi_history_add(record, "dbisl-one", settings, &error, "scan", "00ff", "label", "11ee", NULL), 0);
    assert_int_equal(dbi_history_add(record, "two", settings, &error, NULL), 0);
    json_decref(settings);
    json_t *history = dbi_meta_get_json(record, "history", &error);
    assert_int_equal(json_array_size(history), 2);
    json_t *first = json_array_get(history, 0);
    assert_string_equal(json_string_value(json_object_get(first, "tool")), "dbisl-one");
    assert_string_equal(json_string_value(json_object_get(json_array_get(history, 1), "tool")), "dbisl-two");
    assert_string_equal(json_string_value(json_object_get(json_object_get(first, "inputs"), "label")), "11ee");
    assert_non_null(strstr(dbi_meta_get(record, "history"), "\"settings\":{\"a\":\"x\",\"z\":1}"));
    json_decref(history);
    settings = json_object();
    dbi_meta_set(record, "history", "{}", &error);
    assert_int_equal(dbi_history_add(record, "dbisl-three", settings, &error, NULL), -1);
    dbi_meta_set(record, "history", "nonsense", &error);
    assert_int_equal(dbi_history_add(record, "dbisl-three", settings, &error, NULL), -1);
    json_decref(settings);
    dbi_record_free(record);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const dbi_compression ways[] = {{0}, {.none = true}, {.level = 1}, {.level = 19}};
    for (size_t way = 0; way < 4; way++) {
        dbi_record *record = sample((uint32_t)way);
        assert_int_equal(dbi_record_save(record, "a.st", &ways[way], &error), 0);
        assert_int_equal(dbi_record_save(record, "b.st", &ways[way], &error), 0);
        size_t a_size, b_size;
        uint8_t *a = get_file("a.st", &a_size), *b = get_file("b.st", &b_size);
        assert_int_equal(a_size, b_size);
        assert_memory_equal(a, b, a_size);
        free(a);
        free(b);
        dbi_record *back = dbi_record_load("a.st", &error);
        assert_non_null(back);
        assert_same_record(record, back);
        dbi_record_free(back);
        dbi_record_free(record);
    }
}

/* A header alone: the data behind it may be missing. */
static void test_peek(void **state)
{
    (void)state;
    dbi_record *record = sample(2);
    assert_int_equal(dbi_record_save(record, "whole.st", &(dbi_compression){.none = true}, &error), 0);
    size_t size;
    uint8_t *bytes = get_file("whole.st", &size);
    put_file("cut.st", bytes, size - 1);
    free(bytes);
    dbi_record *head = dbi_record_peek("cut.st", &error);
    assert_non_null(head);
    assert_int_equal(dbi_record_count(head), dbi_record_count(record));
    assert_string_equal(dbi_meta_get(head, "kind"), "case");
    assert_null(dbi_record_find(head, "t.F32")->data);
    dbi_record_free(head);
    dbi_record_free(record);
    put_file("cut.st", "\1", 1);
    assert_null(dbi_record_peek("cut.st", &error));
    assert_said("cut.st: record 0: ");
    put_file("cut.st", "", 0);
    assert_null(dbi_record_peek("cut.st", &error));
    assert_said("cut.st: the file is empty");
}

/* The frame holds its content size and a checksum, the header is padded, and each tensor is aligned to its element. */
static void check_layout(const dbi_record *record)
{
    assert_int_equal(dbi_record_save(record, "a.st", NULL, &error), 0);
    size_t size;
    uint8_t *frame = get_file("a.st", &size);
    unsigned long long content = ZSTD_getFrameContentSize(frame, size);
    assert_int_equal(ZSTD_findFrameCompressedSize(frame, size), size);
    assert_true(frame[4] & 4);
    uint8_t *plain = malloc(content);
    assert_int_equal(ZSTD_decompress(plain, content, frame, size), content);
    uint64_t length;
    memcpy(&length, plain, 8);
    assert_int_equal(length % 8, 0);
    json_t *header = json_loadb((char *)plain + 8, length, JSON_REJECT_DUPLICATES, NULL), *tensor;
    assert_non_null(header);
    assert_memory_equal(plain + 8, "{\"__metadata__\":{\"kind\"", 23);
    const char *name;
    json_object_foreach(header, name, tensor)
    {
        if (strcmp(name, "__metadata__")) {
            json_int_t begin = json_integer_value(json_array_get(json_object_get(tensor, "data_offsets"), 0));
            assert_int_equal(begin % (json_int_t)dbi_dtype_size(dbi_record_find(record, name)->dtype), 0);
        }
    }
    json_decref(header);
    free(plain);
    free(frame);
}

static void test_layout(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 8; seed++) {
        dbi_record *record = sample(seed);
        check_layout(record);
        dbi_record_free(record);
    }
}

/* Larger than what is allocated before its data come. */
static void test_large(void **state)
{
    (void)state;
    dbi_record *record = dbi_record_new(&error);
    dbi_tensor *tensor = dbi_record_add(record, "t", DBI_U32, 1, (int64_t[]){18000000}, &error);
    assert_non_null(tensor);
    for (uint32_t i = 0; i < 18000000; i++)
        ((uint32_t *)tensor->data)[i] = i >> 12;
    assert_int_equal(dbi_record_save(record, "large.st", &(dbi_compression){.level = 1}, &error), 0);
    dbi_record *back = dbi_record_load("large.st", &error);
    assert_non_null(back);
    assert_same_record(record, back);
    dbi_record_free(back);
    dbi_record_free(record);
    unlink("large.st");
}

static void test_unwritable(void **state)
{
    (void)state;
    dbi_record *record = dbi_record_new(&error);
    dbi_meta_set(record, "bad", "\xff\xfe", &error);
    assert_int_equal(dbi_record_save(record, "bad.st", NULL, &error), -1);
    assert_said("metadata \"bad\" is not UTF-8");
    dbi_meta_set(record, "bad", NULL, &error);
    dbi_record_add(record, "__metadata__", DBI_U8, 0, NULL, &error);
    assert_int_equal(dbi_record_save(record, "bad.st", NULL, &error), -1);
    assert_int_equal(access("bad.st", F_OK), -1);
    assert_int_equal(access(".bad.st.part", F_OK), -1);
    dbi_record_free(record);
}

static int count_once(const char *path, bool ahead)
{
    dbi_reader *reader = dbi_reader_open(path, &error);
    if (!reader)
        return -1;
    if (ahead)
        assert_int_equal(dbi_reader_ahead(reader, &error), 0);
    dbi_record *record;
    int more, count = 0;
    while ((more = dbi_reader_next(reader, &record, &error)) > 0) {
        count++;
        dbi_record_free(record);
    }
    dbi_error again;
    assert_int_equal(dbi_reader_next(reader, &record, &again), more);
    assert_null(record);
    dbi_reader_close(reader);
    return more < 0 ? -1 : count;
}

/* However it is read; the message, where there is one, stays in `error`. */
static int count_records(const char *path)
{
    const int ahead = count_once(path, true);
    const dbi_error said = error;
    const int count = count_once(path, false);
    assert_int_equal(ahead, count);
    if (count < 0)
        assert_string_equal(said.text, error.text);
    return count;
}

/* zstd of `size` bytes, appended to the file; content_size and checksum as asked. */
static void append_frame(FILE *file, const void *data, size_t size, bool content_size, bool checksum)
{
    size_t room = ZSTD_compressBound(size);
    uint8_t *out = malloc(room);
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_contentSizeFlag, content_size);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, checksum);
    size_t n = ZSTD_compress2(zstd, out, room, data, size);
    assert_false(ZSTD_isError(n));
    assert_int_equal(fwrite(out, 1, n, file), n);
    ZSTD_freeCCtx(zstd);
    free(out);
}

static void append_skippable(FILE *file, uint32_t size)
{
    uint8_t zeros[64] = {0};
    uint32_t head[2] = {ZSTD_MAGIC_SKIPPABLE_START + 5, size};
    fwrite(head, 1, sizeof head, file);
    for (; size; size -= size < 64 ? size : 64)
        fwrite(zeros, 1, size < 64 ? size : 64, file);
}

/* Whatever way the records' bytes are cut into frames, the same records come. */
static void test_frames(void **state)
{
    (void)state;
    dbi_record *record[3];
    uint8_t *plain[3];
    size_t size[3];
    for (int i = 0; i < 3; i++) {
        record[i] = sample((uint32_t)i);
        assert_int_equal(dbi_record_save(record[i], "one.st", &(dbi_compression){.none = true}, &error), 0);
        plain[i] = get_file("one.st", &size[i]);
    }
    for (int way = 0; way < 8; way++) {
        FILE *file = new_file("frames.st");
        append_skippable(file, 3);
        if (way == 7) { /* all three in one frame */
            uint8_t *all = malloc(size[0] + size[1] + size[2]);
            memcpy(all, plain[0], size[0]);
            memcpy(all + size[0], plain[1], size[1]);
            memcpy(all + size[0] + size[1], plain[2], size[2]);
            append_frame(file, all, size[0] + size[1] + size[2], false, true);
            free(all);
        }
        for (int i = 0; way < 7 && i < 3; i++) {
            size_t piece = way < 2 ? size[i] : way == 2 ? 1 : way == 3 ? 7 : way == 4 ? 300 : 1000;
            if (way == 6 && i == 1) { /* a plain one between the others */
                fwrite(plain[i], 1, size[i], file);
                continue;
            }
            for (size_t at = 0; at < size[i]; at += piece) {
                append_frame(file, plain[i] + at, size[i] - at < piece ? size[i] - at : piece, way % 2, way != 4);
                if (way == 3)
                    append_frame(file, "", 0, true, true);
                if (way == 5)
                    append_skippable(file, 200000);
            }
        }
        append_skippable(file, 0);
        assert_int_equal(fclose(file), 0);
        dbi_reader *reader = dbi_reader_open("frames.st", &error);
        dbi_record *back;
        for (int i = 0; i < 3; i++) {
            if (dbi_reader_next(reader, &back, &error) != 1)
                fail_msg("way %d, record %d: %s", way, i, error.text);
            assert_same_record(record[i], back);
            dbi_record_free(back);
        }
        assert_int_equal(dbi_reader_next(reader, &back, &error), 0);
        assert_int_equal(dbi_reader_next(reader, &back, &error), 0);
        dbi_reader_close(reader);
    }
    assert_null(dbi_record_load("frames.st", &error));
    assert_said("frames.st: record 1: more than the one");
    for (int i = 0; i < 3; i++) {
        dbi_record_free(record[i]);
        free(plain[i]);
    }
}

/* A record in a pipe is handed on when its last byte has come, while the pipe stays open. */
static void test_no_waiting(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        const bool none = way % 2, ahead = way / 2;
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        char in[32], out[32];
        snprintf(in, sizeof in, "/dev/fd/%d", ends[0]);
        snprintf(out, sizeof out, "/dev/fd/%d", ends[1]);
        alarm(20);
        dbi_writer *writer = dbi_writer_open(out, &(dbi_compression){.none = none}, &error);
        dbi_reader *reader = dbi_reader_open(in, &error);
        assert_non_null(writer);
        assert_non_null(reader);
        if (ahead)
            assert_int_equal(dbi_reader_ahead(reader, &error), 0);
        for (uint32_t i = 0; i < 3; i++) {
            dbi_record *record = sample(i), *back;
            assert_int_equal(dbi_writer_put(writer, record, &error), 0);
            assert_int_equal(dbi_reader_next(reader, &back, &error), 1);
            assert_same_record(record, back);
            dbi_record_free(record);
            dbi_record_free(back);
        }
        assert_int_equal(dbi_writer_commit(writer, &error), 0);
        close(ends[1]);
        dbi_record *back;
        assert_int_equal(dbi_reader_next(reader, &back, &error), 0);
        dbi_reader_close(reader);
        close(ends[0]);
        alarm(0);
    }
}

/* A reader with records that nobody takes is closed at once: one that waits for a pipe, one that has read its record,
 * one that never ran. */
static void test_close_early(void **state)
{
    (void)state;
    dbi_record *record = sample(0);
    assert_int_equal(dbi_record_save(record, "a.st", &(dbi_compression){0}, &error), 0);
    dbi_record_free(record);
    alarm(20);
    for (int pause = 0; pause < 2; pause++) {
        dbi_reader *reader = dbi_reader_open("a.st", &error);
        assert_int_equal(dbi_reader_ahead(reader, &error), 0);
        if (pause)
            usleep(20000);
        dbi_reader_close(reader);
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        char in[32];
        snprintf(in, sizeof in, "/dev/fd/%d", ends[0]);
        assert_non_null(reader = dbi_reader_open(in, &error));
        assert_int_equal(dbi_reader_ahead(reader, &error), 0);
        if (pause)
            usleep(20000);
        dbi_reader_close(reader);
        close(ends[0]);
        close(ends[1]); /* only now the thread's end of file comes */
    }
    alarm(0);
}

/* In place of the library's: a thread that has `slow_unlock` gives the others time to go on before it does. */
static _Thread_local bool slow_unlock;

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    static int (*unlock)(pthread_mutex_t *);
    if (!unlock)
        *(void **)&unlock = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
    const int result = unlock(mutex);
    if (slow_unlock)
        usleep(20000);
    return result;
}

/* Who closes a reader uses nothing of it after its thread has freed it. */
static void test_close_slowly(void **state)
{
    (void)state;
    dbi_record *record = sample(0);
    assert_int_equal(dbi_record_save(record, "a.st", &(dbi_compression){0}, &error), 0);
    dbi_record_free(record);
    mallopt(M_PERTURB, 0xa5); /* what is freed becomes nonsense */
    for (int pause = 0; pause < 2; pause++) {
        dbi_reader *reader = dbi_reader_open("a.st", &error);
        assert_int_equal(dbi_reader_ahead(reader, &error), 0);
        if (pause)
            usleep(20000);
        slow_unlock = true;
        dbi_reader_close(reader);
        slow_unlock = false;
    }
    mallopt(M_PERTURB, 0);
}

/* The checksum comes late, and is wrong: nobody gets the record before it is known. */
static void test_late_checksum(void **state)
{
    (void)state;
    FILE *file = new_file("frame.st");
    append_frame(file, "\2\0\0\0\0\0\0\0{}", 10, true, true);
    fclose(file);
    size_t size;
    uint8_t *bytes = get_file("frame.st", &size);
    bytes[size - 1] ^= 1;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        ssize_t n = write(ends[1], bytes, size - 4);
        usleep(100000);
        n += write(ends[1], bytes + size - 4, 4);
        _exit(n != (ssize_t)size);
    }
    close(ends[1]);
    char in[32];
    snprintf(in, sizeof in, "/dev/fd/%d", ends[0]);
    dbi_reader *reader = dbi_reader_open(in, &error);
    dbi_record *record;
    assert_int_equal(dbi_reader_next(reader, &record, &error), -1);
    assert_said("checksum");
    dbi_reader_close(reader);
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    free(bytes);
}

/* A plain record from a header's text and so many bytes of data, in a file. */
static void put_header(const char *path, const char *json, size_t data)
{
    uint64_t length = strlen(json);
    FILE *file = new_file(path);
    fwrite(&length, 8, 1, file);
    fwrite(json, 1, length, file);
    for (size_t i = 0; i < data; i++)
        fputc('x', file);
    assert_int_equal(fclose(file), 0);
}

#define TENSOR(shape, offsets) "{\"t\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void test_hostile_headers(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        size_t data;
        const char *fault; /* NULL: it is a good one */
    } cases[] = {
        {"{}", 0, NULL},
        {"{}      ", 0, NULL},
        {"{\"__metadata__\":{}}", 0, NULL},
        {TENSOR("[2]", "[0,8]"), 8, NULL},
        {TENSOR("[]", "[0,4]"), 4, NULL},
        {TENSOR("[5,0]", "[0,0]"), 0, NULL},
        {"{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[2,5]},\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
         "offsets\":[0,2]}}",
         5, NULL},
        {" {}", 0, "does not begin with {"},
        {"[]", 0, "does not begin with {"},
        {"{]", 0, "JSON"},
        {"{} x", 0, "JSON"},
        {"{\"a\\u0000b\":{}}", 0, "JSON"},
        {"{\"t\":{}}", 0, "has no dtype"},
        {"{\"t\":3}", 0, "not described by an object"},
        {"{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"t\":{\"dtype\":\"F32\",\"shape\":[2],"
         "\"data_offsets\":[8,16]}}",
         16, "duplicate"},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "duplicate"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "metadata \"a\" is not a string"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
        {"{\"t\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "unknown dtype \"F33\""},
        {"{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "has no shape"},
        {"{\"t\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets"},
        {TENSOR("[2]", "[0,8,9]"), 8, "data_offsets"},
        {TENSOR("[2]", "[8,0]"), 8, "data_offsets"},
        {TENSOR("[2]", "[-8,0]"), 8, "data_offsets"},
        {TENSOR("[2]", "[0.0,8.0]"), 8, "data_offsets"},
        {TENSOR("[2]", "[0,9]"), 9, "8 bytes by its shape and 9 by its data_offsets"},
        {TENSOR("[-2]", "[0,8]"), 8, "negative"},
        {TENSOR("[2.0]", "[0,8]"), 8, "not a whole number"},
        {TENSOR("[\"2\"]", "[0,8]"), 8, "not a whole number"},
        {TENSOR("[4294967296,4294967296]", "[0,0]"), 0, "impossible shape"},
        {TENSOR("[4611686018427387904]", "[0,0]"), 0, "impossible shape"},
        {TENSOR("[99999999999999999999]", "[0,0]"), 0, "too big integer"},
        {TENSOR("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "9 dimensions"},
        {TENSOR("[1099511627776]", "[0,4398046511104]"), 100, "memory"},
        {TENSOR("[268435456]", "[0,1073741824]"), 100, "end in the middle"},
        {TENSOR("[2]", "[4,12]"), 12, "leaves a hole"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
         "offsets\":[4,6]}}",
         6, "hole"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
         "offsets\":[2,4]}}",
         5, "overlaps"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_"
         "offsets\":[0,3]}}",
         6, "overlaps"},
        {TENSOR("[2]", "[0,8]"), 7, "end in the middle"},
        {TENSOR("[2]", "[0,8]"), 9, "record 1: the data end in the middle"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_header("hostile.st", cases[i].json, cases[i].data);
        int count = count_records("hostile.st");
        if (count != (cases[i].fault ? -1 : 1))
            fail_msg("%s: %d %s", cases[i].json, count, error.text);
        if (cases[i].fault) {
            assert_said(cases[i].fault);
            assert_said("hostile.st: record ");
        }
    }
}

/* The beginning, `count` times the piece between commas, the end. Free it with free(). */
static char *repeated(const char *begin, const char *piece, size_t count, const char *end, size_t *size)
{
    const size_t first = strlen(begin), each = strlen(piece), last = strlen(end);
    char *text = malloc(first + count * (each + 1) + last + 1), *to = text;
    assert_non_null(text);
    to = mempcpy(to, begin, first);
    for (size_t i = 0; i < count; i++) {
        to = mempcpy(to, piece, each);
        *to++ = ',';
    }
    strcpy(to - (count > 0), end);
    *size = (size_t)(to - (count > 0) - text) + last;
    return text;
}

/* Brackets that take nearly all memory that a text may take, and behind them a string that takes more than is left. */
static void test_costly_header(void **state)
{
    (void)state;
    const size_t length = (size_t)40 << 20;
    char *string = malloc(length + 1);
    memset(string, 'a', length);
    memcpy(string, "],\"y\":\"", 7);
    strcpy(string + length - 2, "\"}");
    size_t size;
    char *header = repeated("........{\"x\":[", "[]", 1500000, string, &size);
    free(string);
    memcpy(header, &(uint64_t){size - 8}, 8);
    FILE *file = new_file("costly.st");
    append_frame(file, header, size, true, true);
    assert_int_equal(fclose(file), 0);
    free(header);
    assert_int_equal(count_records("costly.st"), -1);
    assert_said("costly.st: record 0: the header's JSON: it would take more than 256 MiB of memory");
}

static size_t in_use, most_in_use;

static void *counted_malloc(size_t size)
{
    void *memory = malloc(size);
    in_use += malloc_usable_size(memory) + sizeof(size_t);
    most_in_use = in_use > most_in_use ? in_use : most_in_use;
    return memory;
}

static void counted_free(void *memory)
{
    in_use -= memory ? malloc_usable_size(memory) + sizeof(size_t) : 0;
    free(memory);
}

static json_t *parse_counted(const char *text, size_t size)
{
    json_malloc_t old_malloc;
    json_free_t old_free;
    json_get_alloc_funcs(&old_malloc, &old_free);
    json_set_alloc_funcs(counted_malloc, counted_free);
    in_use = most_in_use = 0;
    json_t *json = dbi_json_parse(text, size, &error);
    json_decref(json);
    json_set_alloc_funcs(old_malloc, old_free);
    return json;
}

/* What a text is said to take at the most is not less than what it takes, and not many times more. */
static void test_json_cost(void **state)
{
    (void)state;
    static const char *const text[][3] = {
        {"[", "[]", "]"},          {"[", "{}", "]"},
        {"[", "1", "]"},           {"[", "-1.5e3", "]"},
        {"[", "\"\"", "]"},        {"[", "\"\\\"]\\\\\"", "]"},
        {"[", "[1,2,3]", "]"},     {"[", "{\"a\":1}", "]"},
        {"[\"", "abcdefg", "\"]"}, {"[", "[[[[[]]]]]", "]"},
        {" [ ", " null\n", " ] "}, {"[", "{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[100,124]}", "]"},
    };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        for (size_t count = 0; count < 100000; count = 3 * count + 1) {
            size_t size;
            char *all = repeated(text[i][0], text[i][1], count, text[i][2], &size);
            const size_t cost = dbi_json_cost(all, size);
            if (!parse_counted(all, size) || most_in_use > cost || (cost > 1 << 20 && cost > 5 * most_in_use))
                fail_msg("%zu times %s: %zu, not %zu", count, text[i][1], most_in_use, cost);
            free(all);
        }
}

/* Many members of one object. */
static void test_json_cost_of_members(void **state)
{
    (void)state;
    for (size_t count = 1; count < 40000; count = 2 * count + 1) {
        char *all = malloc(count * 24 + 3), *to = all;
        for (size_t i = 0; i < count; i++)
            to += sprintf(to, "%c\"%zu\":\"\"", i ? ',' : '{', i);
        to += sprintf(to, "}");
        const size_t cost = dbi_json_cost(all, (size_t)(to - all));
        assert_non_null(parse_counted(all, (size_t)(to - all)));
        assert_true(most_in_use <= cost);
        free(all);
    }
}

static void test_not_tensor_files(void **state)
{
    (void)state;
    put_file("bad.st", "", 0);
    assert_int_equal(count_records("bad.st"), -1);
    assert_string_equal(error.text, "bad.st: the file is empty");
    put_file("bad.st", "\x50\x2a\x4d\x18\x04\0\0\0abcd", 12);
    assert_int_equal(count_records("bad.st"), -1);
    assert_said("empty");
    put_file("bad.st",
             "\x50\x2a\x4d\x18\xff\xff\xff\xff"
             "abcd",
             12);
    assert_int_equal(count_records("bad.st"), -1);
    assert_said("skippable");
    put_file("bad.st", "abc", 3);
    assert_int_equal(count_records("bad.st"), -1);
    put_file("bad.st", "P5 128 128 255 and so on", 24);
    assert_int_equal(count_records("bad.st"), -1);
    assert_said("not a tensor file");
    put_file("bad.st", "\0\0\0\0\0\0\0\0", 8);
    assert_int_equal(count_records("bad.st"), -1);
    put_file("bad.st", "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    assert_int_equal(count_records("bad.st"), -1);
    put_file("bad.st", "\x00\xe1\xf5\x05\0\0\0\0{", 9); /* 100000000 bytes, the most */
    assert_int_equal(count_records("bad.st"), -1);
    assert_said("end in the middle");
    assert_int_equal(count_records("missing.st"), -1);
    assert_string_equal(error.text, "missing.st: No such file or directory");
    assert_int_equal(count_records("."), -1);
    assert_said("Is a directory");
}

/* Frames that lie about themselves. */
static void test_hostile_frames(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *fault;
    } frames[] = {
        {"\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\0\1\0", 13, "too much memory"},           /* single segment, 2^48 bytes */
        {"\x28\xb5\x2f\xfd\xc0\xff\0\0\0\0\0\1\0\0\1\0\0", 17, "too much memory"}, /* a window of 3.75 TB */
        {"\x28\xb5\x2f\xfd\x04\x90\1\0\0", 9, "too much memory"},                  /* a window of 256 MB */
        {"\x28\xb5\x2f\xfd\x03\x58\1\0\0\0\1\0\0", 13, "ictionary"},               /* a dictionary */
        {"\x28\xb5\x2f\xfd\x08\x58\1\0\0", 9, "zstd: "},                           /* the reserved bit */
        {"\x28\xb5\x2f\xfd", 4, "end in the middle"},                              /* the magic alone */
    };
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        put_file("frame.st", frames[i].bytes, frames[i].size);
        assert_int_equal(count_records("frame.st"), -1);
        assert_said("frame.st: record 0: ");
        assert_said(frames[i].fault);
    }
    /* a content size that is not the content's: byte 5 of the frame */
    FILE *file = new_file("frame.st");
    append_frame(file, "\2\0\0\0\0\0\0\0{}", 10, true, false);
    fclose(file);
    assert_int_equal(count_records("frame.st"), 1);
    size_t size;
    uint8_t *bytes = get_file("frame.st", &size);
    assert_int_equal(bytes[5], 10);
    for (int claimed = 0; claimed < 256; claimed++) {
        bytes[5] = (uint8_t)claimed;
        put_file("frame.st", bytes, size);
        assert_int_equal(count_records("frame.st"), claimed == 10 ? 1 : -1);
    }
    free(bytes);
    /* a wrong checksum: the record does not come at all */
    for (int sized = 0; sized < 2; sized++) {
        file = new_file("frame.st");
        append_frame(file, "\2\0\0\0\0\0\0\0{}", 10, sized, true);
        fclose(file);
        bytes = get_file("frame.st", &size);
        bytes[size - 1] ^= 1;
        put_file("frame.st", bytes, size);
        free(bytes);
        dbi_reader *reader = dbi_reader_open("frame.st", &error);
        dbi_record *record;
        assert_int_equal(dbi_reader_next(reader, &record, &error), -1);
        assert_said("checksum");
        dbi_reader_close(reader);
    }
    /* a frame that ends inside the record, with something else behind it */
    file = new_file("frame.st");
    append_frame(file, "\2\0\0\0\0\0\0\0", 8, true, true);
    fputs("{}", file);
    fclose(file);
    assert_int_equal(count_records("frame.st"), -1);
}

/* Cut anywhere, a file of one record is torn. */
static void test_truncated(void **state)
{
    (void)state;
    dbi_record *record = sample(5);
    for (int none = 0; none < 2; none++) {
        assert_int_equal(dbi_record_save(record, "whole.st", &(dbi_compression){.none = none}, &error), 0);
        size_t size;
        uint8_t *bytes = get_file("whole.st", &size);
        for (size_t cut = 0; cut < size; cut += cut < 200 || cut + 20 > size ? 1 : size / 50) {
            put_file("cut.st", bytes, cut);
            assert_int_equal(count_records("cut.st"), -1);
            assert_said("cut.st: ");
        }
        free(bytes);
    }
    dbi_record_free(record);
}

/* Any flipped bit of a compressed file is found, or changes nothing. */
static void test_flipped(void **state)
{
    (void)state;
    dbi_record *record = dbi_record_new(&error);
    dbi_tensor *tensor = dbi_record_add(record, "t", DBI_U8, 1, (int64_t[]){300}, &error);
    for (int i = 0; i < 300; i++)
        ((uint8_t *)tensor->data)[i] = (uint8_t)(i * i / 7);
    assert_int_equal(dbi_record_save(record, "whole.st", NULL, &error), 0);
    size_t size;
    uint8_t *bytes = get_file("whole.st", &size);
    int identical = 0;
    for (size_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        put_file("flip.st", bytes, size);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        dbi_record *back = dbi_record_load("flip.st", &error);
        if (back) {
            assert_same_record(record, back);
            dbi_record_free(back);
            identical++;
        }
    }
    assert_in_range(identical, 0, 8); /* the frame header's unused bit, and the like */
    free(bytes);
    dbi_record_free(record);
}

/* Damage at random, of plain and of compressed files, and of what is inside a frame with a right checksum: no crash, no
 * hang, and any record that comes can be written again. */
static void test_fuzz(void **state)
{
    (void)state;
    static const char *const bits[] = {
        "-1", "0",           "{",       "}",         "[",       "]",   ",",
        "\"", "99999999999", "\"F64\"", "\"shape\"", "\\u0000", "1e9", "\x28\xb5\x2f\xfd"};
    dbi_record *record = sample(6);
    uint8_t *plain, *packed;
    size_t plain_size, packed_size;
    assert_int_equal(dbi_record_save(record, "whole.st", &(dbi_compression){.none = true}, &error), 0);
    plain = get_file("whole.st", &plain_size);
    assert_int_equal(dbi_record_save(record, "whole.st", NULL, &error), 0);
    packed = get_file("whole.st", &packed_size);
    dbi_record_free(record);
    uint8_t *work = malloc(plain_size > packed_size ? plain_size : packed_size);
    dbi_random random;
    dbi_random_start(&random, 1, DBI_ROLE_TEST, 0, 1);
    int good = 0;
    for (int round = 0; round < 3000; round++) {
        size_t size = round % 3 == 1 ? packed_size : plain_size;
        memcpy(work, round % 3 == 1 ? packed : plain, size);
        for (uint32_t n = 1 + dbi_random_below(&random, 4); n; n--) {
            size_t at = dbi_random_below(&random, (uint32_t)(size < 1200 ? size : 1200));
            const char *bit = bits[dbi_random_below(&random, sizeof bits / sizeof *bits)];
            if (dbi_random_below(&random, 2))
                work[at] = (uint8_t)dbi_random_u32(&random);
            else if (at + strlen(bit) <= size)
                memcpy(work + at, bit, strlen(bit));
        }
        if (round % 7 == 0)
            size = dbi_random_below(&random, (uint32_t)size);
        FILE *file = new_file("fuzz.st");
        if (round % 3 == 2)
            append_frame(file, work, size, true, true);
        else
            fwrite(work, 1, size, file);
        fclose(file);
        dbi_record *back = dbi_record_load("fuzz.st", &error);
        if (back) {
            good++;
            assert_int_equal(dbi_record_checksum(back, (char[33]){0}, &error), 0);
        } else {
            assert_said("fuzz.st: ");
        }
        dbi_record_free(back);
    }
    assert_in_range(good, 1, 2999);
    free(work);
    free(plain);
    free(packed);
}

static void test_sink(void **state)
{
    (void)state;
    put_file("target", "old", 3);
    dbi_sink *sink = dbi_sink_open("target", &error);
    assert_non_null(sink);
    assert_int_equal(dbi_sink_printf(sink, &error, "%s %d", "new", 7), 0);
    assert_int_equal(access(".target.part", F_OK), 0);
    assert_null(dbi_sink_open("target", &error));
    assert_string_equal(error.text, "target: another program is writing it");
    dbi_sink_abort(sink);
    dbi_sink_abort(NULL);
    assert_int_equal(access(".target.part", F_OK), -1);
    size_t size;
    uint8_t *data = get_file("target", &size);
    assert_string_equal((char *)data, "old");
    free(data);

    put_file(".target.part", "what a killed program left", 26);
    sink = dbi_sink_open("target", &error);
    assert_int_equal(dbi_sink_printf(sink, &error, "new"), 0);
    assert_int_equal(dbi_sink_prepare(sink, &error), 0);
    data = get_file("target", &size);
    assert_string_equal((char *)data, "old");
    free(data);
    assert_int_equal(dbi_sink_publish(&sink, 1, &error), 0);
    data = get_file("target", &size);
    assert_string_equal((char *)data, "new");
    free(data);
    assert_int_equal(access(".target.part", F_OK), -1);

    assert_int_equal(symlink("target", "link"), 0);
    sink = dbi_sink_open("link", &error);
    assert_int_equal(dbi_sink_printf(sink, &error, "through"), 0);
    assert_int_equal(dbi_sink_commit(sink, &error), 0);
    data = get_file("target", &size);
    assert_string_equal((char *)data, "through");
    free(data);
    struct stat is;
    assert_int_equal(lstat("link", &is), 0);
    assert_true(S_ISLNK(is.st_mode));

    assert_null(dbi_sink_open("nowhere/target", &error));
    assert_string_equal(error.text, "nowhere/target: No such file or directory");
    assert_null(dbi_sink_open(".", &error));
    sink = dbi_sink_open("/dev/full", &error);
    assert_non_null(sink);
    assert_int_equal(dbi_sink_printf(sink, &error, "x"), 0);
    assert_int_equal(dbi_sink_commit(sink, &error), -1);
    assert_string_equal(error.text, "/dev/full: No space left on device");
}

/* A program that fails need not know its open files. */
static void test_exit(void **state)
{
    (void)state;
    for (int fail = 0; fail < 2; fail++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
            dbi_sink *one = dbi_sink_open("one", &error), *two = dbi_sink_open("two", &error);
            if (!one || !two || access(".one.part", F_OK) || access(".two.part", F_OK))
                _exit(3);
            if (fail)
                exit(1);
            exit(dbi_sink_commit(one, &error) ? 4 : 0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(WEXITSTATUS(status), fail);
        assert_int_equal(access(".one.part", F_OK), -1);
        assert_int_equal(access(".two.part", F_OK), -1);
        assert_int_equal(access("one", F_OK), 0);
        assert_int_equal(access("two", F_OK), -1);
    }
}

static void assert_holds(const char *path, const char *text)
{
    size_t size;
    uint8_t *data = get_file(path, &size);
    assert_string_equal((char *)data, text);
    free(data);
}

static dbi_sink *prepared(const char *path)
{
    dbi_sink *sink = dbi_sink_open(path, &error);
    assert_int_equal(dbi_sink_printf(sink, &error, "new"), 0);
    assert_int_equal(dbi_sink_prepare(sink, &error), 0);
    return sink;
}

/* Files that belong together: nothing is there before all are written. */
static void test_together(void **state)
{
    (void)state;
    dbi_record *record = sample(0);
    dbi_writer *writer = dbi_writer_open("student", NULL, &error);
    assert_int_equal(dbi_writer_put(writer, record, &error), 0);
    put_file("second", "old", 3);
    dbi_sink *sinks[] = {dbi_writer_prepare(writer, &error), NULL, prepared("second"), prepared("third")};
    assert_int_equal(access("student", F_OK), -1);
    assert_holds("second", "old");
    assert_int_equal(dbi_sink_publish(sinks, 4, &error), 0);
    assert_int_equal(count_records("student"), 1);
    assert_holds("second", "new");
    assert_holds("third", "new");
    assert_int_equal(access(".student.part", F_OK) & access(".second.part", F_OK) & access(".third.part", F_OK), -1);
    dbi_record_free(record);
    dbi_writer_abort(NULL);
}

/* When one of them cannot be published, none is: an old file is as it was, a new one is not there. */
static void test_not_together(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        unlink("second");
        put_file("first", "old", 3);
        dbi_sink *sinks[] = {prepared("first"), prepared("second"),
                             way ? prepared("last") : dbi_sink_open("last", &error)};
        if (way == 1)
            assert_int_equal(mkdir("last", 0777), 0);
        if (way == 2)
            assert_int_equal(unlink(".last.part"), 0); /* what cannot be foreseen */
        assert_int_equal(dbi_sink_publish(sinks, 3, &error), -1);
        assert_said(way == 0   ? "last: not written completely"
                    : way == 1 ? "last: Is a directory"
                               : "last: No such file");
        assert_holds("first", "old");
        assert_int_equal(access("second", F_OK), -1);
        assert_int_equal(access(".first.part", F_OK) & access(".second.part", F_OK) & access(".last.part", F_OK), -1);
        rmdir("last");
    }
}

static size_t pack(uint8_t *to, size_t room, const char *text)
{
    z_stream z = {0};
    deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    z.next_in = (uint8_t *)(uintptr_t)text;
    z.avail_in = (uInt)strlen(text);
    z.next_out = to;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t size = z.total_out;
    deflateEnd(&z);
    return size;
}

static void assert_reads(const char *path, size_t limit, const char *text)
{
    uint8_t *data;
    size_t size;
    if (dbi_bytes_read(path, limit, &data, &size, &error))
        fail_msg("%s", error.text);
    assert_int_equal(size, strlen(text));
    assert_string_equal((char *)data, text);
    free(data);
}

static void assert_refuses(const char *path, size_t limit, const char *fault)
{
    uint8_t *data;
    size_t size;
    assert_int_equal(dbi_bytes_read(path, limit, &data, &size, &error), -1);
    assert_said(path);
    assert_said(fault);
}

static void test_bytes(void **state)
{
    (void)state;
    put_file("empty", "", 0);
    assert_reads("empty", 0, "");
    put_file("text", "hello", 5);
    assert_reads("text", 0, "hello");
    assert_reads("text", 5, "hello");
    assert_refuses("text", 4, "larger than the 4 bytes");
    assert_refuses("missing", 0, "No such file");
    assert_refuses("text:member", 0, "not a tar or zip archive");
    assert_refuses(".", 0, "Is a directory");
    assert_refuses("/dev/zero", 100000, "larger than");
    put_file("a:b", "colon", 5);
    assert_reads("a:b", 0, "colon");
    char *large = malloc(300001);
    memset(large, 'l', 300000);
    large[300000] = 0;
    put_file("large", large, 300000);
    assert_reads("large", 300000, large);

    uint8_t packed[4096];
    size_t size = pack(packed, sizeof packed, large);
    put_file("large.gz", packed, size);
    assert_reads("large.gz", 300000, large);
    assert_refuses("large.gz", 299999, "larger than");
    free(large);
    size = pack(packed, sizeof packed, "hel");
    size += pack(packed + size, sizeof packed - size, "lo");
    put_file("two.gz", packed, size);
    assert_reads("two.gz", 5, "hello");
    for (size_t cut = 2; cut < size; cut++) {
        put_file("cut.gz", packed, cut);
        uint8_t *data;
        size_t got;
        if (!dbi_bytes_read("cut.gz", 0, &data, &got, &error)) {
            assert_string_equal((char *)data, "hel"); /* at the end of the first member */
            free(data);
        } else {
            assert_said("cut.gz: gzip: ");
        }
    }
    memset(packed + size, 0, 16);
    put_file("padded.gz", packed, size + 16);
    assert_reads("padded.gz", 5, "hello");
    memset(packed + size, 'x', 16);
    put_file("more.gz", packed, size + 16);
    assert_refuses("more.gz", 0, "gzip: ");
    packed[size - 6] ^= 1;
    put_file("flip.gz", packed, size);
    assert_refuses("flip.gz", 0, "gzip: ");
}

static void put_archive(const char *path, bool zip, const char *const (*members)[2], size_t count)
{
    struct archive *archive = archive_write_new();
    if (zip) {
        archive_write_set_format_zip(archive);
    } else {
        archive_write_set_format_pax_restricted(archive);
        archive_write_add_filter_xz(archive);
    }
    assert_int_equal(archive_write_open_filename(archive, path), ARCHIVE_OK);
    for (size_t i = 0; i < count; i++) {
        struct archive_entry *entry = archive_entry_new();
        archive_entry_set_pathname(entry, members[i][0]);
        archive_entry_set_filetype(entry, members[i][1] ? AE_IFREG : AE_IFDIR);
        archive_entry_set_perm(entry, 0644);
        archive_entry_set_size(entry, members[i][1] ? (la_int64_t)strlen(members[i][1]) : 0);
        assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
        if (members[i][1])
            archive_write_data(archive, members[i][1], strlen(members[i][1]));
        archive_entry_free(entry);
    }
    assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
    archive_write_free(archive);
}

static void test_archives(void **state)
{
    (void)state;
    static const char *const members[][2] = {{"./d", NULL}, {"./d/one", "first"}, {"two:2", "second"}, {"empty", ""}};
    for (int zip = 0; zip < 2; zip++) {
        put_archive("arch", zip, members, 4);
        assert_reads("arch:d/one", 0, "first");
        assert_reads("arch:./d/one", 5, "first");
        assert_refuses("arch:d/one", 4, "larger than");
        assert_reads("arch:two:2", 0, "second");
        assert_reads("arch:empty", 0, "");
        assert_refuses("arch:three", 0, "no member \"three\"");
        assert_refuses("arch:d/", 0, "");
        size_t size;
        uint8_t *bytes = get_file("arch", &size);
        for (size_t cut = 0; cut < size; cut += 1 + size / 50) {
            put_file("cut", bytes, cut);
            uint8_t *data;
            size_t got;
            if (!dbi_bytes_read("cut:d/one", 0, &data, &got, &error))
                free(data);
            else
                assert_said("cut:d/one: ");
        }
        free(bytes);
    }
}

static void test_compression_names(void **state)
{
    (void)state;
    dbi_compression compression;
    assert_int_equal(dbi_compression_parse("none", &compression, &error), 0);
    assert_true(compression.none);
    assert_int_equal(dbi_compression_parse("zstd", &compression, &error), 0);
    assert_false(compression.none);
    assert_int_equal(dbi_compression_parse("zstd:7", &compression, &error), 0);
    assert_int_equal(compression.level, 7);
    assert_int_equal(dbi_compression_parse(NULL, &compression, &error), 0);
    static const char *const bad[] = {"", "gzip", "zstd:", "zstd:0", "zstd:20", "zstd:3x", "zstd7", "zstd:-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dbi_compression_parse(bad[i], &compression, &error), -1);
    assert_string_equal(error.text, "\"zstd:-1\": choose none, zstd or zstd:LEVEL (LEVEL from 1 to 19)");
}

static dbi_summary summary_of(dbi_dtype dtype, const void *data, int64_t count)
{
    dbi_record *record = dbi_record_new(&error);
    dbi_tensor *tensor = dbi_record_add(record, "t", dtype, 1, &count, &error);
    memcpy(tensor->data, data, (size_t)count * dbi_dtype_size(dtype));
    dbi_summary summary = dbi_tensor_summary(tensor);
    dbi_record_free(record);
    return summary;
}

static void test_summary(void **state)
{
    (void)state;
    dbi_summary s = summary_of(DBI_F32, (float[]){1, NAN, -4, INFINITY, 6}, 5);
    assert_true(s.min == -4 && s.max == 6 && s.mean == 1 && s.nonfinite == 2);
    s = summary_of(DBI_F16, (uint16_t[]){0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x7e00},
                   6); /* 1, -2, 2^-24, 65504, infinite, NaN */
    assert_true(s.min == -2 && s.max == 65504 && s.nonfinite == 2);
    s = summary_of(DBI_F16, (uint16_t[]){0x0001, 0x8000}, 2);
    assert_true(s.max == ldexp(1, -24) && s.min == 0);
    s = summary_of(DBI_BF16, (uint16_t[]){0x3f80, 0xc000, 0x7f80}, 3);
    assert_true(s.min == -2 && s.max == 1 && s.mean == -0.5 && s.nonfinite == 1);
    s = summary_of(DBI_I8, (int8_t[]){-128, 127}, 2);
    assert_true(s.min == -128 && s.max == 127 && s.mean == -0.5);
    s = summary_of(DBI_U64, (uint64_t[]){UINT64_MAX}, 1);
    assert_true(s.max == 18446744073709551616.0);
    s = summary_of(DBI_I16, (int16_t[]){0}, 0);
    assert_true(isnan(s.min) && isnan(s.max) && isnan(s.mean) && s.nonfinite == 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_impossible_tensors),
        cmocka_unit_test(test_need),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_metadata_numbers),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_peek),
        cmocka_unit_test(test_unwritable),
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_no_waiting),
        cmocka_unit_test(test_close_early),
        cmocka_unit_test(test_close_slowly),
        cmocka_unit_test(test_late_checksum),
        cmocka_unit_test(test_hostile_headers),
        cmocka_unit_test(test_costly_header),
        cmocka_unit_test(test_json_cost),
        cmocka_unit_test(test_json_cost_of_members),
        cmocka_unit_test(test_not_tensor_files),
        cmocka_unit_test(test_hostile_frames),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_flipped),
        cmocka_unit_test(test_fuzz),
        cmocka_unit_test(test_sink),
        cmocka_unit_test(test_exit),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_not_together),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_archives),
        cmocka_unit_test(test_compression_names),
        cmocka_unit_test(test_summary),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

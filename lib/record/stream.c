#include "record/stream.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "record/input.h"
#include "record/private.h"
#include "record/safetensors.h"
#include "record/sink.h"

struct dbi_reader {
    dbi_input *input;
    char *name;
    size_t index;
    bool failed;
    /* Used with a thread that reads ahead: what it has read last. */
    bool ahead;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* any of the fields below */
    bool ready;             /* the caller has not taken it yet */
    bool over;              /* the thread has come to the end of the records, or to an error */
    bool stop;              /* the reader is closed */
    int got;
    dbi_record *record;
    dbi_error error;
};

dbi_reader *dbi_reader_open(const char *path, dbi_error *error)
{
    bool standard = !path || !strcmp(path, "-");
    dbi_reader *reader = calloc(1, sizeof *reader);
    if (!reader || !(reader->name = strdup(standard ? "standard input" : path))) {
        dbi_fail(error, "out of memory");
        dbi_reader_close(reader);
        return NULL;
    }
    reader->input = dbi_input_open(standard ? NULL : path, error);
    if (!reader->input) {
        dbi_fail_in(error, "%s", reader->name);
        dbi_reader_close(reader);
        return NULL;
    }
    return reader;
}

static void free_reader(dbi_reader *reader)
{
    dbi_record_free(reader->record);
    dbi_input_close(reader->input);
    free(reader->name);
    free(reader);
}

void dbi_reader_close(dbi_reader *reader)
{
    if (!reader)
        return;
    if (reader->ahead) {
        pthread_mutex_lock(&reader->lock);
        const bool over = reader->over;
        reader->stop = true;
        pthread_cond_broadcast(&reader->changed);
        pthread_mutex_unlock(&reader->lock);
        if (!over) /* the thread may wait for a pipe that nobody writes to; when it comes back, it frees the reader */
            return;
    }
    free_reader(reader);
}

static dbi_record *read_header(dbi_input *input, dbi_tensor_places *layout, dbi_error *error)
{
    uint64_t length;
    if (dbi_input_read(input, &length, sizeof length, error))
        return NULL;
    if (length < 2 || length > DBI_HEADER_LIMIT) {
        dbi_fail(error, "not a tensor file: neither a zstd frame nor a header of 2 to 100000000 bytes");
        return NULL;
    }
    char *json = dbi_input_take(input, length, error);
    dbi_record *record = json ? dbi_header_parse(json, length, layout, error) : NULL;
    free(json);
    return record;
}

static dbi_record *read_record(dbi_input *input, dbi_error *error)
{
    dbi_tensor_places layout = {0};
    dbi_record *record = read_header(input, &layout, error);
    bool ok = record;
    for (size_t i = 0; ok && i < layout.count; i++) {
        dbi_tensor *tensor = layout.parts[i].tensor;
        tensor->data = dbi_input_take(input, dbi_tensor_bytes(tensor), error);
        ok = tensor->data;
        if (!ok)
            dbi_fail_in(error, "tensor \"%s\"", tensor->name);
    }
    ok = ok && !dbi_input_end(input, error);
    free(layout.parts);
    if (ok)
        return record;
    dbi_record_free(record);
    return NULL;
}

static int read_next(dbi_reader *reader, dbi_record **record, dbi_error *error)
{
    *record = NULL;
    if (reader->failed)
        return dbi_fail(error, "%s: record %zu could not be read", reader->name, reader->index);
    int more = dbi_input_begin(reader->input, error);
    if (!more && !reader->index) {
        reader->failed = true;
        return dbi_fail(error, "%s: the file is empty", reader->name);
    }
    if (more > 0)
        *record = read_record(reader->input, error);
    if (more > 0 && *record)
        reader->index++;
    else if (more) {
        reader->failed = true;
        return dbi_fail_in(error, "%s: record %zu", reader->name, reader->index);
    }
    return more;
}

static void *read_ahead(void *argument)
{
    dbi_reader *reader = argument;
    for (;;) {
        dbi_record *record;
        dbi_error error;
        const int got = read_next(reader, &record, &error);
        pthread_mutex_lock(&reader->lock);
        reader->got = got;
        reader->record = record;
        reader->error = error;
        reader->ready = true;
        pthread_cond_broadcast(&reader->changed);
        while (got > 0 && reader->ready && !reader->stop)
            pthread_cond_wait(&reader->changed, &reader->lock);
        const bool stop = reader->stop;
        reader->over = got < 1;
        pthread_mutex_unlock(&reader->lock);
        if (stop)
            free_reader(reader);
        if (stop || got < 1)
            return NULL;
    }
}

/* The thread is detached from the start, because it may free itself and the reader at any time once it runs. */
static bool start_detached(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    pthread_attr_t detached;
    if (pthread_attr_init(&detached))
        return false;
    const bool started = !pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) &&
                         !pthread_create(&thread, &detached, run, argument);
    pthread_attr_destroy(&detached);
    return started;
}

int dbi_reader_ahead(dbi_reader *reader, dbi_error *error)
{
    pthread_mutex_init(&reader->lock, NULL);
    pthread_cond_init(&reader->changed, NULL);
    reader->ahead = start_detached(read_ahead, reader);
    return reader->ahead ? 0 : dbi_fail(error, "%s: no thread could be started", reader->name);
}

int dbi_reader_next(dbi_reader *reader, dbi_record **record, dbi_error *error)
{
    if (!reader->ahead)
        return read_next(reader, record, error);
    pthread_mutex_lock(&reader->lock);
    while (!reader->ready)
        pthread_cond_wait(&reader->changed, &reader->lock);
    const int got = reader->got;
    *record = reader->record;
    reader->record = NULL;
    if (got < 0)
        *error = reader->error;
    reader->ready = got < 1; /* the end, or an error, stays */
    pthread_cond_broadcast(&reader->changed);
    pthread_mutex_unlock(&reader->lock);
    return got;
}

dbi_record *dbi_record_load(const char *path, dbi_error *error)
{
    dbi_reader *reader = dbi_reader_open(path, error);
    if (!reader)
        return NULL;
    dbi_record *record = NULL, *second = NULL;
    if (dbi_reader_next(reader, &record, error) == 1) {
        int more = dbi_reader_next(reader, &second, error);
        if (more == 1)
            dbi_fail(error, "%s: record 1: more than the one record that is wanted", reader->name);
        if (more) {
            dbi_record_free(record);
            record = NULL;
        }
    }
    dbi_record_free(second);
    dbi_reader_close(reader);
    return record;
}

dbi_record *dbi_record_peek(const char *path, dbi_error *error)
{
    dbi_reader *reader = dbi_reader_open(path, error);
    if (!reader)
        return NULL;
    dbi_record *record = NULL;
    dbi_tensor_places layout = {0};
    int more = dbi_input_begin(reader->input, error);
    if (!more)
        dbi_fail(error, "%s: the file is empty", reader->name);
    else if (more < 0 || !(record = read_header(reader->input, &layout, error)))
        dbi_fail_in(error, "%s: record 0", reader->name);
    free(layout.parts);
    dbi_reader_close(reader);
    return record;
}

int dbi_compression_parse(const char *text, dbi_compression *compression, dbi_error *error)
{
    *compression = (dbi_compression){0};
    if (!text || !strcmp(text, "zstd"))
        return 0;
    if (!strcmp(text, "none")) {
        compression->none = true;
        return 0;
    }
    static const char prefix[] = "zstd:";
    char *end = "?";
    long level = !strncmp(text, prefix, sizeof prefix - 1) ? strtol(text + sizeof prefix - 1, &end, 10) : 0;
    if (*end || level < 1 || level > 19)
        return dbi_fail(error, "\"%s\": choose none, zstd or zstd:LEVEL (LEVEL from 1 to 19)", text);
    compression->level = (int)level;
    return 0;
}

struct dbi_writer {
    dbi_sink *sink;
    dbi_compression compression;
    ZSTD_CCtx *zstd;
    uint8_t *out;
    size_t out_size;
};

static int start_zstd(dbi_writer *writer, dbi_error *error)
{
    writer->out_size = ZSTD_CStreamOutSize();
    writer->out = malloc(writer->out_size);
    writer->zstd = ZSTD_createCCtx();
    if (!writer->out || !writer->zstd)
        return dbi_fail(error, "out of memory");
    int level = writer->compression.level ? writer->compression.level : 3;
    if (ZSTD_isError(ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_compressionLevel, level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_checksumFlag, 1)))
        return dbi_fail(error, "zstd refuses level %d", level);
    return 0;
}

dbi_writer *dbi_writer_open(const char *path, const dbi_compression *compression, dbi_error *error)
{
    dbi_writer *writer = calloc(1, sizeof *writer);
    if (!writer) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    if (compression)
        writer->compression = *compression;
    if ((!writer->compression.none && start_zstd(writer, error)) || !(writer->sink = dbi_sink_open(path, error))) {
        dbi_writer_abort(writer);
        return NULL;
    }
    return writer;
}

/* Writes some bytes of the record, compressed or not. last: the record and its zstd frame end with them. */
static int put_bytes(dbi_writer *writer, const void *data, size_t size, bool last, dbi_error *error)
{
    if (writer->compression.none)
        return dbi_sink_write(writer->sink, data, size, error);
    ZSTD_inBuffer in = {data, size, 0};
    for (bool done = false; !done;) {
        ZSTD_outBuffer out = {writer->out, writer->out_size, 0};
        size_t left = ZSTD_compressStream2(writer->zstd, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return dbi_fail(error, "zstd: %s", ZSTD_getErrorName(left));
        if (dbi_sink_write(writer->sink, writer->out, out.pos, error))
            return -1;
        done = last ? left == 0 : in.pos == in.size;
    }
    return 0;
}

int dbi_writer_put(dbi_writer *writer, const dbi_record *record, dbi_error *error)
{
    char *header;
    size_t size;
    dbi_tensor_places layout;
    if (dbi_header_make(record, &header, &size, &layout, error))
        return -1;
    if (!writer->compression.none) {
        ZSTD_CCtx_reset(writer->zstd, ZSTD_reset_session_only);
        ZSTD_CCtx_setPledgedSrcSize(writer->zstd, size + layout.size);
    }
    int result = put_bytes(writer, header, size, false, error);
    for (size_t i = 0; !result && i < layout.count; i++)
        result =
            put_bytes(writer, layout.parts[i].tensor->data, dbi_tensor_bytes(layout.parts[i].tensor), false, error);
    if (!result)
        result = put_bytes(writer, NULL, 0, true, error);
    free(layout.parts);
    free(header);
    return result ? -1 : dbi_sink_flush(writer->sink, error);
}

/* Frees everything but the sink. */
static void free_writer(dbi_writer *writer)
{
    ZSTD_freeCCtx(writer->zstd);
    free(writer->out);
    free(writer);
}

dbi_sink *dbi_writer_prepare(dbi_writer *writer, dbi_error *error)
{
    dbi_sink *sink = writer->sink;
    free_writer(writer);
    if (!dbi_sink_prepare(sink, error))
        return sink;
    dbi_sink_abort(sink);
    return NULL;
}

int dbi_writer_commit(dbi_writer *writer, dbi_error *error)
{
    int result = dbi_sink_commit(writer->sink, error);
    free_writer(writer);
    return result;
}

void dbi_writer_abort(dbi_writer *writer)
{
    if (!writer)
        return;
    dbi_sink_abort(writer->sink);
    free_writer(writer);
}

int dbi_record_save(const dbi_record *record, const char *path, const dbi_compression *compression, dbi_error *error)
{
    dbi_writer *writer = dbi_writer_open(path, compression, error);
    if (!writer)
        return -1;
    if (dbi_writer_put(writer, record, error)) {
        dbi_writer_abort(writer);
        return -1;
    }
    return dbi_writer_commit(writer, error);
}

/* Streams of records: `.st.zst` files and pipes, see dbisl-format(5). */
#ifndef DBI_RECORD_STREAM_H
#define DBI_RECORD_STREAM_H

#include "record/record.h"
#include "record/sink.h"

/* Reading. path: NULL or "-" is standard input. Errors name the file and the record ("x.st.zst: record 1: ..."). */
typedef struct dbi_reader dbi_reader;
dbi_reader *dbi_reader_open(const char *path, dbi_error *error);
/* 1 and a record that the caller frees, 0 at the end, -1 on error. A stream without any record is an error. */
int dbi_reader_next(dbi_reader *reader, dbi_record **record, dbi_error *error);
void dbi_reader_close(dbi_reader *reader);
/* Starts a thread that reads one record ahead, so that a record comes through the pipe while the caller works on the
 * one before. Fails when no thread can be started. */
int dbi_reader_ahead(dbi_reader *reader, dbi_error *error);

/* The one record of a file; more than one is an error. NULL with an error. */
dbi_record *dbi_record_load(const char *path, dbi_error *error);
/* Reads only the header of a file's first record: metadata, and tensors whose data are NULL. Damage behind the header
 * is not noticed. */
dbi_record *dbi_record_peek(const char *path, dbi_error *error);

typedef struct dbi_compression {
    bool none; /* plain safetensors bytes */
    int level; /* zstd's level; 0: the default, 3 */
} dbi_compression;

/* For cases, which are written once and read many times: scans are a seventh smaller than at level 3 and are
 * decompressed a quarter faster. Weights gain nothing. */
enum { DBI_LEVEL_OF_CASES = 7 };

/* Reads "none", "zstd" or "zstd:LEVEL"; text NULL: the default. */
int dbi_compression_parse(const char *text, dbi_compression *compression, dbi_error *error);

/* Writing. A regular file appears whole or not at all: it has a temporary name until dbi_writer_commit. Standard output
 * (NULL or "-"), pipes and devices are written at once. compression NULL: the default. */
typedef struct dbi_writer dbi_writer;
dbi_writer *dbi_writer_open(const char *path, const dbi_compression *compression, dbi_error *error);
int dbi_writer_put(dbi_writer *writer, const dbi_record *record, dbi_error *error);
/* Flushes, syncs, renames and frees. On failure the target is as it was. */
int dbi_writer_commit(dbi_writer *writer, dbi_error *error);
/* For programs that publish several files together: writes everything to disk and frees the writer. Returns its sink,
 * ready for dbi_sink_publish; NULL with an error: the target is as it was. */
dbi_sink *dbi_writer_prepare(dbi_writer *writer, dbi_error *error);
/* Removes what was written and frees. NULL is allowed. */
void dbi_writer_abort(dbi_writer *writer);

/* Writes a file of one record, whole or not at all. */
int dbi_record_save(const dbi_record *record, const char *path, const dbi_compression *compression, dbi_error *error);

#endif

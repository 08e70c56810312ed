/* Libraries that crash on damaged files work in a child process, with bounded time and memory: a crash there is an
 * error here. */
#ifndef DBI_IMAGE_FENCE_H
#define DBI_IMAGE_FENCE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Makes bytes (malloc'ed) out of `input`. It runs in a child that has one thread and the parent's memory as it was:
 * no OpenMP, no files, nothing printed. 0, or -1 with an error. */
typedef int dbi_fenced(const void *input, uint8_t **reply, size_t *size, dbi_error *error);

/* Runs the work and gives its reply of at most `most` bytes; free(). The bytes come from a process whose memory may
 * have been damaged: the caller checks what they say. An error of the work comes through as it is. A crash, so many
 * seconds of computing (or three times as many in all) and more than 512 MiB beyond the memory that was in use are
 * errors too. */
int dbi_fence(dbi_fenced *work, const void *input, unsigned seconds, size_t most, uint8_t **reply, size_t *size,
              dbi_error *error);

#endif

/* Runs libraries that crash on damaged files in a child process, with bounded time and memory. A crash there becomes an
 * error here. */
#ifndef DBI_IMAGE_FENCE_H
#define DBI_IMAGE_FENCE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Work for the child: makes *reply (malloc'ed) out of `input`. The child has one thread and a copy of the parent's
 * memory; it must not use OpenMP, open files or print. Returns 0, or -1 with an error. */
typedef int dbi_fenced(const void *input, uint8_t **reply, size_t *size, dbi_error *error);

/* Runs the work and gives its reply of at most `most` bytes; free(). The child's memory may have been damaged, so the
 * caller must check what the bytes say. An error of the work is passed on as it is. It is also an error when the child
 * crashes, computes for more than `seconds`, runs for more than three times as long, or takes more than 512 MiB beyond
 * the memory that was in use. */
int dbi_fence(dbi_fenced *work, const void *input, unsigned seconds, size_t most, uint8_t **reply, size_t *size,
              dbi_error *error);

#endif

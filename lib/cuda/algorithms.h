/* Which of cuDNN's candidates was the fastest for a convolution: remembered in a file, so that it is measured once per
 * GPU and shape, and so that every run computes with the same one: other algorithms give other last bits. The file is
 * text, a line for each convolution, key TAB number; lines that are none are passed over. It lies in
 * $XDG_CACHE_HOME/dbisl or ~/.cache/dbisl. */
#ifndef DBI_CUDA_ALGORITHMS_H
#define DBI_CUDA_ALGORITHMS_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "base/error.h"

enum { DBI_ALGORITHM_KEY = 256, DBI_ALGORITHM_MOST = 1000000 };

typedef struct dbi_algorithms dbi_algorithms;

/* Reads the file; none, or one that cannot be read, is an empty cache. NULL: out of memory. path: NULL: the usual one.
 */
dbi_algorithms *dbi_algorithms_open(const char *path, dbi_error *error);
void dbi_algorithms_close(dbi_algorithms *algorithms); /* NULL is allowed */
/* Can the file be written? Without it every run would measure anew, and might choose otherwise. */
bool dbi_algorithms_lasting(const dbi_algorithms *algorithms);
/* Before something unknown is measured: until the file is saved, others wait here; what they have found meanwhile is
 * known now. */
int dbi_algorithms_lock(dbi_algorithms *algorithms, dbi_error *error);
/* -1: unknown. */
int dbi_algorithms_find(const dbi_algorithms *algorithms, const char *key);
/* key: printable, without tabs, shorter than DBI_ALGORITHM_KEY; choice: 0 ... DBI_ALGORITHM_MOST. */
int dbi_algorithms_set(dbi_algorithms *algorithms, const char *key, int choice, dbi_error *error);
/* Writes the file anew where something was set, and unlocks. A file that cannot be written is no error: it is a cache.
 */
void dbi_algorithms_save(dbi_algorithms *algorithms);

#ifdef __cplusplus
}
#endif

#endif

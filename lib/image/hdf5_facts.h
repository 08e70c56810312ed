/* What libhdf5 says about the datasets of an HDF5 file. It crashes on damaged files, so it runs behind a fence. The
 * facts may be as wrong as the file: their user must check them. */
#ifndef DBI_IMAGE_HDF5_FACTS_H
#define DBI_IMAGE_HDF5_FACTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/stored.h"

enum { DBI_HDF5_MOST_FILTERS = 4 };

/* A chunk that has been written: its first voxel, and the place and length of its bytes in the file. */
typedef struct dbi_hdf5_chunk {
    uint64_t begin[3], at, length;
} dbi_hdf5_chunk;

/* Integers say yes and no here, because a bool must not hold any byte that the child may send. */
typedef struct dbi_hdf5_facts {
    int found;
    dbi_voxel_type type;
    int swapped; /* not in this machine's byte order */
    int rank;
    uint64_t shape[3]; /* valid when the rank is 3 */
    uint64_t stored;   /* bytes of voxels in the file */
    int chunked;
    uint64_t at;                                /* offset of voxels that are not in chunks; UINT64_MAX: none */
    uint64_t chunk[3], count;                   /* voxels of a chunk along each axis; number of written chunks */
    int filters, filter[DBI_HDF5_MOST_FILTERS]; /* `filters` may be larger than the array */
    uint8_t fill[8];                            /* the value of voxels that were never written, as stored */
} dbi_hdf5_facts;

/* Reads the facts of the datasets "image" and "label" that `want` (DBI_SCAN_...) names. When an image is wanted, the
 * label may be missing. *chunks: the image's chunks, then the label's, each as many as `count` says; free(). The caller
 * frees nothing on failure. */
int dbi_hdf5_facts_get(const uint8_t *bytes, size_t size, unsigned want, dbi_hdf5_facts facts[2],
                       dbi_hdf5_chunk **chunks, dbi_error *error);

#endif

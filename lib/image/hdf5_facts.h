/* What libhdf5 finds out about the datasets of an HDF5 file. It crashes on damaged files, so it runs behind a fence,
 * and the facts are only as good as the file: whoever uses them checks them. */
#ifndef DBI_IMAGE_HDF5_FACTS_H
#define DBI_IMAGE_HDF5_FACTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/stored.h"

enum { DBI_HDF5_MOST_FILTERS = 4 };

/* A chunk that has been written: its first voxel, and where its bytes are in the file. */
typedef struct dbi_hdf5_chunk {
    uint64_t begin[3], at, length;
} dbi_hdf5_chunk;

/* Numbers for yes and no, so that any bytes are a value. */
typedef struct dbi_hdf5_facts {
    int found;
    dbi_voxel_type type;
    int swapped; /* not in this machine's byte order */
    int rank;
    uint64_t shape[3]; /* where the rank is 3 */
    uint64_t stored;   /* bytes of voxels in the file */
    int chunked;
    uint64_t at;                                /* of the voxels, where they are not in chunks; UINT64_MAX: nowhere */
    uint64_t chunk[3], count;                   /* voxels of a chunk along each axis; chunks that have been written */
    int filters, filter[DBI_HDF5_MOST_FILTERS]; /* filters may be more */
    uint8_t fill[8];                            /* the voxel where nothing has been written, as it would be stored */
} dbi_hdf5_facts;

/* Of the datasets "image" and "label", where `want` (DBI_SCAN_...) names them; only the label of a wanted image may
 * be missing. *chunks: the image's and then the label's, count of each as the facts say; free(). */
int dbi_hdf5_facts_get(const uint8_t *bytes, size_t size, unsigned want, dbi_hdf5_facts facts[2],
                       dbi_hdf5_chunk **chunks, dbi_error *error);

#endif

#include "image/stored.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

void dbi_scan_free(dbi_scan *scan)
{
    free(scan->image.owned);
    free(scan->label.owned);
    *scan = (dbi_scan){0};
}

size_t dbi_voxel_size(dbi_voxel_type type)
{
    static const size_t sizes[] = {0, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8};
    return (unsigned)type < sizeof sizes / sizeof *sizes ? sizes[type] : 0;
}

void dbi_scan_checksum(char text[33], const uint8_t *bytes, size_t size)
{
    XXH128_hash_t hash = XXH3_128bits(bytes, size);
    if (text[0]) {
        char both[66];
        snprintf(both, sizeof both, "%s%016" PRIx64 "%016" PRIx64, text, hash.high64, hash.low64);
        hash = XXH3_128bits(both, 64);
    }
    snprintf(text, 33, "%016" PRIx64 "%016" PRIx64, hash.high64, hash.low64);
}

#include "record/checksum.h"

#include <stdlib.h>
#include <xxhash.h>

#include "record/private.h"
#include "record/safetensors.h"

int dbi_record_checksum(const dbi_record *record, char text[33], dbi_error *error)
{
    char *header;
    size_t size;
    dbi_tensor_places layout;
    if (dbi_header_make(record, &header, &size, &layout, error))
        return -1;
    XXH3_state_t *state = XXH3_createState();
    bool ok = state && XXH3_128bits_reset(state) == XXH_OK && XXH3_128bits_update(state, header, size) == XXH_OK;
    for (size_t i = 0; ok && i < layout.count; i++)
        ok = XXH3_128bits_update(state, layout.parts[i].tensor->data, dbi_tensor_bytes(layout.parts[i].tensor)) ==
             XXH_OK;
    if (ok) {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
        static const char digit[] = "0123456789abcdef";
        for (int i = 0; i < 16; i++) {
            text[2 * i] = digit[canonical.digest[i] >> 4];
            text[2 * i + 1] = digit[canonical.digest[i] & 15];
        }
        text[32] = 0;
    }
    XXH3_freeState(state);
    free(layout.parts);
    free(header);
    return ok ? 0 : dbi_fail(error, "out of memory");
}

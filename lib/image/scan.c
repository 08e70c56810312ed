#include "image/scan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/case.h"
#include "image/hdf5.h"
#include "record/bytes.h"

/* Names the formats that people have by mistake. */
static int unknown_format(const uint8_t *bytes, size_t size, dbi_error *error)
{
    static const struct {
        size_t at;
        const char *magic, *name;
    } formats[] = {{0, "\x28\xb5\x2f\xfd", "a zstd file (a record of ours?)"},
                   {0, "NRRD", "an NRRD file"},
                   {0, "PK\3\4", "a zip archive: name a member as ARCHIVE:MEMBER"},
                   {257, "ustar", "a tar archive: name a member as ARCHIVE:MEMBER"},
                   {128, "DICM", "a DICOM file"},
                   {0, "ObjectType", "a MetaImage file"}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        size_t length = strlen(formats[i].magic);
        if (size >= formats[i].at + length && !memcmp(bytes + formats[i].at, formats[i].magic, length))
            return dbi_fail(error, "neither NIfTI nor HDF5, but %s", formats[i].name);
    }
    return dbi_fail(error, size ? "neither NIfTI nor HDF5" : "the file is empty");
}

int dbi_scan_load(const char *path, unsigned want, const double *source_spacing, dbi_scan *scan, dbi_error *error)
{
    uint8_t *bytes = NULL;
    size_t size;
    char *header = NULL;
    *scan = (dbi_scan){0};
    int result = dbi_nifti_header_of(path, &header, &bytes, &size, error);
    if (result == 1)
        result = dbi_bytes_read(path, 0, &bytes, &size, error);
    if (result) { /* dbi_bytes_read named the file */
        free(header);
        return -1;
    }
    if (dbi_nifti_magic(bytes, size)) {
        result = dbi_nifti_scan(header ? header : path, bytes, size, want, scan, error);
    } else if (dbi_hdf5_probe(bytes, size)) {
        result = dbi_hdf5_read(path, bytes, size, want, source_spacing, scan, error);
    } else {
        result = unknown_format(bytes, size, error);
        free(bytes);
    }
    free(header);
    if (result) {
        dbi_scan_free(scan);
        dbi_fail_in(error, "%s", path);
    }
    return result;
}

static bool ends_in(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && !strcasecmp(text + length - tail, end);
}

/* The first bytes of a regular file. Nothing else is opened: what is read from a pipe is gone for the reader after us. */
static size_t first_bytes(const char *path, uint8_t *bytes, size_t size)
{
    struct stat is;
    FILE *file = !stat(path, &is) && S_ISREG(is.st_mode) ? fopen(path, "rb") : NULL;
    if (!file)
        return 0;
    size = fread(bytes, 1, size, file);
    fclose(file);
    return size;
}

bool dbi_is_scan(const char *path)
{
    static const char *const ends[] = {".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz", ".h5", ".hdf5"};
    uint8_t head[8];
    size_t size = first_bytes(path, head, sizeof head);
    if (dbi_nifti_magic(head, size) || dbi_hdf5_probe(head, size))
        return true;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_in(path, ends[i]))
            return true;
    return false;
}

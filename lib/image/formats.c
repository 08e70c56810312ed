#include "image/formats.h"

#include <stdio.h>
#include <string.h>

#include "image/hdf5.h"
#include "image/names.h"
#include "image/nifti.h"
#include "image/nifti_write.h"

static const dbi_scan_format formats[] = {
    {
        .name = "NIfTI",
        .kind = {"nifti1", "nifti2"},
        .placed = true,
        .gzip = true,
        .endings = {".nii", ".hdr", ".img"},
        .written = {".nii.gz", ".nii"},
        .probe = dbi_nifti_probe,
        .header = dbi_nifti_header,
        .read = dbi_nifti_read,
        .write = dbi_nifti_write,
    },
    {
        .name = "HDF5",
        .kind = {"hdf5"},
        .endings = {".h5", ".hdf5"},
        .probe = dbi_hdf5_probe,
        .read = dbi_hdf5_read,
    },
};

enum { FORMATS = sizeof formats / sizeof *formats };

/* Files that people give by mistake. */
static const struct {
    size_t at;
    const char *magic, *name;
} others[] = {{0, "\x28\xb5\x2f\xfd", "a zstd file (a record of ours?)"},
              {0, "NRRD", "an NRRD file"},
              {0, "PK\3\4", "a zip archive: name a member as ARCHIVE:MEMBER"},
              {257, "ustar", "a tar archive: name a member as ARCHIVE:MEMBER"},
              {128, "DICM", "a DICOM file"},
              {0, "ObjectType", "a MetaImage file"}};

/* Appends to a text in `room` bytes; what does not fit is cut off. */
static void add(char *text, size_t room, const char *more)
{
    size_t length = strlen(text);
    snprintf(text + length, room - length, "%s", more);
}

const dbi_scan_format *dbi_format_at(size_t index)
{
    return index < FORMATS ? &formats[index] : NULL;
}

static const dbi_scan_format *refuse_bytes(const uint8_t *bytes, size_t size, dbi_error *error)
{
    char text[200] = "";
    for (size_t i = 0; i < FORMATS; i++) {
        add(text, sizeof text, i == 0 ? "neither " : i + 1 < FORMATS ? ", " : " nor ");
        add(text, sizeof text, formats[i].name);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        size_t length = strlen(others[i].magic);
        if (size >= others[i].at + length && !memcmp(bytes + others[i].at, others[i].magic, length)) {
            dbi_fail(error, "%s, but %s", text, others[i].name);
            return NULL;
        }
    }
    dbi_fail(error, "%s", size ? text : "the file is empty");
    return NULL;
}

const dbi_scan_format *dbi_format_of_bytes(const uint8_t *bytes, size_t size, dbi_error *error)
{
    size_t first = size < DBI_FORMAT_PROBE ? size : DBI_FORMAT_PROBE;
    for (size_t i = 0; i < FORMATS; i++)
        if (formats[i].probe(bytes, first))
            return &formats[i];
    return refuse_bytes(bytes, size, error);
}

/* The ending, or the ending and .gz. */
static bool ends_as(const char *path, const dbi_scan_format *format, const char *ending)
{
    char compressed[32];
    snprintf(compressed, sizeof compressed, "%s.gz", ending);
    return dbi_name_ends(path, ending) || (format->gzip && dbi_name_ends(path, compressed));
}

const dbi_scan_format *dbi_format_of_name(const char *path)
{
    for (size_t i = 0; i < FORMATS; i++)
        for (const char *const *end = formats[i].endings; *end; end++)
            if (ends_as(path, &formats[i], *end))
                return &formats[i];
    return NULL;
}

const dbi_scan_format *dbi_format_of_kind(const char *kind)
{
    for (size_t i = 0; i < FORMATS; i++)
        for (const char *const *k = formats[i].kind; *k; k++)
            if (!strcmp(kind, *k))
                return &formats[i];
    return NULL;
}

static const dbi_scan_format *refuse_name(const char *path, dbi_error *error)
{
    char text[400] = "";
    for (size_t i = 0; i < FORMATS; i++) {
        if (!formats[i].write)
            continue;
        add(text, sizeof text, *text ? "; the name of a " : "the name of a ");
        add(text, sizeof text, formats[i].name);
        for (const char *const *end = formats[i].written; *end; end++) {
            add(text, sizeof text, end == formats[i].written ? " file ends in " : end[1] ? ", " : " or ");
            add(text, sizeof text, *end);
        }
    }
    dbi_fail(error, "%s: %s", path, text);
    return NULL;
}

const dbi_scan_format *dbi_format_to_write(const char *path, dbi_error *error)
{
    bool out = !path || !strcmp(path, "-");
    for (size_t i = 0; i < FORMATS; i++)
        for (const char *const *end = formats[i].written; *end; end++)
            if (out || (strlen(path) > strlen(*end) && dbi_name_ends(path, *end)))
                return &formats[i];
    return refuse_name(path, error);
}

const char *dbi_format_written_at(size_t index)
{
    for (size_t i = 0; i < FORMATS; i++)
        for (const char *const *end = formats[i].written; *end; end++)
            if (!index--)
                return *end;
    return NULL;
}

void dbi_format_strip(char *name)
{
    dbi_name_strip(name, ".gz");
    for (size_t i = 0; i < FORMATS; i++)
        for (const char *const *end = formats[i].endings; *end; end++)
            dbi_name_strip(name, *end);
}

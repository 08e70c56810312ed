/* The inputs and outputs of a program. An output that would replace an input is refused before any work. */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/formats.h"
#include "image/scan.h"
#include "tool.h"

typedef struct file {
    char *name;   /* as it was given */
    char *may_be; /* of an output: the input that it may replace; NULL: none */
    dev_t device; /* of the file, or of its folder if there is no such file */
    ino_t inode;
    const char *in_folder; /* "", or the name of a file that does not exist yet */
} file;

typedef struct list {
    file *files;
    size_t count;
} list;

static list inputs, outputs;

static _Noreturn void out_of_memory(void)
{
    dbi_error error;
    dbi_fail(&error, "out of memory");
    tool_die(&error);
}

static char *copy(const char *text)
{
    char *own = text ? strdup(text) : NULL;
    if (text && !own)
        out_of_memory();
    return own;
}

static bool is_standard(const char *path)
{
    return !path || !strcmp(path, "-");
}

static file *add(list *to, const char *name, const struct stat *is, const char *in_folder)
{
    file *files = realloc(to->files, (to->count + 1) * sizeof *files);
    if (files)
        to->files = files;
    else
        out_of_memory();
    file *added = &to->files[to->count++];
    *added = (file){.name = copy(name), .device = is->st_dev, .inode = is->st_ino, .in_folder = copy(in_folder)};
    return added;
}

static bool same_file(const file *a, const file *b)
{
    return a->device == b->device && a->inode == b->inode && !strcmp(a->in_folder, b->in_folder);
}

static _Noreturn void refuse(const file *output, const file *input)
{
    dbi_error error;
    if (strcmp(output->name, input->name))
        dbi_fail(&error, "%s is the input %s: the result would replace it; give the output another name", output->name,
                 input->name);
    else
        dbi_fail(&error, "%s is an input: the result would replace it; give the output another name", output->name);
    tool_die(&error);
}

/* An output may be one input, if the program allows it, and no other input. */
static void check_output(const file *output)
{
    bool allowed = output->may_be != NULL;
    for (size_t i = 0; i < inputs.count; i++) {
        if (!same_file(output, &inputs.files[i]))
            continue;
        if (!allowed || strcmp(inputs.files[i].name, output->may_be))
            refuse(output, &inputs.files[i]);
        allowed = false;
    }
    for (size_t i = 0; i < outputs.count && output != &outputs.files[i]; i++)
        if (same_file(output, &outputs.files[i])) {
            dbi_error error;
            dbi_fail(&error, "%s and %s are one file: two results cannot go there", outputs.files[i].name,
                     output->name);
            tool_die(&error);
        }
}

/* Notes the input if it is a file. Pipes and devices cannot be replaced by an output. */
static bool note_input(const char *path)
{
    struct stat is;
    if (is_standard(path) ? fstat(STDIN_FILENO, &is) : stat(path, &is))
        return false;
    if (!S_ISREG(is.st_mode))
        return true;
    add(&inputs, tool_input_name(path), &is, "");
    for (size_t i = 0; i < outputs.count; i++)
        check_output(&outputs.files[i]);
    return true;
}

/* Notes the other file of a pair .hdr and .img. */
static void note_partner(const char *path)
{
    char *other = copy(path);
    const size_t length = strlen(other), gz = length > 3 && !strcasecmp(other + length - 3, ".gz") ? 3 : 0;
    char *end = length > gz + 4 ? other + length - gz - 4 : NULL;
    if (end && (!strncasecmp(end, ".hdr", 4) || !strncasecmp(end, ".img", 4))) {
        memcpy(end, strncasecmp(end, ".hdr", 4) ? ".hdr" : ".img", 4);
        note_input(other);
    }
    free(other);
}

void tool_reads(const char *path)
{
    if (is_standard(path)) {
        note_input(path);
        return;
    }
    note_partner(path);
    if (note_input(path))
        return;
    char *archive = copy(path); /* ARCHIVE:MEMBER; both names may have colons, so each colon is tried */
    for (char *colon = archive; (colon = strchr(colon, ':')); *colon++ = ':') {
        *colon = 0;
        note_input(archive);
    }
    free(archive);
}

void tool_reads_all(tool_files files)
{
    for (int i = 0; i < files.count; i++)
        tool_reads(files.names[i]);
}

static bool ends_in(const char *text, const char *end)
{
    const size_t length = strlen(text), tail = strlen(end);
    return length > tail && !strcasecmp(text + length - tail, end);
}

/* Whether the name is that of an image: in a format that we know, or in another that a user may expect. */
static bool names_image(const char *path)
{
    static const char *const ends[] = {".nrrd", ".nhdr", ".mha",    ".mhd",  ".dcm",     ".mgh", ".mgz",
                                       ".mnc",  ".mif",  ".mif.gz", ".gipl", ".gipl.gz", ".vtk", ".tif",
                                       ".tiff", ".png",  ".jpg",    ".jpeg", ".npy",     ".npz"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_in(path, ends[i]))
            return true;
    return dbi_format_of_name(path) || dbi_is_written_scan(path);
}

static void refuse_image(const char *path, dbi_error *error)
{
    char ends[200] = "";
    size_t length = 0;
    const char *end;
    for (size_t i = 0; (end = dbi_format_written_at(i)) && length < sizeof ends; i++)
        length += (size_t)snprintf(ends + length, sizeof ends - length, "%s%s", i ? ", " : "", end);
    dbi_fail(error, "%s: no image of this kind can be written: let the name end in %s or .st.zst", path, ends);
}

/* The ending of the name says what a user expects in the file. */
static void check_form(const char *path, tool_form form)
{
    dbi_error error = {""};
    if (form == TOOL_SCAN)
        dbi_format_to_write(path, &error);
    else if (form == TOOL_RECORDS && names_image(path))
        dbi_fail(&error, "%s: tensor files are written here, no images: let the name end in .st.zst", path);
    else if (form == TOOL_RESULTS && names_image(path) && !dbi_is_written_scan(path))
        refuse_image(path, &error);
    else if (form == TOOL_TEXT && names_image(path))
        dbi_fail(&error, "%s: a text is written here, no image: choose another name", path);
    else if (form == TOOL_FOLDER && names_image(path))
        dbi_fail(&error, "%s: a folder is written here, no image: choose another name", path);
    if (error.text[0])
        tool_die(&error);
}

/* Checks that a file can be made there: it gets another name in the same folder first. is: of the folder. */
static void check_folder(const char *path, struct stat *is)
{
    char *copied = copy(path);
    const char *folder = dirname(copied);
    dbi_error error = {""};
    int reason = stat(folder, is) ? errno : S_ISDIR(is->st_mode) ? 0 : ENOTDIR;
    if (!reason && access(folder, W_OK | X_OK))
        reason = errno;
    if (reason)
        dbi_fail(&error, "%s: %s (the folder %s)", path, strerror(reason), folder);
    free(copied);
    if (error.text[0])
        tool_die(&error);
}

static void note_output(const char *path, const struct stat *is, const char *in_folder, const char *may_be)
{
    file *output = add(&outputs, path, is, in_folder);
    output->may_be = copy(may_be ? tool_input_name(may_be) : NULL);
    check_output(output);
}

void tool_writes(const char *path, tool_form form, const char *may_be)
{
    struct stat is, folder;
    if (is_standard(path)) {
        if (!fstat(STDOUT_FILENO, &is) && S_ISREG(is.st_mode))
            note_output("standard output", &is, "", may_be);
        return;
    }
    const bool there = !stat(path, &is);
    if (form != TOOL_FOLDER || !there)
        check_form(path, form);
    if (there && S_ISDIR(is.st_mode) != (form == TOOL_FOLDER)) {
        dbi_error error;
        dbi_fail(&error, "%s: %s", path, strerror(form == TOOL_FOLDER ? ENOTDIR : EISDIR));
        tool_die(&error);
    }
    if (there && !S_ISREG(is.st_mode))
        return;
    char *target = there ? realpath(path, NULL) : NULL; /* of a link, the file behind it is replaced */
    check_folder(target ? target : path, &folder);
    free(target);
    char *copied = copy(path);
    if (form != TOOL_FOLDER)
        note_output(path, there ? &is : &folder, there ? "" : basename(copied), may_be);
    free(copied);
}

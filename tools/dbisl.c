/* dbisl: runs dbisl-NAME, as git runs git-NAME. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"

enum { FAILED = 1, USAGE = 2 };

static const struct {
    const char *name, *what;
} programs[] = {
    {"phantom", "make a synthetic cohort of scans with labels"},
    {"preprocess", "scan (and label) to case: orientation, resampling, normalization, crop"},
    {"split", "cases to a manifest: labelled, unlabelled, validation, test"},
    {"sdf", "label or probability to signed distance map"},
    {"init", "a checkpoint with fresh weights, or from another checkpoint"},
    {"sample", "cases to a stream of augmented, cropped batches"},
    {"train-step", "train a student, and average its teacher, on batches"},
    {"ema", "move a teacher towards a student"},
    {"predict", "cases or scans and a checkpoint to segmentations"},
    {"restore", "a result to NIfTI in the scan's own grid"},
    {"metrics", "predictions and references to scores"},
    {"compare", "results of many trainings to means, intervals and tests"},
    {"transforms", "how close transforms to distance come to the exact distance"},
    {"info", "what is in a tensor file"},
};

static void list(FILE *to)
{
    fputs("Usage: dbisl NAME [ARGUMENT...]\n"
          "  or:  dbisl help [NAME]\n"
          "Semi-supervised segmentation of 3D medical images by programs in a pipeline.\n\n",
          to);
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        fprintf(to, "  %-12s %s\n", programs[i].name, programs[i].what);
    fputs(
        "\n`dbisl help NAME` shows a program's manual page, `dbisl NAME --help` its options. A program dbisl-NAME of\n"
        "your own on PATH runs as `dbisl NAME` as well.\n",
        to);
}

/* The folder of this program, or "" when /proc does not tell. */
static void own_folder(char folder[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    folder[length > 0 ? length : 0] = 0;
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
}

/* Runs the program beside this one, so that two installed versions do not mix, or else the one on PATH. Returns only
 * when there is none. */
static void run(const char *folder, const char *name, char **argv)
{
    static char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/dbisl-%s", folder, name);
    if (*folder && !strchr(name, '/') && access(path, X_OK) == 0) {
        argv[0] = path;
        execv(path, argv);
    }
    snprintf(path, sizeof path, "dbisl-%s", name);
    argv[0] = path;
    if (!strchr(name, '/'))
        execvp(path, argv);
}

/* Shows the page of an installed program, else that of the source tree, else what man finds. Without man it shows the
 * program's --help. */
static void show_page(const char *folder, const char *name)
{
    const char *prefix = strcmp(name, "dbisl") ? "dbisl-" : "";
    char page[2 * PATH_MAX];
    for (const char *section = "157"; *section; section++) {
        snprintf(page, sizeof page, "%s/../share/man/man%c/%s%s.%c", folder, *section, prefix, name, *section);
        if (access(page, R_OK))
            snprintf(page, sizeof page, "%s/../../man/%s%s.%c", folder, prefix, name, *section);
        if (*folder && access(page, R_OK) == 0)
            execlp("man", "man", page, (char *)NULL);
    }
    snprintf(page, sizeof page, "%s%s", prefix, name);
    execlp("man", "man", page, (char *)NULL);
    char help[] = "--help", *argv[] = {NULL, help, NULL};
    run(folder, name, argv);
}

int main(int argc, char **argv)
{
    char folder[PATH_MAX];
    own_folder(folder);
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        puts("dbisl " DBI_VERSION);
        return 0;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-?") || (!strcmp(name, "help") && argc == 2)) {
        list(stdout);
        return fflush(stdout) ? FAILED : 0;
    }
    if (!*name) {
        list(stderr);
        return USAGE;
    }
    if (!strcmp(name, "help")) {
        name = argv[2];
        show_page(folder, name);
    } else {
        run(folder, name, argv + 1);
    }
    fprintf(stderr, "dbisl: there is no program dbisl-%s; `dbisl --help` lists them\n", name);
    return USAGE;
}

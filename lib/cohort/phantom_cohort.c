/* A phantom cohort as files. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/parallel.h"
#include "cohort/phantom_cohort.h"
#include "image/scan.h"
#include "record/json.h"
#include "record/sink.h"

/* Test scans have their own range of indices, so that they do not depend on the number of training scans. */
#define FIRST_TEST 100000

static const char *const class_names[] = {"background", "body", "chamber", "tubes"};

static int make_folder(const char *path, dbi_error *error)
{
    struct stat status;
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode)))
        return 0;
    return dbi_fail_errno(error, "%s", path);
}

/* The id of scan i, such as "phantom_007"; the test scans come after the training scans. */
static void name_scan(int i, int train, char id[32])
{
    if (i < train)
        snprintf(id, 32, "phantom_%03d", i + 1);
    else
        snprintf(id, 32, "phantom_test_%03d", i - train + 1);
}

static int write_volume(const char *folder, const char *kind, const char *part, const char *id, int channel,
                        const dbi_volume *volume, dbi_error *error)
{
    char number[16] = "", path[4096];
    if (channel >= 0)
        snprintf(number, sizeof number, "_%04d", channel);
    if ((size_t)snprintf(path, sizeof path, "%s/%s%s/%s%s.nii.gz", folder, kind, part, id, number) >= sizeof path)
        return dbi_fail(error, "%s: the name is too long", folder);
    return dbi_scan_write(path, volume, NULL, error);
}

static int write_scan(const dbi_phantom_settings *settings, int i, int train, const char *folder, dbi_error *error)
{
    dbi_phantom phantom;
    if (dbi_phantom_make(settings, (uint32_t)(i < train ? i : FIRST_TEST + i - train), &phantom, error))
        return -1;
    const char *part = i < train ? "Tr" : "Ts";
    char id[32];
    name_scan(i, train, id);
    int result = write_volume(folder, "labels", part, id, -1, &phantom.label, error);
    for (int c = 0; result == 0 && c < phantom.channels; c++)
        result = write_volume(folder, "images", part, id, phantom.channels > 1 ? c : -1, &phantom.image[c], error);
    dbi_phantom_free(&phantom);
    return result;
}

static int put_numbered(json_t *object, int number, const char *text)
{
    char key[16];
    snprintf(key, sizeof key, "%d", number);
    return json_object_set_new(object, key, json_string(text));
}

static int fill_index(json_t *index, const dbi_phantom_settings *settings, int train, int test)
{
    char id[32];
    int status = 0;
    for (int c = 0; !status && c < settings->channels; c++)
        status = put_numbered(json_object_get(index, "modality"), c, "MRI");
    for (int k = 0; !status && k <= settings->classes; k++)
        status = put_numbered(json_object_get(index, "labels"), k, class_names[k]);
    for (int i = 0; !status && i < train + test; i++) {
        name_scan(i, train, id);
        if (i < train)
            status = json_array_append_new(json_object_get(index, "training"),
                                           json_pack("{s:s++,s:s++}", "image", "./imagesTr/", id, ".nii.gz", "label",
                                                     "./labelsTr/", id, ".nii.gz"));
        else
            status = json_array_append_new(json_object_get(index, "test"), json_sprintf("./imagesTs/%s.nii.gz", id));
    }
    return status;
}

/* The text of dataset.json; free(). NULL when memory is out. */
static char *index_text(const dbi_phantom_settings *settings, int train, int test)
{
    json_t *index = json_pack("{s:s,s:s,s:s,s:{},s:{},s:i,s:i,s:[],s:[]}", "name", "phantom", "description",
                              "Synthetic scans made by dbisl-phantom", "tensorImageSize", "3D", "modality", "labels",
                              "numTraining", train, "numTest", test, "training", "test");
    const bool whole = index && !fill_index(index, settings, train, test);
    char *text = whole ? dbi_json_text(index, JSON_INDENT(1), NULL) : NULL;
    json_decref(index);
    return text;
}

static int write_index(const dbi_phantom_settings *settings, int train, int test, const char *folder, dbi_error *error)
{
    char *text = index_text(settings, train, test), path[4096];
    if (!text)
        return dbi_fail(error, "out of memory");
    int result = -1;
    if ((size_t)snprintf(path, sizeof path, "%s/dataset.json", folder) >= sizeof path)
        dbi_fail(error, "%s: the name is too long", folder);
    else {
        dbi_sink *sink = dbi_sink_open(path, error);
        if (sink && dbi_sink_printf(sink, error, "%s\n", text))
            dbi_sink_abort(sink);
        else if (sink)
            result = dbi_sink_commit(sink, error);
    }
    free(text);
    return result;
}

int dbi_phantom_write(const dbi_phantom_settings *settings, int train, int test, const char *folder,
                      void (*done)(int count, int of), dbi_error *error)
{
    static const char *const parts[] = {"", "/imagesTr", "/labelsTr", "/imagesTs", "/labelsTs"};
    if (train < 0 || test < 0 || train >= FIRST_TEST || test >= FIRST_TEST)
        return dbi_fail(error, "%d training and %d test scans are not from 0 to %d", train, test, FIRST_TEST - 1);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char path[4096];
        if ((size_t)snprintf(path, sizeof path, "%s%s", folder, parts[i]) >= sizeof path)
            return dbi_fail(error, "%s: the name is too long", folder);
        if (make_folder(path, error))
            return -1;
    }
    int count = 0, failed = 0;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < train + test; i++) {
        int skip;
#pragma omp atomic read
        skip = failed;
        if (skip)
            continue;
        dbi_error mine;
        int result = write_scan(settings, i, train, folder, &mine);
#pragma omp critical(dbi_phantom_write)
        {
            if (result == 0 && done)
                done(++count, train + test);
            if (result && !failed) {
                if (error)
                    *error = mine;
#pragma omp atomic write
                failed = 1;
            }
        }
    }
    return failed ? -1 : write_index(settings, train, test, folder, error);
}

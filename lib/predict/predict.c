#include "predict/predict.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "device/net.h"
#include "device/slide.h"
#include "image/box.h"
#include "image/components.h"
#include "image/preparation.h"
#include "record/checksum.h"
#include "record/history.h"
#include "record/metadata.h"

/* The memory that nets take, as the device told. Some devices need as long to find it out as to compute a scan. */
enum { KNOWN_NETS = 16 };

typedef struct known_nets {
    int next; /* the one that is forgotten first */
    struct {
        int64_t window[3], batch; /* batch 0: none */
        size_t bytes;
    } net[KNOWN_NETS];
} known_nets;

struct dbi_predictor {
    dbi_checkpoint *checkpoint;
    dbi_predict_settings settings;
    double k;
    int decoders;    /* of the network */
    bool apart;      /* windows are put together for each decoder by itself */
    size_t kept;     /* bytes of the whole scan and its results, where windows see a part that is held beside them */
    dbi_net *net;    /* the network of the last case */
    int64_t size[3]; /* its window */
    int64_t batch;   /* how many windows it takes at once */
    bool seen;       /* it has done a pass, so that it has the weights */
    known_nets *known;
    /* Used when the device does the windows of a scan itself. */
    int64_t most_batch; /* smaller when a larger batch has had no room */
    bool on_host;       /* windows are cut on the host */
    dbi_error why;      /* why they are */
};

static const struct {
    unsigned output;
    const char *name;
} output_names[] = {{DBI_PREDICT_LABEL, "label"},
                    {DBI_PREDICT_PROB, "prob"},
                    {DBI_PREDICT_LOGITS, "logits"},
                    {DBI_PREDICT_SDF, "sdf"},
                    {DBI_PREDICT_UNCERTAINTY, "uncertainty"}};
enum { OUTPUTS = sizeof output_names / sizeof *output_names };

static unsigned output_named(const char *name, size_t length)
{
    for (int i = 0; i < OUTPUTS; i++)
        if (strlen(output_names[i].name) == length && !memcmp(output_names[i].name, name, length))
            return output_names[i].output;
    return 0;
}

int dbi_predict_outputs_parse(const char *text, unsigned *outputs, dbi_error *error)
{
    *outputs = 0;
    for (const char *p = text;; p++) {
        size_t length = strcspn(p, ",");
        unsigned output = output_named(p, length);
        if (!output)
            return dbi_fail(error, "\"%.*s\": choose any of label, prob, logits, sdf and uncertainty", (int)length, p);
        if (*outputs & output)
            return dbi_fail(error, "\"%.*s\" is there twice", (int)length, p);
        *outputs |= output;
        p += length;
        if (!*p)
            return 0;
    }
}

static bool needs_seg(const dbi_predict_settings *s)
{
    return s->head != DBI_HEAD_SDF || (s->outputs & DBI_PREDICT_UNCERTAINTY);
}

static bool needs_step(const dbi_predict_settings *s)
{
    return s->head != DBI_HEAD_SEG || (s->outputs & DBI_PREDICT_UNCERTAINTY);
}

/* A network of one decoder has no other choice than that one. */
static int check_decoder(const dbi_predict_settings *s, int decoders, dbi_error *error)
{
    const bool there = s->decoder == DBI_DECODER_EACH ? decoders > 1 : (int)s->decoder - DBI_DECODER_FIRST < decoders;
    return there
               ? 0
               : dbi_fail(error, "the network has one decoder: decoder %s is not there", dbi_decoder_name(s->decoder));
}

static int read_k(const dbi_record *meta, double *k, dbi_error *error)
{
    if (!dbi_meta_get(meta, "regression"))
        return dbi_fail(error, "the checkpoint does not say what its distance head means (no metadata \"regression\"): "
                               "give the slope k of its step");
    json_t *regression = dbi_meta_get_json(meta, "regression", error);
    if (!regression)
        return -1;
    *k = json_number_value(json_object_get(regression, "k"));
    json_decref(regression);
    return *k > 0 && isfinite(*k) ? 0 : dbi_fail(error, "metadata \"regression\" has no slope k above 0");
}

/* Limits of the windows that a device takes at once. This many voxels give all units of a GPU work, also at the lower
 * levels of the network. */
enum { BATCH_VOXELS = 1 << 24, MOST_BATCH = 16 };

dbi_predictor *dbi_predictor_open(dbi_checkpoint *checkpoint, const dbi_predict_settings *settings, dbi_error *error)
{
    double k = settings->k;
    if (checkpoint->layout.arch.classes > UINT8_MAX) {
        dbi_fail(error, "%d classes: a label has at most %d", checkpoint->layout.arch.classes, UINT8_MAX);
        return NULL;
    }
    if (check_decoder(settings, checkpoint->layout.arch.decoders, error))
        return NULL;
    if (needs_step(settings) && !(k > 0) && read_k(checkpoint->meta, &k, error))
        return NULL;
    dbi_predictor *p = dbi_alloc(1, sizeof *p, error);
    if (p && !(p->known = dbi_alloc(1, sizeof *p->known, error))) {
        free(p);
        return NULL;
    }
    if (p) {
        p->checkpoint = checkpoint;
        p->settings = *settings;
        p->k = k;
        p->decoders = checkpoint->layout.arch.decoders;
        p->apart = settings->decoder == DBI_DECODER_EACH || (p->decoders > 1 && settings->decoder == DBI_DECODER_MEAN &&
                                                             settings->outputs & DBI_PREDICT_UNCERTAINTY);
        p->most_batch = MOST_BATCH;
    }
    return p;
}

const char *dbi_predictor_on_host(const dbi_predictor *predictor)
{
    return predictor->on_host ? predictor->why.text : NULL;
}

void dbi_predictor_close(dbi_predictor *predictor)
{
    if (!predictor)
        return;
    dbi_net_close(predictor->net);
    free(predictor->known);
    free(predictor);
}

/* The volumes of float that a prediction holds at once, without the image. */
static int64_t score_volumes(const dbi_predictor *p)
{
    int64_t k = p->checkpoint->layout.arch.classes, volumes = 1; /* the label and the largest component's numbers */
    int64_t means = (needs_seg(&p->settings) + needs_step(&p->settings)) * k;
    means += (p->settings.outputs & DBI_PREDICT_LOGITS ? k : 0) + (p->settings.outputs & DBI_PREDICT_SDF ? k : 0);
    volumes += p->apart ? p->decoders * means + k : means; /* k: prob, beside that of each decoder */
    return volumes + (p->settings.outputs & DBI_PREDICT_UNCERTAINTY ? 1 : 0);
}

/* The bytes of a net; SIZE_MAX when no such net can be opened. */
static size_t net_bytes(const dbi_predictor *p, const int64_t window[3], int64_t batch)
{
    known_nets *k = p->known;
    for (int i = 0; i < KNOWN_NETS; i++)
        if (k->net[i].batch == batch && !memcmp(k->net[i].window, window, sizeof k->net[i].window))
            return k->net[i].bytes;
    const size_t bytes = dbi_net_bytes(&p->settings.device, &p->checkpoint->layout, batch, window, false);
    memcpy(k->net[k->next].window, window, sizeof k->net[k->next].window);
    k->net[k->next].batch = batch;
    k->net[k->next].bytes = bytes;
    k->next = (k->next + 1) % KNOWN_NETS;
    return bytes;
}

static size_t bytes_with(const dbi_predictor *p, const int64_t shape[3], const int64_t window[3], int64_t batch)
{
    const dbi_arch *arch = &p->checkpoint->layout.arch;
    int64_t voxels = shape[0] * shape[1] * shape[2];
    size_t net = net_bytes(p, window, batch);
    if (net == SIZE_MAX) /* more than the machine has */
        return SIZE_MAX;
    return p->kept + (size_t)((arch->channels + score_volumes(p)) * voxels) * sizeof(float) +
           dbi_slide_bytes(arch->channels, arch->classes, arch->decoders, window) + net;
}

/* A smaller window shows the network too little for a useful answer. */
enum { LEAST_WINDOW = 32 };

/* Larger sizes in a file's metadata are refused. */
enum { LARGEST_PATCH = 65536 };

static int read_patch(const dbi_record *meta, int64_t patch[3], dbi_error *error)
{
    json_t *sizes = dbi_meta_get_json(meta, "patch", error);
    if (!sizes)
        return -1;
    bool good = json_array_size(sizes) == 3;
    for (size_t a = 0; good && a < 3; a++) {
        patch[a] = json_integer_value(json_array_get(sizes, a));
        good = patch[a] >= DBI_NET_MULTIPLE && patch[a] <= LARGEST_PATCH && patch[a] % DBI_NET_MULTIPLE == 0;
    }
    json_decref(sizes);
    return good ? 0
                : dbi_fail(error, "the checkpoint's metadata \"patch\" is not three multiples of %d", DBI_NET_MULTIPLE);
}

static int fit_window(const dbi_predictor *p, const int64_t shape[3], int64_t window[3], dbi_error *error)
{
    const bool trained = p->settings.choice == DBI_WINDOW_TRAINED && dbi_meta_get(p->checkpoint->meta, "patch");
    int64_t patch[3] = {INT64_MAX, INT64_MAX, INT64_MAX};
    if (trained && read_patch(p->checkpoint->meta, patch, error))
        return -1;
    for (int a = 0; a < 3; a++) {
        window[a] = dbi_window_round(shape[a]);
        if (window[a] > patch[a])
            window[a] = patch[a];
    }
    size_t bytes;
    while ((bytes = bytes_with(p, shape, window, 1)) > p->settings.memory) {
        int longest = 0;
        for (int a = 1; a < 3; a++)
            longest = window[a] > window[longest] ? a : longest;
        if (window[longest] <= LEAST_WINDOW && bytes == SIZE_MAX) { /* opening it gives the reason */
            dbi_net *net = dbi_net_open(&p->settings.device, &p->checkpoint->layout, 1, window, false, error);
            if (!net)
                return -1;
            dbi_net_close(net);
        }
        if (window[longest] <= LEAST_WINDOW)
            return dbi_fail(
                error, "a scan of %" PRId64 "x%" PRId64 "x%" PRId64 " voxels takes at least %zu MB, %zu MB are allowed",
                shape[0], shape[1], shape[2], bytes / 1000000 + 1, p->settings.memory / 1000000);
        window[longest] = dbi_window_round((window[longest] + 1) / 2);
    }
    return 0;
}

int dbi_predictor_window(const dbi_predictor *predictor, const int64_t shape[3], int64_t window[3], int64_t stride[3],
                         dbi_error *error)
{
    const dbi_predict_settings *s = &predictor->settings;
    if (s->choice == DBI_WINDOW_GIVEN)
        memcpy(window, s->window, sizeof s->window);
    else if (fit_window(predictor, shape, window, error))
        return -1;
    for (int a = 0; a < 3; a++) {
        stride[a] = s->stride[a] ? s->stride[a] : (window[a] + 1) / 2;
        stride[a] = stride[a] < window[a] ? stride[a] : window[a];
    }
    return 0;
}

int dbi_predictor_check(const dbi_predictor *predictor, const dbi_record *input, dbi_error *error)
{
    const char *kind = dbi_meta_get(input, "kind");
    if (kind && strcmp(kind, "case"))
        return dbi_fail(error, "a %s, not a case", kind);
    const dbi_tensor *image = dbi_record_need(input, "image", DBI_F32, 4, NULL, error);
    if (!image)
        return -1;
    if (image->shape[0] != predictor->checkpoint->layout.arch.channels)
        return dbi_fail(error, "tensor \"image\" has %" PRId64 " channels, the network %d", image->shape[0],
                        predictor->checkpoint->layout.arch.channels);
    if (!image->count)
        return dbi_fail(error, "tensor \"image\" has no voxels");
    const float *voxel = image->data;
    bool finite = true;
    for (size_t i = 0; i < image->count; i++)
        finite &= isfinite(voxel[i]) != 0;
    return finite ? 0 : dbi_fail(error, "tensor \"image\" has voxels that are not finite");
}

static bool same_preparation(const dbi_preparation *a, const dbi_preparation *b)
{
    return a->resample == b->resample && (!a->resample || !memcmp(a->spacing, b->spacing, sizeof a->spacing)) &&
           a->downsample == b->downsample && a->intensity.kind == b->intensity.kind &&
           (a->intensity.kind != DBI_INTENSITY_WINDOW ||
            (a->intensity.low == b->intensity.low && a->intensity.high == b->intensity.high));
}

int dbi_predictor_check_preparation(const dbi_predictor *predictor, const dbi_record *input, dbi_error *error)
{
    const char *mine = dbi_meta_get(predictor->checkpoint->meta, "preprocessing"),
               *theirs = dbi_meta_get(input, "preprocessing");
    if (!mine || !theirs || !strcmp(mine, theirs))
        return 0;
    dbi_preparation a, b;
    if (dbi_preparation_parse(mine, &a, error))
        return dbi_fail_in(error, "the checkpoint's metadata \"preprocessing\"");
    if (dbi_preparation_parse(theirs, &b, error))
        return dbi_fail_in(error, "metadata \"preprocessing\"");
    if (!same_preparation(&a, &b))
        return dbi_fail(error, "prepared by %s, the network was trained on cases prepared by %s", theirs, mine);
    return 0;
}

static bool is_cropped(const dbi_record *meta)
{
    const char *text = dbi_meta_get(meta, "preprocessing");
    dbi_preparation preparation;
    return text && !dbi_preparation_parse(text, &preparation, NULL) && preparation.crop >= 0;
}

bool dbi_predictor_beyond_crops(const dbi_predictor *predictor, const dbi_record *input)
{
    return is_cropped(predictor->checkpoint->meta) && !is_cropped(input);
}

static int see_window(void *context, const float *image, float *logits, float *sdf, dbi_error *error)
{
    dbi_predictor *p = context;
    const dbi_pass pass = {.statistics = DBI_RUNNING_STATISTICS, .same_weights = p->seen};
    p->seen = true;
    return dbi_net_forward(p->net, &p->checkpoint->weights, &pass, image, logits, sdf, error);
}

static int open_net(dbi_predictor *p, const int64_t size[3], int64_t batch, dbi_error *error)
{
    if (p->net && p->batch == batch && !memcmp(p->size, size, sizeof p->size))
        return 0;
    dbi_net_close(p->net); /* first, so that two are never held */
    p->seen = false;
    p->net = dbi_net_open(&p->settings.device, &p->checkpoint->layout, batch, size, false, error);
    p->batch = batch;
    memcpy(p->size, size, sizeof p->size);
    return p->net ? 0 : -1;
}

/* How many windows a device takes at once. It is a power of 2, so that cuDNN has few shapes to choose algorithms for,
 * and it is limited so that at most a quarter more is computed than the scan has windows. While the memory suffices it
 * depends on this scan alone: a case gives the same bytes alone and after others. */
static int64_t batch_of(const dbi_predictor *p, const int64_t shape[3], const int64_t window[3], int64_t windows)
{
    const double voxels = (double)window[0] * (double)window[1] * (double)window[2];
    int64_t batch = p->most_batch;
    while (batch > 1 &&
           ((double)batch * voxels > BATCH_VOXELS || 4 * ((windows + batch - 1) / batch * batch) > 5 * windows))
        batch /= 2;
    while (batch > 1 && p->settings.choice != DBI_WINDOW_GIVEN &&
           bytes_with(p, shape, window, batch) > p->settings.memory)
        batch /= 2;
    return batch;
}

/* Of the windows' means of a decoder. */
enum { SCORE_NAME = 16 };
static const char *score_name(const dbi_predictor *p, const char *what, int decoder, char name[SCORE_NAME])
{
    snprintf(name, SCORE_NAME, p->apart ? "%s.%d" : "%s", what, decoder + 1);
    return name;
}

/* Adds the tensors in which the means over windows are taken, of one decoder or of all together: the heads' means are
 * in "prob" and, when both are needed, in "step", which is dropped at the end. */
static int add_scores_of(const dbi_predictor *p, dbi_record *out, const int64_t shape[3], int decoder,
                         dbi_window_means *scores, dbi_error *error)
{
    char name[SCORE_NAME];
    const int64_t full[4] = {p->checkpoint->layout.arch.classes, shape[0], shape[1], shape[2]};
    const struct {
        bool wanted;
        const char *name;
        float **data;
    } parts[] = {{needs_seg(&p->settings), "prob", &scores->seg},
                 {needs_step(&p->settings), needs_seg(&p->settings) ? "step" : "prob", &scores->step},
                 {p->settings.outputs & DBI_PREDICT_LOGITS, "logits", &scores->logits},
                 {p->settings.outputs & DBI_PREDICT_SDF, "sdf", &scores->sdf}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        score_name(p, parts[i].name, decoder, name);
        dbi_tensor *tensor = parts[i].wanted ? dbi_record_add(out, name, DBI_F32, 4, full, error) : NULL;
        if (parts[i].wanted && !tensor)
            return -1;
        *parts[i].data = tensor ? tensor->data : NULL;
    }
    return 0;
}

static int add_scores(const dbi_predictor *p, dbi_record *out, const int64_t shape[3],
                      dbi_window_means scores[DBI_MAX_DECODERS], dbi_error *error)
{
    for (int d = 0; d < (p->apart ? p->decoders : 1); d++)
        if (add_scores_of(p, out, shape, d, &scores[d], error))
            return -1;
    return 0;
}

/* Returns 0, -1 or DBI_NO_ROOM. */
static int slide_on_device(dbi_predictor *p, const dbi_slide *run, int64_t batch, const float *image,
                           const dbi_window_means *scores, const dbi_slide_label *label, dbi_error *error)
{
    const dbi_axis *axis = run->windows->axis;
    if (open_net(p, (const int64_t[]){axis[0].window, axis[1].window, axis[2].window}, batch, error))
        return DBI_NO_ROOM;
    const int status = dbi_net_slide(p->net, &p->checkpoint->weights, p->seen, run, image, scores, label, error);
    p->seen = p->seen || !status;
    return status;
}

/* When the device has no room for so many windows at once, tries half as many. When it has no room even for one window
 * and the scan, returns DBI_NO_ROOM: windows are then cut on the host, for this case and all later ones, and a net of
 * one window is open. Otherwise returns 0 or -1. */
static int slide_with_room(dbi_predictor *p, const dbi_slide *run, int64_t batch, const float *image,
                           const dbi_window_means *scores, const dbi_slide_label *label, dbi_error *error)
{
    dbi_error why;
    int status;
    while ((status = slide_on_device(p, run, batch, image, scores, label, &why)) == DBI_NO_ROOM && batch > 1)
        p->most_batch = batch /= 2;
    if (status && (status != DBI_NO_ROOM || !p->net))
        return dbi_fail(error, "%s", why.text);
    if (status) {
        p->on_host = true;
        p->why = why;
    }
    return status;
}

/* Adds tensors to `out` and fills them: the label when the means stay on the device (*labeled), otherwise the means. */
static int slide(dbi_predictor *p, const dbi_tensor *image, const int64_t window[3], const int64_t stride[3],
                 dbi_record *out, dbi_window_means scores[DBI_MAX_DECODERS], bool *labeled,
                 void (*progress)(void *, int64_t, int64_t), void *context, dbi_error *error)
{
    const bool by_device = p->settings.device.table->slide && !p->on_host;
    const int64_t *shape = image->shape + 1;
    dbi_windows windows;
    memset(scores, 0, DBI_MAX_DECODERS * sizeof *scores);
    *labeled = by_device && p->settings.outputs == DBI_PREDICT_LABEL && !p->apart;
    if (dbi_windows_plan(shape, window, stride, p->settings.weights, &windows, error))
        return -1;
    const dbi_slide run = {.windows = &windows,
                           .channels = image->shape[0],
                           .classes = p->checkpoint->layout.arch.classes,
                           .decoders = p->decoders,
                           .decoder = p->apart ? DBI_DECODER_EACH : p->settings.decoder,
                           .k = p->k,
                           .function = see_window,
                           .context = p,
                           .progress = progress,
                           .progress_context = context};
    dbi_tensor *label = *labeled ? dbi_record_add(out, "label", DBI_U8, 3, shape, error) : NULL;
    int status = *labeled ? (label ? 0 : -1) : add_scores(p, out, shape, scores, error);
    if (!status && !by_device) {
        status = open_net(p, window, 1, error) || dbi_slide_run(&run, image->data, scores, error) ? -1 : 0;
    } else if (!status) {
        const int64_t batch = batch_of(p, shape, window, dbi_windows_count(&windows));
        const dbi_slide_label here = {p->settings.head, p->settings.threshold, label ? label->data : NULL};
        status = slide_with_room(p, &run, batch, image->data, scores, label ? &here : NULL, error);
    }
    if (status == DBI_NO_ROOM) {
        if (label) /* finish() adds it again */
            dbi_record_drop(out, "label");
        status = (label && add_scores(p, out, shape, scores, error)) || dbi_slide_run(&run, image->data, scores, error)
                     ? -1
                     : 0;
        *labeled = false;
    }
    dbi_windows_free(&windows);
    return status;
}

/* "what.1" and "what.2", where they are there, give way to their mean, `what`. */
static int unite(const dbi_predictor *p, dbi_record *out, const char *what, const int64_t shape[4], dbi_error *error)
{
    char name[2][SCORE_NAME];
    const dbi_tensor *of[2];
    for (int d = 0; d < 2; d++)
        if (!(of[d] = dbi_record_find(out, score_name(p, what, d, name[d]))))
            return 0;
    dbi_tensor *mean = dbi_record_add(out, what, DBI_F32, 4, shape, error);
    if (!mean)
        return -1;
    dbi_mean_of_two(mean->data, of[0]->data, of[1]->data, (int64_t)mean->count);
    dbi_record_drop(out, name[0]);
    dbi_record_drop(out, name[1]);
    return 0;
}

/* What is left of the decoders' own tensors, when they were kept apart: EACH has their probabilities, logits and
 * distances, MEAN the means of these. */
static int finish_decoders(const dbi_predictor *p, dbi_record *out, const int64_t shape[3],
                           const dbi_window_means *scores, dbi_error *error)
{
    const dbi_predict_settings *s = &p->settings;
    const int64_t classes = p->checkpoint->layout.arch.classes, voxels = shape[0] * shape[1] * shape[2];
    const int64_t full[4] = {classes, shape[0], shape[1], shape[2]};
    char name[SCORE_NAME];
    for (int d = 0; d < p->decoders; d++) {
        const dbi_tensor *prob = dbi_record_find(out, score_name(p, "prob", d, name));
        if (s->decoder == DBI_DECODER_EACH && s->outputs & DBI_PREDICT_PROB)
            dbi_fuse_heads(s->head, 1, &(dbi_head_pair){scores[d].seg, scores[d].step}, classes, voxels, prob->data,
                           NULL);
        else
            dbi_record_drop(out, name);
        dbi_record_drop(out, score_name(p, "step", d, name));
    }
    return s->decoder == DBI_DECODER_MEAN && (unite(p, out, "logits", full, error) || unite(p, out, "sdf", full, error))
               ? -1
               : 0;
}

/* Makes probability, uncertainty and label of the means over windows, each only when it was asked for. */
static int finish(const dbi_predictor *p, dbi_record *out, const int64_t shape[3], const dbi_window_means *scores,
                  dbi_error *error)
{
    const dbi_predict_settings *s = &p->settings;
    int64_t classes = p->checkpoint->layout.arch.classes, voxels = shape[0] * shape[1] * shape[2];
    const int64_t full[4] = {classes, shape[0], shape[1], shape[2]};
    const dbi_head_pair heads[DBI_MAX_DECODERS] = {{scores[0].seg, scores[0].step}, {scores[1].seg, scores[1].step}};
    dbi_tensor *uncertainty = NULL, *label = NULL;
    if ((s->outputs & DBI_PREDICT_UNCERTAINTY) &&
        !(uncertainty = dbi_record_add(out, "uncertainty", DBI_F32, 3, shape, error)))
        return -1;
    if (p->apart && !dbi_record_add(out, "prob", DBI_F32, 4, full, error))
        return -1;
    float *prob = dbi_record_find(out, "prob")->data;
    dbi_fuse_heads(s->head, p->apart ? p->decoders : 1, heads, classes, voxels, prob,
                   uncertainty ? uncertainty->data : NULL);
    dbi_record_drop(out, "step");
    if (p->apart && finish_decoders(p, out, shape, scores, error))
        return -1;
    if (s->outputs & DBI_PREDICT_LABEL) {
        if (!(label = dbi_record_add(out, "label", DBI_U8, 3, shape, error)))
            return -1;
        dbi_label_probabilities(prob, classes, voxels, s->threshold, label->data);
    }
    if (!(s->outputs & DBI_PREDICT_PROB))
        dbi_record_drop(out, "prob");
    return 0;
}

static int keep_largest(const dbi_predictor *p, dbi_record *out, const int64_t shape[3], dbi_error *error)
{
    dbi_tensor *label = dbi_record_find(out, "label");
    return label && p->settings.largest
               ? dbi_largest_components(label->data, shape, p->checkpoint->layout.arch.classes, error)
               : 0;
}

static int describe(const dbi_predictor *p, dbi_record *out, const dbi_record *input, dbi_error *error)
{
    static const char *const kept[] = {"affine", "geometry", "history", "id", "preprocessing", "source", "spacing"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (dbi_meta_set(out, kept[i], dbi_meta_get(input, kept[i]), error))
            return -1;
    if (p->settings.outputs & DBI_PREDICT_SDF &&
        dbi_meta_set(out, "regression", dbi_meta_get(p->checkpoint->meta, "regression"), error))
        return -1;
    return dbi_meta_set(out, "kind", "prediction", error) ||
                   dbi_meta_set_int(out, "classes", p->checkpoint->layout.arch.classes, error)
               ? -1
               : 0;
}

/* A thread computes the case's checksum while the windows are computed: on a GPU it would otherwise add a tenth to a
 * scan's time. */
typedef struct checksum_work {
    const dbi_record *input;
    pthread_t thread;
    bool threaded;
    char text[33];
    int status;
    dbi_error error;
} checksum_work;

static void *take_checksum(void *context)
{
    checksum_work *w = context;
    w->status = dbi_record_checksum(w->input, w->text, &w->error);
    return NULL;
}

static void start_checksum(checksum_work *w, const dbi_record *input)
{
    w->input = input;
    w->threaded = omp_get_max_threads() > 1 && !pthread_create(&w->thread, NULL, take_checksum, w);
    if (!w->threaded)
        take_checksum(w);
}

static int finish_checksum(checksum_work *w, dbi_error *error)
{
    if (w->threaded)
        pthread_join(w->thread, NULL);
    return w->status ? dbi_fail(error, "%s", w->error.text) : 0;
}

/* NULL when memory is out. */
static json_t *names_of_outputs(unsigned outputs)
{
    json_t *names = json_array();
    for (int i = 0; names && i < OUTPUTS; i++)
        if (outputs & output_names[i].output && json_array_append_new(names, json_string(output_names[i].name))) {
            json_decref(names);
            names = NULL;
        }
    return names;
}

/* Part of the scan's planes may not have been looked at. */
static bool add_box(json_t *settings, const dbi_box *box, const int64_t shape[3])
{
    if (dbi_box_is_whole(box, shape))
        return true;
    json_t *planes =
        json_pack("[[I,I,I],[I,I,I]]", (json_int_t)box->from[0], (json_int_t)box->from[1], (json_int_t)box->from[2],
                  (json_int_t)box->to[0], (json_int_t)box->to[1], (json_int_t)box->to[2]);
    return !json_object_set_new(settings, "box", planes);
}

static int add_history(const dbi_predictor *p, dbi_record *out, const char *input_checksum, const char *checksum,
                       const dbi_box *box, const int64_t shape[3], const int64_t window[3], const int64_t stride[3],
                       dbi_error *error)
{
    const dbi_predict_settings *s = &p->settings;
    json_t *settings = json_pack(
        "{s:[I,I,I], s:[I,I,I], s:s, s:s, s:f, s:b, s:o}", "window", (json_int_t)window[0], (json_int_t)window[1],
        (json_int_t)window[2], "stride", (json_int_t)stride[0], (json_int_t)stride[1], (json_int_t)stride[2], "weights",
        s->weights == DBI_WEIGHTS_GAUSSIAN ? "gaussian" : "uniform", "head", dbi_head_name(s->head), "threshold",
        s->threshold, "largest", s->largest, "output", names_of_outputs(s->outputs));
    const bool whole =
        settings && add_box(settings, box, shape) &&
        (!needs_step(s) || !json_object_set_new(settings, "k", json_real(p->k))) &&
        (p->decoders == 1 || !json_object_set_new(settings, "decoder", json_string(dbi_decoder_name(s->decoder))));
    int status =
        whole ? dbi_history_add(out, "predict", settings, error, "checkpoint", checksum, "case", input_checksum, NULL)
              : dbi_fail(error, "out of memory");
    json_decref(settings);
    return status;
}

/* The part of the scan that windows are put on. A window of air has little contrast, which normalization by instance
 * would take for structure. */
static int choose_box(const dbi_predictor *p, const dbi_tensor *image, dbi_box *box, dbi_error *error)
{
    const int64_t *shape = image->shape + 1;
    int64_t least[3] = {0, 0, 0};
    *box = (dbi_box){.to = {shape[0], shape[1], shape[2]}};
    if (p->settings.everywhere)
        return 0;
    if (p->settings.choice == DBI_WINDOW_GIVEN)
        memcpy(least, p->settings.window, sizeof least);
    else if (p->settings.choice == DBI_WINDOW_TRAINED && dbi_meta_get(p->checkpoint->meta, "patch") &&
             read_patch(p->checkpoint->meta, least, error))
        return -1;
    if (dbi_box_of_content(image->data, image->shape[0], shape, box, error))
        return -1;
    dbi_box_widen(box, shape, least);
    return 0;
}

static float outside(const char *tensor)
{
    return !strncmp(tensor, "logits", 6) ? DBI_PREDICT_NOTHING : !strncmp(tensor, "sdf", 3) ? -1 : 0;
}

/* Adds the tensors of `part`, which are those of a box, to `out`, with the scan's shape. */
static int paste(const dbi_record *part, const dbi_box *box, const int64_t shape[3], dbi_record *out, dbi_error *error)
{
    for (size_t t = 0; t < dbi_record_count(part); t++) {
        const dbi_tensor *from = dbi_record_at(part, t);
        const int64_t classes = from->ndim == 4 ? from->shape[0] : 1, full[4] = {classes, shape[0], shape[1], shape[2]};
        dbi_tensor *to =
            dbi_record_add(out, from->name, from->dtype, from->ndim, from->ndim == 4 ? full : full + 1, error);
        if (!to)
            return -1;
        const float value = outside(from->name);
        if (from->dtype == DBI_F32 && value < 0)
            for (size_t i = 0; i < to->count; i++)
                ((float *)to->data)[i] = value;
        dbi_box_paste(box, classes, shape, dbi_dtype_size(from->dtype), from->data, to->data);
    }
    return 0;
}

/* Adds the tensors that the image gives, and tells the windows. */
static int see(dbi_predictor *p, const dbi_tensor *image, dbi_record *out, int64_t window[3], int64_t stride[3],
               void (*progress)(void *, int64_t, int64_t), void *context, dbi_error *error)
{
    const int64_t *shape = image->shape + 1;
    dbi_window_means scores[DBI_MAX_DECODERS];
    bool labeled;
    return dbi_predictor_window(p, shape, window, stride, error) ||
                   slide(p, image, window, stride, out, scores, &labeled, progress, context, error) ||
                   (!labeled && finish(p, out, shape, scores, error)) || keep_largest(p, out, shape, error)
               ? -1
               : 0;
}

/* The same for the box of the image alone. */
static int see_box(dbi_predictor *p, const dbi_tensor *image, const dbi_box *box, dbi_record *out, int64_t window[3],
                   int64_t stride[3], void (*progress)(void *, int64_t, int64_t), void *context, dbi_error *error)
{
    int64_t size[4] = {image->shape[0]};
    dbi_box_size(box, size + 1);
    dbi_record *part = dbi_record_new(error), *results = dbi_record_new(error);
    dbi_tensor *seen = part && results ? dbi_record_add_raw(part, "image", DBI_F32, 4, size, error) : NULL;
    int status = -1;
    if (seen) {
        const int64_t *shape = image->shape + 1;
        p->kept = (size_t)((image->shape[0] + score_volumes(p)) * shape[0] * shape[1] * shape[2]) * sizeof(float);
        dbi_box_cut(box, size[0], shape, sizeof(float), image->data, seen->data);
        status =
            see(p, seen, results, window, stride, progress, context, error) || paste(results, box, shape, out, error)
                ? -1
                : 0;
    }
    p->kept = 0;
    dbi_record_free(part);
    dbi_record_free(results);
    return status;
}

dbi_record *dbi_predict(dbi_predictor *predictor, const dbi_record *input, const char *checksum,
                        void (*progress)(void *context, int64_t done, int64_t total), void *context, dbi_error *error)
{
    const dbi_tensor *image = dbi_record_find(input, "image");
    int64_t window[3], stride[3];
    checksum_work work;
    dbi_box box;
    dbi_record *out = dbi_record_new(error);
    if (!out)
        return NULL;
    start_checksum(&work, input);
    int status = choose_box(predictor, image, &box, error);
    if (!status)
        status = dbi_box_is_whole(&box, image->shape + 1)
                     ? see(predictor, image, out, window, stride, progress, context, error)
                     : see_box(predictor, image, &box, out, window, stride, progress, context, error);
    status = status || describe(predictor, out, input, error);
    dbi_error other;
    if (finish_checksum(&work, status ? &other : error) || status ||
        add_history(predictor, out, work.text, checksum, &box, image->shape + 1, window, stride, error)) {
        dbi_record_free(out);
        return NULL;
    }
    return out;
}

#include "cuda/slide.h"

#include "cuda/common.h"
#include "cuda/host_net.h"
#include "cuda/stream.h"

/* Each window is a launch of its own. The host knows where the windows lie (device/window.h), and windows that overlap
 * must be added one after another, in order. */

/* ---- Cutting: outside of the scan a window repeats the scan's outermost voxels ---- */

typedef struct cut_arguments {
    const float *scan; /* [C,X,Y,Z] */
    float *window;     /* [C,x,y,z] */
    int64_t extent[3], size[3], start[3];
    int64_t all; /* number of values of the window */
} cut_arguments;

DBI_HD int64_t within(int64_t i, int64_t extent)
{
    return i < 0 ? 0 : i < extent ? i : extent - 1;
}

DBI_HD void cut(const cut_arguments *a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    const int64_t i = block * DBI_BLOCK + thread;
    (void)phase;
    (void)shared;
    if (i >= a->all)
        return;
    const int64_t line = dbi_divide(i, a->size[2]), plane = dbi_divide(line, a->size[1]),
                  c = dbi_divide(plane, a->size[0]);
    const int64_t x = within(a->start[0] + plane - c * a->size[0], a->extent[0]),
                  y = within(a->start[1] + line - plane * a->size[1], a->extent[1]);
    const int64_t z = within(a->start[2] + i - line * a->size[2], a->extent[2]);
    a->window[i] = a->scan[((c * a->extent[0] + x) * a->extent[1] + y) * a->extent[2] + z];
}
DBI_KERNEL(cut, cut_arguments, DBI_BLOCK, 1, dbi_nothing)

/* ---- Adding: one thread for each voxel and class of the window's part in the scan ---- */

typedef struct add_arguments {
    dbi_window_part part;
    int64_t extent[3], size[3];
    int64_t all;                               /* voxels of the part, times classes */
    float k, share;                            /* share: of this decoder in the mean */
    const float *weight[3];                    /* weights of this window along each axis */
    const float *logits, *sdf;                 /* of the window, [K,x,y,z] */
    float *seg, *step, *logit_mean, *sdf_mean; /* of the scan, [K,X,Y,Z], or NULL */
    int *broken; /* becomes 1 when an output is not finite; all threads that write it write 1 */
} add_arguments;

DBI_HD void add_to(float *sum, int64_t at, float value)
{
    if (sum)
        sum[at] = dbi_plus(sum[at], value);
}

DBI_HD void add(const add_arguments *a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    const int64_t i = block * DBI_BLOCK + thread, *from = a->part.from, *to = a->part.to, *start = a->part.start;
    (void)phase;
    (void)shared;
    if (i >= a->all)
        return;
    const int64_t line = dbi_divide(i, to[2] - from[2]), plane = dbi_divide(line, to[1] - from[1]),
                  c = dbi_divide(plane, to[0] - from[0]);
    const int64_t x = from[0] + plane - c * (to[0] - from[0]), y = from[1] + line - plane * (to[1] - from[1]);
    const int64_t z = from[2] + i - line * (to[2] - from[2]);
    const int64_t in_window = ((c * a->size[0] + x) * a->size[1] + y) * a->size[2] + z;
    const int64_t in_scan =
        ((c * a->extent[0] + start[0] + x) * a->extent[1] + start[1] + y) * a->extent[2] + start[2] + z;
    const float logit = a->logits[in_window], sdf = a->sdf[in_window];
    const float weight = dbi_times(dbi_times(dbi_times(a->share, a->weight[0][x]), a->weight[1][y]), a->weight[2][z]);
    if (!(logit - logit == 0 && sdf - sdf == 0))
        *a->broken = 1;
    add_to(a->seg, in_scan, weight / (1 + expf(-logit)));
    add_to(a->step, in_scan, weight / (1 + expf(-a->k * sdf)));
    add_to(a->logit_mean, in_scan, dbi_times(weight, logit));
    add_to(a->sdf_mean, in_scan, dbi_times(weight, sdf));
}
DBI_KERNEL(add, add_arguments, DBI_BLOCK, 1, dbi_nothing)

/* ---- The label: one thread for each voxel; the same arithmetic as in predict/postprocess.c ---- */

typedef struct decide_arguments {
    const float *seg, *step; /* [K,X,Y,Z], NULL when `head` does not need it */
    uint8_t *label;
    int64_t voxels;
    int classes, head;
    double threshold;
} decide_arguments;

DBI_HD void decide(const decide_arguments *a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    const int64_t v = block * DBI_BLOCK + thread;
    (void)phase;
    (void)shared;
    if (v >= a->voxels)
        return;
    double best = a->threshold;
    uint8_t label = 0;
    for (int c = 0; c < a->classes; c++) {
        const int64_t i = c * a->voxels + v;
        float p = a->head == DBI_HEAD_SEG   ? a->seg[i]
                  : a->head == DBI_HEAD_SDF ? a->step[i]
                                            : dbi_times(0.5f, dbi_plus(a->seg[i], a->step[i]));
        p = p < 0 ? 0 : p > 1 ? 1 : p;
        if ((double)p > best) {
            best = (double)p;
            label = (uint8_t)(c + 1);
        }
    }
    a->label[v] = label;
}
DBI_KERNEL(decide, decide_arguments, DBI_BLOCK, 1, dbi_nothing)

/* ---- The scan ---- */

/* At most this many batches are under way: the device computes one while the host waits for the one before. */
enum { SLOTS = 2 };

typedef struct work {
    const dbi_slide *slide;
    dbi_cuda_net_buffers net;
    dbi_arena arena;
    dbi_event done[SLOTS];
    int64_t extent[3], size[3], scan_voxels, window_voxels;
    float *scan, *weight[3];
    float *score[DBI_MAX_DECODERS][4]; /* as in dbi_window_means, NULL when not needed */
    uint8_t *label;
    int *broken;
} work;

static void scores_of(const dbi_window_means *means, float *of[4])
{
    of[0] = means->seg;
    of[1] = means->step;
    of[2] = means->logits;
    of[3] = means->sdf;
}

static size_t scan_bytes(const work *w, int64_t volumes)
{
    return (size_t)(w->scan_voxels * volumes) * sizeof(float);
}

static size_t weight_bytes(const dbi_axis *axis)
{
    return (size_t)(axis->count * axis->window) * sizeof(float);
}

static int take_scores(work *w, int mean, float *const wanted[4], const dbi_slide_label *label, dbi_error *error)
{
    const bool needed[4] = {wanted[0] != NULL || (label && label->head != DBI_HEAD_SDF),
                            wanted[1] != NULL || (label && label->head != DBI_HEAD_SEG), wanted[2] != NULL,
                            wanted[3] != NULL};
    for (int i = 0; i < 4; i++)
        if (dbi_arena_need(&w->arena, &w->score[mean][i], needed[i] ? scan_bytes(w, w->slide->classes) : 0, error))
            return -1;
    return 0;
}

static int take_room(work *w, float *const wanted[DBI_MAX_DECODERS][4], const dbi_slide_label *label, dbi_error *error)
{
    if (dbi_arena_need(&w->arena, &w->scan, scan_bytes(w, w->slide->channels), error) ||
        dbi_arena_need(&w->arena, &w->broken, sizeof *w->broken, error))
        return -1;
    for (int a = 0; a < 3; a++)
        if (dbi_arena_need(&w->arena, &w->weight[a], weight_bytes(&w->slide->windows->axis[a]), error))
            return -1;
    for (int m = 0; m < dbi_slide_means(w->slide); m++)
        if (take_scores(w, m, wanted[m], label, error))
            return -1;
    if (dbi_arena_need(&w->arena, &w->label, label ? (size_t)w->scan_voxels : 0, error))
        return -1;
    return dbi_arena_open(&w->arena, error);
}

static int put_scan(const work *w, const float *image, dbi_error *error)
{
    for (int a = 0; a < 3; a++)
        if (dbi_cuda_put(w->net.stream, w->weight[a], w->slide->windows->axis[a].weight,
                         weight_bytes(&w->slide->windows->axis[a]), error))
            return -1;
    return dbi_cuda_put(w->net.stream, w->scan, image, scan_bytes(w, w->slide->channels), error);
}

/* Window `index` of the scan becomes image `slot` of the net's batch. */
static int cut_window(const work *w, int64_t index, int64_t slot, dbi_error *error)
{
    const dbi_window_part part = dbi_windows_part(w->slide->windows, index);
    cut_arguments a;
    memset(&a, 0, sizeof a);
    memcpy(a.extent, w->extent, sizeof a.extent);
    memcpy(a.size, w->size, sizeof a.size);
    memcpy(a.start, part.start, sizeof a.start);
    a.all = w->slide->channels * w->window_voxels;
    a.scan = w->scan;
    a.window = w->net.image + slot * a.all;
    return cut_launch(w->net.stream, dbi_cuda_blocks(a.all, DBI_BLOCK), &a, error);
}

/* Adds a decoder's outputs for image `slot` where window `index` lies. */
static int add_decoder(const work *w, int decoder, int64_t index, int64_t slot, dbi_error *error)
{
    const int64_t outputs = w->slide->classes * w->window_voxels, image = decoder * w->net.batch + slot;
    float *const *score = w->score[w->slide->decoder == DBI_DECODER_EACH ? decoder : 0];
    add_arguments a;
    memset(&a, 0, sizeof a);
    a.part = dbi_windows_part(w->slide->windows, index);
    memcpy(a.extent, w->extent, sizeof a.extent);
    memcpy(a.size, w->size, sizeof a.size);
    a.all = w->slide->classes;
    for (int i = 0; i < 3; i++) {
        a.all *= a.part.to[i] - a.part.from[i];
        a.weight[i] = w->weight[i] + a.part.place[i] * w->size[i];
    }
    a.k = (float)w->slide->k;
    a.share = dbi_slide_share(w->slide, decoder);
    a.logits = w->net.logits + image * outputs;
    a.sdf = w->net.sdf + image * outputs;
    a.seg = score[0];
    a.step = score[1];
    a.logit_mean = score[2];
    a.sdf_mean = score[3];
    a.broken = w->broken;
    return add_launch(w->net.stream, dbi_cuda_blocks(a.all, DBI_BLOCK), &a, error);
}

static int add_window(const work *w, int64_t index, int64_t slot, dbi_error *error)
{
    for (int d = 0; d < dbi_slide_decoders(w->slide); d++)
        if (dbi_slide_share(w->slide, d) > 0 && add_decoder(w, d, index, slot, error))
            return -1;
    return 0;
}

/* Waits for a batch and reports it. */
static int report(const work *w, int64_t batch, int64_t total, dbi_error *error)
{
    const int64_t done = (batch + 1) * w->net.batch < total ? (batch + 1) * w->net.batch : total;
    if (dbi_event_wait(w->done[batch % SLOTS], error))
        return -1;
    if (w->slide->progress)
        w->slide->progress(w->slide->progress_context, done, total);
    return 0;
}

/* Images of the last batch without a window keep old values, and the net's outputs for them are ignored. */
static int run_batches(const work *w, dbi_cuda_host_net *net, const dbi_weights_f32 *weights, bool same_weights,
                       dbi_error *error)
{
    const int64_t total = dbi_windows_count(w->slide->windows), batches = (total + w->net.batch - 1) / w->net.batch;
    dbi_pass pass;
    memset(&pass, 0, sizeof pass);
    pass.statistics = DBI_RUNNING_STATISTICS;
    pass.same_weights = same_weights;
    for (int64_t b = 0; b < batches; b++) {
        const int64_t first = b * w->net.batch, windows = total - first < w->net.batch ? total - first : w->net.batch;
        for (int64_t i = 0; i < windows; i++)
            if (cut_window(w, first + i, i, error))
                return -1;
        if (dbi_cuda_host_net_pass(net, weights, &pass, error))
            return -1;
        for (int64_t i = 0; i < windows; i++)
            if (add_window(w, first + i, i, error))
                return -1;
        if (dbi_event_record(w->done[b % SLOTS], w->net.stream, error) || (b > 0 && report(w, b - 1, total, error)))
            return -1;
        pass.same_weights = true;
    }
    return report(w, batches - 1, total, error);
}

static int make_label(const work *w, const dbi_slide_label *label, dbi_error *error)
{
    decide_arguments a;
    memset(&a, 0, sizeof a);
    a.seg = w->score[0][0];
    a.step = w->score[0][1];
    a.label = w->label;
    a.voxels = w->scan_voxels;
    a.classes = (int)w->slide->classes;
    a.head = label->head;
    a.threshold = label->threshold;
    return decide_launch(w->net.stream, dbi_cuda_blocks(a.voxels, DBI_BLOCK), &a, error) ||
                   dbi_cuda_get(w->net.stream, label->label, w->label, (size_t)w->scan_voxels, error)
               ? -1
               : 0;
}

static int get_scores(const work *w, float *const scores[DBI_MAX_DECODERS][4], const dbi_slide_label *label,
                      dbi_error *error)
{
    int broken = 0;
    if (label && make_label(w, label, error))
        return -1;
    for (int m = 0; m < dbi_slide_means(w->slide); m++)
        for (int i = 0; i < 4; i++)
            if (scores[m][i] &&
                dbi_cuda_get(w->net.stream, scores[m][i], w->score[m][i], scan_bytes(w, w->slide->classes), error))
                return -1;
    if (dbi_cuda_get(w->net.stream, &broken, w->broken, sizeof broken, error) || dbi_cuda_wait(w->net.stream, error))
        return -1;
    return broken ? dbi_slide_not_finite(error) : 0;
}

int dbi_cuda_slide_run(dbi_cuda_host_net *net, const dbi_weights_f32 *weights, bool same_weights,
                       const dbi_slide *slide, const float *image, const dbi_window_means *scores,
                       const dbi_slide_label *label, dbi_error *error)
{
    float *wanted[DBI_MAX_DECODERS][4];
    work w;
    memset(&w, 0, sizeof w);
    w.slide = slide;
    w.net = dbi_cuda_host_net_buffers(net);
    w.scan_voxels = w.window_voxels = 1;
    for (int a = 0; a < 3; a++) {
        w.scan_voxels *= w.extent[a] = slide->windows->axis[a].extent;
        w.window_voxels *= w.size[a] = slide->windows->axis[a].window;
    }
    for (int m = 0; m < dbi_slide_means(slide); m++)
        scores_of(&scores[m], wanted[m]);
    if (take_room(&w, wanted, label, error)) {
        dbi_arena_close(&w.arena);
        return DBI_NO_ROOM;
    }
    const int status = dbi_event_open(&w.done[0], error) || dbi_event_open(&w.done[1], error) ||
                       put_scan(&w, image, error) || run_batches(&w, net, weights, same_weights, error) ||
                       get_scores(&w, wanted, label, error);
    dbi_event_close(w.done[0]);
    dbi_event_close(w.done[1]);
    dbi_arena_close(&w.arena);
    return status ? -1 : 0;
}

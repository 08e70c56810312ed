#include "device/slide.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"

static int64_t line_in_scan(const dbi_windows *w, const dbi_window_part *p, int64_t channel, int64_t i, int64_t j)
{
    return (((channel * w->axis[0].extent + p->start[0] + i) * w->axis[1].extent) + p->start[1] + j) *
               w->axis[2].extent +
           p->start[2];
}

static int64_t line_in_window(const dbi_windows *w, int64_t channel, int64_t i, int64_t j)
{
    return ((channel * w->axis[0].window + i) * w->axis[1].window + j) * w->axis[2].window;
}

static int64_t within(int64_t i, int64_t from, int64_t to)
{
    return i < from ? from : i < to ? i : to - 1;
}

/* Cuts a window out. Outside the scan it repeats the scan's outermost voxels. */
static void cut(const dbi_windows *w, const dbi_window_part *p, int64_t channels, const float *image, float *window)
{
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < w->axis[0].window; i++)
            for (int64_t j = 0; j < w->axis[1].window; j++) {
                const int64_t line =
                    line_in_scan(w, p, c, within(i, p->from[0], p->to[0]), within(j, p->from[1], p->to[1]));
                const int64_t inside = p->to[2] - p->from[2];
                const float *from = image + (line + p->from[2]); /* a window's line may begin before the scan */
                float *to = window + line_in_window(w, c, i, j);
                for (int64_t k = 0; k < p->from[2]; k++)
                    to[k] = from[0];
                memcpy(to + p->from[2], from, (size_t)inside * sizeof *image);
                for (int64_t k = p->to[2]; k < w->axis[2].window; k++)
                    to[k] = from[inside - 1];
            }
}

static void add_line(float *restrict sum, const float *restrict value, const float *restrict weight, float scale,
                     int64_t n)
{
    for (int64_t l = 0; l < n; l++)
        sum[l] += scale * weight[l] * value[l];
}

static void add_line_sigmoid(float *restrict sum, const float *restrict value, const float *restrict weight,
                             float scale, float k, int64_t n)
{
    for (int64_t l = 0; l < n; l++)
        sum[l] += scale * weight[l] / (1 + expf(-k * value[l]));
}

static bool finite_line(const float *value, int64_t n)
{
    bool finite = true;
    for (int64_t l = 0; l < n; l++)
        finite &= isfinite(value[l]) != 0;
    return finite;
}

int dbi_slide_decoders(const dbi_slide *slide)
{
    return slide->decoders ? slide->decoders : 1;
}

int dbi_slide_means(const dbi_slide *slide)
{
    return slide->decoder == DBI_DECODER_EACH ? dbi_slide_decoders(slide) : 1;
}

float dbi_slide_share(const dbi_slide *slide, int decoder)
{
    if (slide->decoder == DBI_DECODER_MEAN)
        return 1 / (float)dbi_slide_decoders(slide);
    return slide->decoder == DBI_DECODER_EACH || (int)slide->decoder == DBI_DECODER_FIRST + decoder ? 1 : 0;
}

/* Adds one decoder's outputs of one window; false when one of them is not finite. A window adds to each voxel once, so
 * threads never write to the same place. */
static bool add(const dbi_slide *s, const dbi_window_part *p, float share, const float *logits, const float *sdf,
                const dbi_window_means *scores)
{
    const dbi_windows *w = s->windows;
    const float *weight[3];
    for (int a = 0; a < 3; a++)
        weight[a] = w->axis[a].weight + p->place[a] * w->axis[a].window;
    int64_t n = p->to[2] - p->from[2];
    bool finite = true;
#pragma omp parallel for collapse(2) schedule(static) reduction(&& : finite)
    for (int64_t c = 0; c < s->classes; c++)
        for (int64_t i = p->from[0]; i < p->to[0]; i++)
            for (int64_t j = p->from[1]; j < p->to[1]; j++) {
                int64_t to = line_in_scan(w, p, c, i, j) + p->from[2], from = line_in_window(w, c, i, j) + p->from[2];
                const float *wz = weight[2] + p->from[2];
                float scale = share * weight[0][i] * weight[1][j];
                finite = finite && finite_line(logits + from, n) && finite_line(sdf + from, n);
                if (scores->seg)
                    add_line_sigmoid(scores->seg + to, logits + from, wz, scale, 1, n);
                if (scores->step)
                    add_line_sigmoid(scores->step + to, sdf + from, wz, scale, (float)s->k, n);
                if (scores->logits)
                    add_line(scores->logits + to, logits + from, wz, scale, n);
                if (scores->sdf)
                    add_line(scores->sdf + to, sdf + from, wz, scale, n);
            }
    return finite;
}

/* Adds one window's outputs, [decoders,K,x,y,z] each. */
static bool add_decoders(const dbi_slide *s, const dbi_window_part *p, const float *logits, const float *sdf,
                         const dbi_window_means *means)
{
    const dbi_axis *axis = s->windows->axis;
    const int64_t outputs = s->classes * axis[0].window * axis[1].window * axis[2].window;
    bool finite = true;
    for (int d = 0; d < dbi_slide_decoders(s); d++) {
        const float share = dbi_slide_share(s, d);
        if (share > 0)
            finite &= add(s, p, share, logits + d * outputs, sdf + d * outputs,
                          s->decoder == DBI_DECODER_EACH ? &means[d] : means);
    }
    return finite;
}

static int64_t window_voxels(const int64_t window[3])
{
    return window[0] * window[1] * window[2];
}

size_t dbi_slide_bytes(int64_t channels, int64_t classes, int decoders, const int64_t window[3])
{
    return (size_t)((channels + 2 * decoders * classes) * window_voxels(window)) * sizeof(float);
}

int dbi_slide_not_finite(dbi_error *error)
{
    return dbi_fail(error,
                    "the network's output is not finite: its weights are useless, or the image is not normalized");
}

int dbi_slide_run(const dbi_slide *slide, const float *image, const dbi_window_means *means, dbi_error *error)
{
    const dbi_axis *axis = slide->windows->axis;
    int64_t size[3] = {axis[0].window, axis[1].window, axis[2].window}, total = dbi_windows_count(slide->windows);
    const size_t voxels = (size_t)window_voxels(size),
                 outputs = voxels * (size_t)slide->classes * (size_t)dbi_slide_decoders(slide);
    float *window = dbi_alloc(voxels * (size_t)slide->channels, sizeof *window, error);
    float *logits = window ? dbi_alloc(outputs, sizeof *logits, error) : NULL;
    float *sdf = logits ? dbi_alloc(outputs, sizeof *sdf, error) : NULL;
    int status = sdf ? 0 : -1;
    for (int64_t i = 0; !status && i < total; i++) {
        dbi_window_part p = dbi_windows_part(slide->windows, i);
        cut(slide->windows, &p, slide->channels, image, window);
        status = slide->function(slide->context, window, logits, sdf, error);
        if (!status && !add_decoders(slide, &p, logits, sdf, means))
            status = dbi_slide_not_finite(error);
        if (!status && slide->progress)
            slide->progress(slide->progress_context, i + 1, total);
    }
    free(window);
    free(logits);
    free(sdf);
    return status;
}

#include "predict/postprocess.h"

#include <math.h>

#include "base/parallel.h"

static float unit(float p)
{
    return p < 0 ? 0 : p > 1 ? 1 : p;
}

static float entropy(float p)
{
    if (p <= 0 || p >= 1)
        return 0;
    return -(p * logf(p) + (1 - p) * log1pf(-p)) / (float)M_LN2;
}

static float fuse(dbi_head head, int decoders, const dbi_head_pair *heads, int64_t i)
{
    float sum = 0;
    for (int d = 0; d < decoders; d++)
        sum += head == DBI_HEAD_SEG   ? heads[d].seg[i]
               : head == DBI_HEAD_SDF ? heads[d].step[i]
                                      : 0.5f * (heads[d].seg[i] + heads[d].step[i]);
    return unit(sum / (float)decoders);
}

static float largest_difference(int decoders, const dbi_head_pair *heads, int64_t i)
{
    float least = heads[0].seg[i], most = least;
    for (int d = 0; d < decoders; d++) {
        least = fminf(least, fminf(heads[d].seg[i], heads[d].step[i]));
        most = fmaxf(most, fmaxf(heads[d].seg[i], heads[d].step[i]));
    }
    return most - least;
}

void dbi_fuse_heads(dbi_head head, int decoders, const dbi_head_pair *heads, int64_t classes, int64_t voxels,
                    float *prob, float *uncertainty)
{
#pragma omp parallel for schedule(static)
    for (int64_t v = 0; v < voxels; v++) {
        float sum = 0;
        for (int64_t c = 0; c < classes; c++) {
            int64_t i = c * voxels + v;
            const float difference = uncertainty ? largest_difference(decoders, heads, i) : 0;
            const float p = prob[i] = fuse(head, decoders, heads, i);
            if (uncertainty)
                sum += 1 - (1 - entropy(p)) * (1 - unit(difference));
        }
        if (uncertainty)
            uncertainty[v] = unit(sum / (float)classes);
    }
}

void dbi_mean_of_two(float *mean, const float *first, const float *second, int64_t count)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++)
        mean[i] = 0.5f * (first[i] + second[i]);
}

void dbi_label_probabilities(const float *prob, int64_t classes, int64_t voxels, double threshold, uint8_t *label)
{
#pragma omp parallel for schedule(static)
    for (int64_t v = 0; v < voxels; v++) {
        double best = threshold;
        label[v] = 0;
        for (int64_t c = 0; c < classes; c++)
            if ((double)prob[c * voxels + v] > best) {
                best = prob[c * voxels + v];
                label[v] = (uint8_t)(c + 1);
            }
    }
}

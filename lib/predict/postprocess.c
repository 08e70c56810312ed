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

void dbi_fuse_heads(dbi_head head, int64_t classes, int64_t voxels, const float *seg, const float *step, float *prob,
                    float *uncertainty)
{
#pragma omp parallel for schedule(static)
    for (int64_t v = 0; v < voxels; v++) {
        float sum = 0;
        for (int64_t c = 0; c < classes; c++) {
            int64_t i = c * voxels + v;
            float difference = uncertainty ? fabsf(seg[i] - step[i]) : 0;
            float p = unit(head == DBI_HEAD_SEG ? seg[i] : head == DBI_HEAD_SDF ? step[i] : 0.5f * (seg[i] + step[i]));
            prob[i] = p;
            if (uncertainty)
                sum += 1 - (1 - entropy(p)) * (1 - unit(difference));
        }
        if (uncertainty)
            uncertainty[v] = unit(sum / (float)classes);
    }
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

/* What a loss is made of, settled once for a method and a shape of batch, for all devices. */
#ifndef DBI_METHOD_LOSS_H
#define DBI_METHOD_LOSS_H

#include "base/host_device.h"
#include "method/step.h"

typedef struct dbi_loss_settings {
    double weight[DBI_TERMS]; /* 0: the term is not computed */
    double beta, k, gamma;
    bool cross_entropy;
    bool uncertainty;       /* pseudo-targets have voxel weights */
    bool teacher;           /* its probability is needed */
    bool pseudo;            /* and what pseudo-targets are made of */
    bool transform;         /* T_s2r of the student is needed */
    bool teacher_transform; /* and of the teacher */
    int64_t batch, labeled, classes, voxels;
} dbi_loss_settings;

/* Terms without samples in such a batch are not computed. */
dbi_loss_settings dbi_loss_settle(const dbi_method *method, const dbi_loss_shape *shape);
/* The same where a step has no teacher. */
dbi_loss_settings dbi_loss_settle_alone(const dbi_loss_settings *settings);

/* Is a term of these samples computed for a sample? */
DBI_HD bool dbi_loss_has(const dbi_loss_settings *settings, int term, int samples, bool labeled)
{
    return settings->weight[term] > 0 && (samples == DBI_SAMPLES_ALL || (samples == DBI_SAMPLES_LABELED) == labeled);
}

/* What a probability is the sigmoid of: for others, anything. */
DBI_HD int dbi_logit_of(int probability)
{
    return probability == DBI_OF_A ? DBI_OF_R : DBI_OF_LOGIT;
}

#endif

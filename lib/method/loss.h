/* What a loss is made of. It is settled once for a method and a shape of batch, for all devices. */
#ifndef DBI_METHOD_LOSS_H
#define DBI_METHOD_LOSS_H

#include "base/host_device.h"
#include "method/step.h"

typedef struct dbi_loss_settings {
    double weight[DBI_TERMS]; /* 0: the term is not computed */
    double beta, k, gamma, delta;
    bool cross_entropy;
    bool uncertainty;       /* pseudo-targets have voxel weights */
    bool teacher;           /* the teacher's probability is needed */
    bool pseudo;            /* all that pseudo-targets are made of is needed */
    bool exchange;          /* what the student's decoders tell each other is needed */
    bool transform;         /* T_s2r of the student is needed */
    bool teacher_transform; /* T_s2r of the teacher is needed */
    int decoders;
    int64_t batch, labeled, classes, voxels;
} dbi_loss_settings;

/* Settles the loss of a method for batches of this shape. Terms without samples in such a batch are not computed, nor
 * are terms that compare decoders where there is one. */
dbi_loss_settings dbi_loss_settle(const dbi_method *method, const dbi_loss_shape *shape);
/* The same for a step without a teacher. */
dbi_loss_settings dbi_loss_settle_alone(const dbi_loss_settings *settings);

/* Whether a term over these samples is computed for a sample that is labelled or not. */
DBI_HD bool dbi_loss_has(const dbi_loss_settings *settings, int term, int samples, bool labeled)
{
    return settings->weight[term] > 0 && (samples == DBI_SAMPLES_ALL || (samples == DBI_SAMPLES_LABELED) == labeled);
}

/* The quantity whose sigmoid this probability is, p or a; meaningless for other quantities. */
DBI_HD int dbi_logit_of(int probability)
{
    return probability == DBI_OF_A ? DBI_OF_R : DBI_OF_LOGIT;
}

#endif

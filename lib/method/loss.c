#include "method/loss.h"

static int64_t samples_of(int term, const dbi_loss_settings *s)
{
    switch (dbi_terms[term].samples) {
    case DBI_SAMPLES_LABELED:
        return s->labeled;
    case DBI_SAMPLES_UNLABELED:
        return s->batch - s->labeled;
    case DBI_SAMPLES_ALL:
        break;
    }
    return s->batch;
}

/* Says what is needed by the terms that are computed. */
static void settle_needs(dbi_loss_settings *s)
{
    const bool distances_weigh = s->uncertainty && s->delta > 0;
    s->teacher = s->pseudo = s->exchange = s->transform = s->teacher_transform = false;
    for (int t = 0; t < DBI_TERMS; t++)
        if (s->weight[t] > 0) {
            s->teacher |= dbi_term_needs_teacher(t);
            s->pseudo |= dbi_term_needs_pseudo(t);
            s->exchange |= dbi_term_needs_exchange(t);
            s->transform |= dbi_term_needs(t, DBI_OF_S) || dbi_term_needs(t, DBI_OF_OTHER_DISTANCE) ||
                            (distances_weigh && dbi_terms[t].voxels == DBI_VOXELS_AGREED);
            s->teacher_transform |= dbi_term_needs(t, DBI_OF_PSEUDO_DISTANCE) ||
                                    (distances_weigh && dbi_terms[t].voxels == DBI_VOXELS_WEIGHTED);
        }
}

dbi_loss_settings dbi_loss_settle(const dbi_method *method, const dbi_loss_shape *shape)
{
    dbi_loss_settings s = {.beta = method->beta,
                           .k = method->k,
                           .gamma = method->gamma,
                           .delta = method->delta,
                           .cross_entropy = method->cross_entropy,
                           .uncertainty = method->uncertainty,
                           .decoders = shape->decoders,
                           .batch = shape->batch,
                           .labeled = shape->labeled,
                           .classes = shape->classes,
                           .voxels = shape->size[0] * shape->size[1] * shape->size[2]};
    for (int t = 0; t < DBI_TERMS; t++) {
        const bool possible = samples_of(t, &s) && (s.decoders > 1 || !dbi_term_needs_decoders(t));
        s.weight[t] = method->weight[t] > 0 && possible ? method->weight[t] : 0;
    }
    settle_needs(&s);
    return s;
}

dbi_loss_settings dbi_loss_settle_alone(const dbi_loss_settings *settings)
{
    dbi_loss_settings s = *settings;
    for (int t = 0; t < DBI_TERMS; t++)
        if (dbi_term_needs_teacher(t))
            s.weight[t] = 0;
    settle_needs(&s);
    return s;
}

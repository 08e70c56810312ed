#include "net/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "record/metadata.h"

static dbi_checkpoint *make(const dbi_arch *arch, bool momentum, dbi_error *error)
{
    dbi_checkpoint *c = dbi_alloc(1, sizeof *c, error);
    if (c && (dbi_layout_make(arch, &c->layout, error) ||
              dbi_weights_new_f32(&c->weights, &c->layout, momentum, error) || !(c->meta = dbi_record_new(error)))) {
        dbi_checkpoint_free(c);
        return NULL;
    }
    return c;
}

void dbi_checkpoint_free(dbi_checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    dbi_weights_free_f32(&checkpoint->weights);
    dbi_record_free(checkpoint->meta);
    free(checkpoint);
}

dbi_checkpoint *dbi_checkpoint_new(const dbi_arch *arch, bool momentum, uint64_t seed, dbi_error *error)
{
    dbi_checkpoint *checkpoint = make(arch, momentum, error);
    if (checkpoint)
        dbi_weights_init_f32(&checkpoint->weights, seed);
    return checkpoint;
}

static int check_kind(const dbi_record *record, dbi_error *error)
{
    const char *kind = dbi_meta_get(record, "kind"), *sign = dbi_meta_get(record, "sdf_sign");
    if (kind && strcmp(kind, "checkpoint"))
        return dbi_fail(error, "a %s, not a checkpoint", kind);
    if (sign && strcmp(sign, "positive-inside"))
        return dbi_fail(error, "sdf_sign \"%s\" is not \"positive-inside\"", sign);
    return 0;
}

/* Momentum is kept when it is there at all; weights_load then decides whether it is complete. */
static bool has_momentum(const dbi_record *record, const dbi_arch *arch)
{
    char name[96];
    snprintf(name, sizeof name, "momentum.%sblock_one.conv.0.weight", dbi_encoder_prefix(arch->decoders));
    return dbi_record_find(record, name);
}

/* Is this the kernel of an encoder's layer with so many outputs? */
static bool is_kernel(const dbi_record *record, const dbi_arch *arch, const char *layer, int64_t outputs)
{
    char name[96];
    snprintf(name, sizeof name, "%s%s.weight", dbi_encoder_prefix(arch->decoders), layer);
    const dbi_tensor *tensor = dbi_record_find(record, name);
    return tensor && tensor->ndim == 5 && tensor->shape[0] == outputs;
}

static int fill(dbi_checkpoint *c, const dbi_record *record, dbi_error *error)
{
    if (dbi_weights_load_f32(&c->weights, record, error) || dbi_meta_copy(c->meta, record, error))
        return -1;
    if (dbi_meta_get(record, "step") && dbi_meta_get_int(record, "step", &c->step, error))
        return -1;
    return c->step < 0 || c->step >= UINT32_MAX ? dbi_fail(error, "step %lld is impossible", (long long)c->step) : 0;
}

dbi_checkpoint *dbi_checkpoint_from_record(const dbi_record *record, dbi_error *error)
{
    return dbi_checkpoint_from_record_of(record, NULL, error);
}

dbi_checkpoint *dbi_checkpoint_from_record_of(const dbi_record *record, const dbi_normalization *norm, dbi_error *error)
{
    dbi_arch arch;
    if (check_kind(record, error) || dbi_arch_from_record(record, norm, &arch, error))
        return NULL;
    /* The size follows from a few numbers in the metadata: before they make us allocate, the first and the largest
     * kernel must be there. */
    if (!is_kernel(record, &arch, "block_one.conv.0", arch.filters) ||
        !is_kernel(record, &arch, "block_five.conv.0", (int64_t)arch.filters << DBI_NET_LEVELS)) {
        dbi_fail(error, "the tensors are not those of a dual V-Net with %d filters%s", arch.filters,
                 arch.decoders > 1 ? " and two decoders" : "");
        return NULL;
    }
    dbi_checkpoint *checkpoint = make(&arch, has_momentum(record, &arch), error);
    if (checkpoint && fill(checkpoint, record, error)) {
        dbi_checkpoint_free(checkpoint);
        return NULL;
    }
    return checkpoint;
}

dbi_checkpoint *dbi_checkpoint_load(const char *path, dbi_error *error)
{
    dbi_record *record = dbi_record_load(path, error);
    if (!record)
        return NULL;
    dbi_checkpoint *checkpoint = dbi_checkpoint_from_record(record, error);
    if (!checkpoint)
        dbi_fail_in(error, "%s", path && strcmp(path, "-") ? path : "standard input");
    dbi_record_free(record);
    return checkpoint;
}

int dbi_checkpoint_need_momentum(dbi_checkpoint *checkpoint, dbi_error *error)
{
    dbi_weights_f32 *weights = &checkpoint->weights;
    if (!weights->momentum)
        weights->momentum = dbi_alloc(checkpoint->layout.parameters, sizeof(float), error);
    return weights->momentum ? 0 : -1;
}

static void drop_momentum(dbi_checkpoint *checkpoint)
{
    free(checkpoint->weights.momentum);
    checkpoint->weights.momentum = NULL;
}

int dbi_checkpoint_restart(dbi_checkpoint *checkpoint, bool flip_sdf, dbi_error *error)
{
    const dbi_layout *layout = &checkpoint->layout;
    if (flip_sdf && dbi_meta_get(checkpoint->meta, "sdf_sign"))
        return dbi_fail(error, "its distance head is positive inside already");
    for (int i = 0; flip_sdf && i < 2 * layout->arch.decoders; i++) { /* weight and bias */
        const dbi_named *tensor = &layout->tensor[layout->decoder[i / 2].sdf_head + i % 2];
        for (size_t j = 0; j < tensor->count; j++)
            checkpoint->weights.parameters[tensor->offset + j] *= -1;
    }
    drop_momentum(checkpoint);
    checkpoint->step = 0;
    return 0;
}

/* Batch normalization and one decoder go without saying: so it was before there were others. */
static int set_architecture(dbi_record *record, const dbi_arch *arch, dbi_error *error)
{
    char text[DBI_NORM_TEXT], decoders[32] = "", norm[DBI_NORM_TEXT + 16] = "";
    dbi_norm_text(&arch->norm, text);
    if (arch->decoders != 1)
        snprintf(decoders, sizeof decoders, "\"decoders\":%d,", arch->decoders);
    if (arch->norm.kind != DBI_NORM_BATCH)
        snprintf(norm, sizeof norm, ",\"norm\":\"%s\"", text);
    return dbi_meta_set_format(record, "architecture", error,
                               "{\"channels\":%d,\"classes\":%d,%s\"filters\":%d,\"name\":\"dual-vnet\"%s}",
                               arch->channels, arch->classes, decoders, arch->filters, norm);
}

dbi_record *dbi_checkpoint_to_record(const dbi_checkpoint *checkpoint, dbi_error *error)
{
    dbi_record *record = dbi_record_new(error);
    if (record &&
        (dbi_meta_copy(record, checkpoint->meta, error) || dbi_meta_set(record, "kind", "checkpoint", error) ||
         set_architecture(record, &checkpoint->layout.arch, error) ||
         dbi_meta_set_int(record, "step", checkpoint->step, error) ||
         dbi_meta_set(record, "sdf_sign", "positive-inside", error) ||
         dbi_weights_store_f32(&checkpoint->weights, record, error))) {
        dbi_record_free(record);
        return NULL;
    }
    return record;
}

int dbi_checkpoint_save(const dbi_checkpoint *checkpoint, const char *path, const dbi_compression *compression,
                        dbi_error *error)
{
    dbi_record *record = dbi_checkpoint_to_record(checkpoint, error);
    if (!record)
        return -1;
    int status = dbi_record_save(record, path, compression, error);
    dbi_record_free(record);
    return status;
}

int dbi_checkpoint_follow(dbi_checkpoint *teacher, const dbi_checkpoint *student, dbi_error *error)
{
    const dbi_arch *t = &teacher->layout.arch, *s = &student->layout.arch;
    if (t->channels != s->channels || t->classes != s->classes || t->filters != s->filters)
        return dbi_fail(
            error, "the student's architecture (%d channels, %d classes, %d filters) is not the teacher's (%d, %d, %d)",
            s->channels, s->classes, s->filters, t->channels, t->classes, t->filters);
    if (t->decoders != s->decoders)
        return dbi_fail(error, "the student's architecture has %d decoder%s, the teacher's %d", s->decoders,
                        s->decoders > 1 ? "s" : "", t->decoders);
    if (!dbi_norm_equal(&t->norm, &s->norm)) {
        char theirs[DBI_NORM_TEXT], ours[DBI_NORM_TEXT];
        dbi_norm_text(&s->norm, theirs);
        dbi_norm_text(&t->norm, ours);
        return dbi_fail(error, "the student's normalization, %s, is not the teacher's, %s", theirs, ours);
    }
    dbi_record *meta = dbi_record_new(error);
    if (!meta || dbi_meta_copy(meta, student->meta, error)) {
        dbi_record_free(meta);
        return -1;
    }
    dbi_record_free(teacher->meta);
    teacher->meta = meta;
    drop_momentum(teacher);
    teacher->step = student->step;
    return 0;
}

int dbi_checkpoint_average(dbi_checkpoint *teacher, const dbi_checkpoint *student, double decay, bool warmup,
                           dbi_error *error)
{
    if (dbi_checkpoint_follow(teacher, student, error))
        return -1;
    dbi_average_f32(&teacher->weights, &student->weights, dbi_average_decay(student->step, decay, warmup));
    return 0;
}

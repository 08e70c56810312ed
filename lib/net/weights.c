#include "net/weights.real.h"

#include "record/metadata.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static int int_member(json_t *object, const char *key, int *value, dbi_error *error)
{
    json_t *member = json_object_get(object, key);
    json_int_t number = json_integer_value(member);
    if (!json_is_integer(member) || number < 1 || number > 1 << 20)
        return dbi_fail(error, "architecture: \"%s\" is missing or no positive whole number", key);
    *value = (int)number;
    return 0;
}

/* Batch normalization, unless it says otherwise. */
static int norm_member(json_t *object, dbi_normalization *norm, dbi_error *error)
{
    json_t *member = json_object_get(object, "norm");
    *norm = (dbi_normalization){.kind = DBI_NORM_BATCH};
    if (!member)
        return 0;
    if (!json_is_string(member))
        return dbi_fail(error, "architecture: \"norm\" is no string");
    return dbi_norm_parse(json_string_value(member), norm, error) ? dbi_fail_in(error, "architecture") : 0;
}

/* One, unless it says otherwise. */
static int decoders_member(json_t *object, int *decoders, dbi_error *error)
{
    *decoders = 1;
    return json_object_get(object, "decoders") ? int_member(object, "decoders", decoders, error) : 0;
}

static int from_metadata(const dbi_record *record, dbi_arch *arch, dbi_error *error)
{
    json_t *object = dbi_meta_get_json(record, "architecture", error);
    if (!object)
        return -1;
    const char *name = json_string_value(json_object_get(object, "name"));
    int status = 0;
    if (!name || strcmp(name, "dual-vnet"))
        status = dbi_fail(error, "architecture \"%s\" is not \"dual-vnet\"", name ? name : "?");
    else if (int_member(object, "channels", &arch->channels, error) ||
             int_member(object, "classes", &arch->classes, error) ||
             int_member(object, "filters", &arch->filters, error) || decoders_member(object, &arch->decoders, error) ||
             norm_member(object, &arch->norm, error))
        status = -1;
    json_decref(object);
    return status;
}

/* A tensor of the first block. */
static const dbi_tensor *find_first(const dbi_record *record, int decoders, const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "%sblock_one.conv.%s", dbi_encoder_prefix(decoders), part);
    return dbi_record_find(record, name);
}

/* A public state_dict's normalization: running statistics are batch normalization's, and without an affine part it is
 * by instance. What has weights alone has to be told: `told`, or NULL. */
static int norm_from_tensors(const dbi_record *record, int decoders, const dbi_normalization *told,
                             dbi_normalization *norm, dbi_error *error)
{
    const bool running = find_first(record, decoders, "1.running_mean"),
               affine = find_first(record, decoders, "1.weight");
    *norm = (dbi_normalization){.kind = running ? DBI_NORM_BATCH : DBI_NORM_INSTANCE};
    if (running || !affine)
        return 0;
    if (!told || (told->kind != DBI_NORM_INSTANCE_AFFINE && told->kind != DBI_NORM_GROUP))
        return dbi_fail(error, "its normalizations have weights and no running statistics: dbisl-init --from has to be "
                               "told whether they are --norm "
                               "instance:affine or group:N");
    *norm = *told;
    return 0;
}

static int check_kernel(const dbi_tensor *tensor, const char *name, dbi_error *error)
{
    if (!tensor)
        return dbi_fail(error, "no checkpoint: no tensor \"%s\"", name);
    return tensor->ndim == 5 && tensor->shape[0] <= 1 << 20 && tensor->shape[1] <= 1 << 20
               ? 0
               : dbi_fail(error, "tensor \"%s\" has not the shape of a convolution's weights", name);
}

/* The distance head has a row for each class. Without one, out_conv is a softmax over background and one class. */
static int classes_from_tensors(const dbi_record *record, int decoders, int *classes, dbi_error *error)
{
    char head[64], logits[64];
    snprintf(head, sizeof head, "%sout_conv.weight", dbi_decoder_prefix(decoders, 0));
    snprintf(logits, sizeof logits, "%sout_conv2.weight", dbi_decoder_prefix(decoders, 0));
    const dbi_tensor *tensor = dbi_record_find(record, head);
    if (check_kernel(tensor, head, error))
        return -1;
    *classes = (int)tensor->shape[0];
    if (dbi_record_find(record, logits))
        return 0;
    *classes = 1;
    return tensor->shape[0] == 2
               ? 0
               : dbi_fail(error, "no tensor \"%s\", and \"%s\" is no softmax over background and one class", logits,
                          head);
}

/* A public state_dict: the first convolution and a head show all numbers. */
static int from_tensors(const dbi_record *record, const dbi_normalization *told, dbi_arch *arch, dbi_error *error)
{
    const int decoders = find_first(record, 2, "0.weight") ? 2 : 1;
    const dbi_tensor *first = find_first(record, decoders, "0.weight");
    int classes;
    if (check_kernel(first, "block_one.conv.0.weight", error) ||
        classes_from_tensors(record, decoders, &classes, error))
        return -1;
    *arch = (dbi_arch){
        .channels = (int)first->shape[1], .classes = classes, .filters = (int)first->shape[0], .decoders = decoders};
    return norm_from_tensors(record, decoders, told, &arch->norm, error);
}

int dbi_arch_from_record(const dbi_record *record, const dbi_normalization *told, dbi_arch *arch, dbi_error *error)
{
    char is[DBI_NORM_TEXT], not [DBI_NORM_TEXT];
    if (dbi_meta_get(record, "architecture") ? from_metadata(record, arch, error)
                                             : from_tensors(record, told, arch, error))
        return -1;
    if (!told || dbi_norm_equal(told, &arch->norm))
        return 0;
    dbi_norm_text(&arch->norm, is);
    dbi_norm_text(told, not );
    return dbi_fail(error, "its normalization is %s, not %s", is, not );
}

double dbi_average_decay(int64_t step, double decay, bool warmup)
{
    double limit = 1 - 1 / ((double)step + 1);
    return warmup && limit < decay ? limit : decay;
}

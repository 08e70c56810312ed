#include "net/weights.real.h"

#include "record/metadata.h"

#include <jansson.h>
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

static int from_metadata(const dbi_record *record, dbi_arch *arch, dbi_error *error)
{
    json_t *object = dbi_meta_get_json(record, "architecture", error);
    if (!object)
        return -1;
    const char *name = json_string_value(json_object_get(object, "name"));
    int status = 0;
    *arch = (dbi_arch){.decoders = 1};
    if (!name || strcmp(name, "dual-vnet"))
        status = dbi_fail(error, "architecture \"%s\" is not \"dual-vnet\"", name ? name : "?");
    else if (int_member(object, "channels", &arch->channels, error) ||
             int_member(object, "classes", &arch->classes, error) ||
             int_member(object, "filters", &arch->filters, error) || norm_member(object, &arch->norm, error))
        status = -1;
    json_decref(object);
    return status;
}

/* A public state_dict's normalization: running statistics are batch normalization's, and without an affine part it is
 * by instance. What has weights alone has to be told: `told`, or NULL. */
static int norm_from_tensors(const dbi_record *record, const dbi_normalization *told, dbi_normalization *norm,
                             dbi_error *error)
{
    const bool running = dbi_record_find(record, "block_one.conv.1.running_mean"),
               affine = dbi_record_find(record, "block_one.conv.1.weight");
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

/* A public state_dict: the first convolution and a head show all three numbers. */
static int from_tensors(const dbi_record *record, const dbi_normalization *told, dbi_arch *arch, dbi_error *error)
{
    const char *names[] = {"block_one.conv.0.weight", "out_conv.weight"};
    const dbi_tensor *tensor[2];
    for (int i = 0; i < 2; i++) {
        if (!(tensor[i] = dbi_record_find(record, names[i])))
            return dbi_fail(error, "no checkpoint: no tensor \"%s\"", names[i]);
        if (tensor[i]->ndim != 5 || tensor[i]->shape[0] > 1 << 20 || tensor[i]->shape[1] > 1 << 20)
            return dbi_fail(error, "tensor \"%s\" has not the shape of a convolution's weights", names[i]);
    }
    *arch = (dbi_arch){.channels = (int)tensor[0]->shape[1],
                       .classes = (int)tensor[1]->shape[0],
                       .filters = (int)tensor[0]->shape[0],
                       .decoders = 1};
    return norm_from_tensors(record, told, &arch->norm, error);
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

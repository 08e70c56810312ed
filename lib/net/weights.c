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
             int_member(object, "filters", &arch->filters, error))
        status = -1;
    json_decref(object);
    return status;
}

/* A public state_dict: the first convolution and a head show all three numbers. */
static int from_shapes(const dbi_record *record, dbi_arch *arch, dbi_error *error)
{
    const char *names[] = {"block_one.conv.0.weight", "out_conv.weight"};
    const dbi_tensor *tensor[2];
    for (int i = 0; i < 2; i++) {
        if (!(tensor[i] = dbi_record_find(record, names[i])))
            return dbi_fail(error, "no checkpoint: no tensor \"%s\"", names[i]);
        if (tensor[i]->ndim != 5 || tensor[i]->shape[0] > 1 << 20 || tensor[i]->shape[1] > 1 << 20)
            return dbi_fail(error, "tensor \"%s\" has not the shape of a convolution's weights", names[i]);
    }
    *arch = (dbi_arch){
        .channels = (int)tensor[0]->shape[1], .classes = (int)tensor[1]->shape[0], .filters = (int)tensor[0]->shape[0]};
    return 0;
}

int dbi_arch_from_record(const dbi_record *record, dbi_arch *arch, dbi_error *error)
{
    return dbi_meta_get(record, "architecture") ? from_metadata(record, arch, error) : from_shapes(record, arch, error);
}

double dbi_average_decay(int64_t step, double decay, bool warmup)
{
    double limit = 1 - 1 / ((double)step + 1);
    return warmup && limit < decay ? limit : decay;
}

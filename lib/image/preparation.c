#include "image/preparation.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record/json.h"

void dbi_preparation_default(dbi_preparation *settings)
{
    *settings = (dbi_preparation){.downsample = 1, .intensity = {.kind = DBI_INTENSITY_ZSCORE}, .crop = -1};
}

int dbi_crop_parse(const char *text, int64_t *crop, dbi_error *error)
{
    char *end;
    if (!strcmp(text, "none")) {
        *crop = -1;
        return 0;
    }
    if (!strncmp(text, "label:", 6) && text[6] >= '0' && text[6] <= '9') {
        long long margin = strtoll(text + 6, &end, 10);
        if (!*end && margin <= 32767) {
            *crop = margin;
            return 0;
        }
    }
    return dbi_fail(error, "\"%s\": choose none or label:MARGIN, with a margin of 0 to 32767 voxels", text);
}

static json_t *spacing_json(const dbi_preparation *settings)
{
    return settings->resample ? json_pack("[f,f,f]", settings->spacing[0], settings->spacing[1], settings->spacing[2])
                              : json_null();
}

json_t *dbi_preparation_json(const dbi_preparation *settings, dbi_error *error)
{
    char normalize[80], crop[40] = "none";
    dbi_intensity_format(&settings->intensity, normalize);
    if (settings->crop >= 0)
        snprintf(crop, sizeof crop, "label:%" PRId64, settings->crop);
    json_t *json = json_pack("{s:s, s:I, s:s, s:o}", "crop", crop, "downsample", (json_int_t)settings->downsample,
                             "normalize", normalize, "spacing", spacing_json(settings));
    if (!json)
        dbi_fail(error, "out of memory");
    return json;
}

char *dbi_preparation_format(const dbi_preparation *settings, dbi_error *error)
{
    json_t *json = dbi_preparation_json(settings, error);
    char *text = json ? dbi_json_text(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17), error) : NULL;
    json_decref(json);
    return text;
}

static int from_json(json_t *json, dbi_preparation *settings, dbi_error *error)
{
    json_t *spacing = NULL;
    const char *crop, *normalize;
    json_int_t downsample;
    json_error_t fault;
    if (json_unpack_ex(json, &fault, JSON_STRICT, "{s:s, s:I, s:s, s:o}", "crop", &crop, "downsample", &downsample,
                       "normalize", &normalize, "spacing", &spacing))
        return dbi_fail(error, "%s", fault.text);
    dbi_preparation_default(settings);
    if (downsample < 1 || downsample > 32767)
        return dbi_fail(error, "downsample is not a whole number from 1 to 32767");
    settings->downsample = downsample;
    settings->resample = !json_is_null(spacing);
    if (settings->resample && json_array_size(spacing) != 3)
        return dbi_fail(error, "spacing is neither null nor three numbers");
    for (size_t a = 0; settings->resample && a < 3; a++) {
        settings->spacing[a] = json_number_value(json_array_get(spacing, a));
        if (!(settings->spacing[a] > 0) || !isfinite(settings->spacing[a]))
            return dbi_fail(error, "spacing is neither null nor three numbers above 0");
    }
    return dbi_intensity_parse(normalize, &settings->intensity, error) || dbi_crop_parse(crop, &settings->crop, error)
               ? -1
               : 0;
}

int dbi_preparation_parse(const char *text, dbi_preparation *settings, dbi_error *error)
{
    json_t *json = dbi_json_parse(text, strlen(text), error);
    int result = json ? from_json(json, settings, error) : -1;
    json_decref(json);
    return result ? dbi_fail_in(error, "preprocessing settings") : 0;
}

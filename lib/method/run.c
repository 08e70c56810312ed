#include "method/run.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/version.h"
#include "record/checksum.h"
#include "record/metadata.h"
#include "record/sink.h"

struct dbi_run {
    json_t *history;
    json_t *entry; /* the last of history, borrowed */
    int64_t next;
};

/* Weights of 0 have no effect, but earlier releases stored them; without them old and new settings compare equal. */
static void drop_zero_weights(json_t *entry)
{
    json_t *weights = json_object_get(json_object_get(entry, "settings"), "weights"), *weight;
    const char *term;
    void *next;
    json_object_foreach_safe(weights, next, term, weight)
    {
        if (json_is_number(weight) && json_number_value(weight) == 0)
            json_object_del(weights, term);
    }
}

/* True when the run that wrote the entry is the one that continues now. */
static bool continues(const json_t *entry, const json_t *begun, int64_t step)
{
    const char *same[] = {"tool", "version", "settings", "seed"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (!json_equal(json_object_get(entry, same[i]), json_object_get(begun, same[i])))
            return false;
    return json_integer_value(json_object_get(entry, "last")) == step - 1;
}

dbi_run *dbi_run_open(const dbi_record *checkpoint, json_t *settings, uint64_t seed, int64_t step, dbi_error *error)
{
    dbi_run *run = calloc(1, sizeof *run);
    char seed_text[24]; /* a 64-bit seed does not fit into a JSON integer */
    snprintf(seed_text, sizeof seed_text, "%" PRIu64, seed);
    json_t *begun = json_pack("{s:s, s:s, s:o, s:s, s:I, s:I, s:s}", "tool", "dbisl-train-step", "version", DBI_VERSION,
                              "settings", settings, "seed", seed_text, "first", (json_int_t)step, "last",
                              (json_int_t)(step - 1), "batches", "");
    if (!run || !begun) {
        dbi_fail(error, "out of memory");
        goto fail;
    }
    run->next = step;
    run->history = dbi_meta_get(checkpoint, "history") ? dbi_meta_get_json(checkpoint, "history", error) : json_array();
    if (!run->history && !dbi_meta_get(checkpoint, "history"))
        dbi_fail(error, "out of memory");
    if (!run->history)
        goto fail;
    if (!json_is_array(run->history)) {
        dbi_fail(error, "metadata \"history\" is not a list");
        goto fail;
    }
    const size_t count = json_array_size(run->history);
    run->entry = count ? json_array_get(run->history, count - 1) : NULL;
    drop_zero_weights(run->entry);
    if (!run->entry || !continues(run->entry, begun, step)) {
        if (json_array_append(run->history, begun)) {
            dbi_fail(error, "out of memory");
            goto fail;
        }
        run->entry = json_array_get(run->history, count);
    }
    json_decref(begun);
    return run;
fail:
    json_decref(begun);
    dbi_run_close(run);
    return NULL;
}

void dbi_run_close(dbi_run *run)
{
    if (!run)
        return;
    json_decref(run->history);
    free(run);
}

/* Makes the batch what it would be without the truth: drops the tensor and clears "truth" in the history, so that equal
 * trainings have equal checksums. */
static int forget_truth(dbi_record *batch, dbi_error *error)
{
    if (!dbi_record_find(batch, "truth"))
        return 0;
    dbi_record_drop(batch, "truth");
    if (!dbi_meta_get(batch, "history"))
        return 0;
    json_t *history = dbi_meta_get_json(batch, "history", error);
    if (!history)
        return -1;
    size_t i;
    json_t *entry;
    int status = 0;
    json_array_foreach(history, i, entry)
    {
        json_t *settings = json_object_get(entry, "settings");
        if (json_object_get(settings, "truth") && json_object_set_new(settings, "truth", json_false()))
            status = dbi_fail(error, "out of memory");
    }
    if (!status)
        status = dbi_meta_set_json(batch, "history", history, error);
    json_decref(history);
    return status;
}

int dbi_run_add(dbi_run *run, dbi_record *batch, dbi_error *error)
{
    char text[33];
    if (forget_truth(batch, error) || dbi_record_checksum(batch, text, error))
        return -1;
    const char *before = json_string_value(json_object_get(run->entry, "batches"));
    char both[80];
    snprintf(both, sizeof both, "%.32s%.32s", before ? before : "", text);
    const XXH128_hash_t hash = XXH3_128bits(both, strlen(both));
    snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64, hash.high64, hash.low64);
    if (json_object_set_new(run->entry, "batches", json_string(text)) ||
        json_object_set_new(run->entry, "last", json_integer(run->next)))
        return dbi_fail(error, "out of memory");
    run->next++;
    return 0;
}

int dbi_run_store(const dbi_run *run, dbi_record *checkpoint, dbi_error *error)
{
    return dbi_meta_set_json(checkpoint, "history", run->history, error);
}

static bool has_column(int term, int decoders)
{
    return decoders > 1 || !dbi_term_needs_decoders(term);
}

int dbi_log_header(dbi_sink *sink, int decoders, dbi_error *error)
{
    if (dbi_sink_printf(sink, error, "step\trate\tramp\ttotal"))
        return -1;
    for (int i = 0; i < DBI_TERMS; i++)
        if (has_column(i, decoders) && dbi_sink_printf(sink, error, "\t%s", dbi_terms[i].name))
            return -1;
    return dbi_sink_printf(sink, error, "\tvoxel-weight\tpseudo-dice\tweighted-dice\n");
}

int dbi_log_row(dbi_sink *sink, int decoders, int64_t step, const dbi_step_log *log, dbi_error *error)
{
    if (dbi_sink_printf(sink, error, "%" PRId64 "\t%.9g\t%.9g\t%.9g", step, log->rate, log->ramp, log->loss.total))
        return -1;
    for (int i = 0; i < DBI_TERMS; i++)
        if (has_column(i, decoders) && dbi_sink_printf(sink, error, "\t%.9g", log->loss.term[i]))
            return -1;
    if (dbi_sink_printf(sink, error, "\t%.9g\t", log->loss.voxel_weight))
        return -1;
    if (isnan(log->loss.pseudo_dice))
        return dbi_sink_printf(sink, error, "\t\n");
    return dbi_sink_printf(sink, error, "%.9g\t%.9g\n", log->loss.pseudo_dice, log->loss.weighted_dice);
}

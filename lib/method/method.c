#include "method/method.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "distance/normalize.h"

/* What all presets share, so that a comparison of methods compares nothing else. By itself it is the method of seg and
 * reg on the labelled samples. */
static void supervised(dbi_method *m)
{
    *m = (dbi_method){.beta = 0.3,
                      .lambda = 0.1,
                      .k = 40,
                      .ramp = 0.6,
                      .ramp_every = 1,
                      .dropout = 0.5,
                      .transform = {.kind = DBI_TRANSFORM_LEVELSET},
                      .normalize = {.kind = DBI_NORMALIZE_CLIP, .t = 10},
                      .rate = 0.01,
                      .momentum = 0.9,
                      .weight_decay = 1e-4,
                      .schedule = "at:70%"};
    m->weight[DBI_TERM_SEG] = m->weight[DBI_TERM_REG] = 1;
}

/* Tarvainen & Valpola 2017, with the noise and the weight of the UA-MT code. */
static void mean_teacher(dbi_method *m)
{
    m->weight[DBI_TERM_TEACHER] = 1;
    m->teacher_noise = 0.1;
}

/* Yu et al. 2019: eight noisy dropout passes of the teacher mask the uncertain voxels. */
static void ua_mt(dbi_method *m)
{
    mean_teacher(m);
    m->passes = 8;
}

/* Luo et al. 2021. */
static void dtc(dbi_method *m)
{
    m->weight[DBI_TERM_CONSISTENCY_SEG] = 1;
    m->lambda = 1;
    m->k = 1500;
    m->ramp_every = 150;
    m->normalize = (dbi_normalize){.kind = DBI_NORMALIZE_MAX};
}

/* Li 2026, as the manual page of dbisl-train-step reads it. */
static void dbisl(dbi_method *m)
{
    m->weight[DBI_TERM_CROSS_SEG] = m->weight[DBI_TERM_CROSS_REG] = 1;
    m->weight[DBI_TERM_CONSISTENCY_SEG] = m->weight[DBI_TERM_CONSISTENCY_REG] = 1;
    m->weight[DBI_TERM_PSEUDO_SEG] = m->weight[DBI_TERM_PSEUDO_REG] = 1;
    m->weight[DBI_TERM_PSEUDO_CROSS_SEG] = m->weight[DBI_TERM_PSEUDO_CROSS_REG] = 1;
    /* of two decoders alone */
    m->weight[DBI_TERM_EXCHANGE_SEG] = 1;
    m->weight[DBI_TERM_EXCHANGE_REG] = 1;
    m->weight[DBI_TERM_DECODERS_SEG] = 0;
    m->weight[DBI_TERM_DECODERS_REG] = 0;
    m->lambda = 1;
    m->gamma = 2;
    m->uncertainty = true;
}

/* Each function sets what differs from supervised. */
static const struct {
    const char *name;
    void (*set)(dbi_method *);
} presets[] = {
    {"supervised", supervised}, {"mean-teacher", mean_teacher}, {"ua-mt", ua_mt}, {"dtc", dtc}, {"dbisl", dbisl},
};
enum { PRESETS = sizeof presets / sizeof *presets };

const char *dbi_method_preset_name(int i)
{
    return i < PRESETS ? presets[i].name : NULL;
}

int dbi_method_preset(const char *name, dbi_method *method, dbi_error *error)
{
    const char *names[PRESETS + 1] = {NULL};
    for (int i = 0; i < PRESETS; i++) {
        if (!strcmp(name, presets[i].name)) {
            supervised(method);
            presets[i].set(method);
            snprintf(method->name, sizeof method->name, "%s", name);
            return 0;
        }
        names[i] = presets[i].name;
    }
    return dbi_fail_choose(error, name, names);
}

int dbi_method_set_weight(dbi_method *method, const char *text, dbi_error *error)
{
    const char *equals = strchr(text, '=');
    const int term = equals ? dbi_term_find(text, (size_t)(equals - text)) : -1;
    if (term < 0)
        return dbi_fail(error, "\"%s\" is not TERM=WEIGHT with a term of the log, such as cross-seg=0.5", text);
    char *end;
    const double weight = strtod(equals + 1, &end);
    if (end == equals + 1 || *end || !(weight >= 0 && weight <= 1e6))
        return dbi_fail(error, "\"%s\" is not a weight from 0 to 1e6", equals + 1);
    method->weight[term] = weight;
    return 0;
}

int dbi_method_without(dbi_method *method, const char *component, dbi_error *error)
{
    static const char *const components[] = {[DBI_COMPONENT_CROSS] = "cross",
                                             [DBI_COMPONENT_CONSISTENCY] = "consistency",
                                             [DBI_COMPONENT_PSEUDO] = "pseudo",
                                             [DBI_COMPONENT_DECODERS] = "decoders",
                                             [DBI_COMPONENT_EXCHANGE] = "exchange"};
    if (!strcmp(component, "uncertainty")) {
        method->uncertainty = false;
        method->passes = 0;
        return 0;
    }
    for (size_t i = 0; i < sizeof components / sizeof *components; i++)
        if (components[i] && !strcmp(component, components[i])) {
            for (int t = 0; t < DBI_TERMS; t++)
                if (dbi_terms[t].component == (dbi_term_component)i)
                    method->weight[t] = 0;
            return 0;
        }
    return dbi_fail(error, "\"%s\": choose cross, consistency, pseudo, decoders, exchange or uncertainty", component);
}

void dbi_method_fit(dbi_method *method, int decoders)
{
    for (int t = 0; t < DBI_TERMS; t++)
        if (decoders < 2 && dbi_term_needs_decoders(t))
            method->weight[t] = 0;
}

bool dbi_method_needs_teacher(const dbi_method *method)
{
    for (int t = 0; t < DBI_TERMS; t++)
        if (method->weight[t] > 0 && dbi_term_needs_teacher(t))
            return true;
    return false;
}

/* NULL when memory is out. */
static json_t *weights_of(const dbi_method *m)
{
    json_t *weights = json_object();
    for (int t = 0; weights && t < DBI_TERMS; t++)
        if (m->weight[t] > 0 && json_object_set_new(weights, dbi_terms[t].name, json_real(m->weight[t]))) {
            json_decref(weights);
            weights = NULL;
        }
    return weights;
}

json_t *dbi_method_settings(const dbi_method *m, int64_t total_steps, dbi_error *error)
{
    char transform[64], normalize[64];
    dbi_transform_format(&m->transform, transform);
    dbi_normalize_format(&m->normalize, normalize);
    json_t *settings = json_pack(
        "{s:s, s:o, s:f, s:f, s:f, s:f, s:I, s:I, s:f, s:b, s:b, s:f, s:f, s:i, s:s, s:s, s:f, s:f, s:f, s:s, s:I}",
        "method", m->name, "weights", weights_of(m), "beta", m->beta, "lambda", m->lambda, "k", m->k, "ramp", m->ramp,
        "ramp-steps", (json_int_t)m->ramp_steps, "ramp-every", (json_int_t)m->ramp_every, "gamma", m->gamma,
        "uncertainty", (int)m->uncertainty, "cross-entropy", (int)m->cross_entropy, "dropout", m->dropout,
        "teacher-noise", m->teacher_noise, "passes", m->passes, "transform", transform, "sdf-normalize", normalize,
        "lr", m->rate, "momentum", m->momentum, "weight-decay", m->weight_decay, "schedule", m->schedule, "total-steps",
        (json_int_t)total_steps);
    if (settings && m->delta > 0 && json_object_set_new(settings, "delta", json_real(m->delta))) {
        json_decref(settings);
        settings = NULL;
    }
    if (!settings)
        dbi_fail(error, "out of memory");
    return settings;
}

char *dbi_method_formula(const dbi_method *m, dbi_error *error)
{
    static const char *const times[] = {[DBI_TIMES_ONE] = "",
                                        [DBI_TIMES_BETA] = "beta ",
                                        [DBI_TIMES_LAMBDA] = "lambda ",
                                        [DBI_TIMES_LAMBDA_BETA] = "lambda beta "};
    char *text = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    const char *plus = "";
    for (int t = 0; stream && t < DBI_TERMS; t++) {
        if (!(m->weight[t] > 0))
            continue;
        fputs(plus, stream);
        if (m->weight[t] != 1)
            fprintf(stream, "%.9g ", m->weight[t]);
        fprintf(stream, "%s%s", times[dbi_terms[t].times], dbi_terms[t].formula);
        plus = " + ";
    }
    if (!stream || fclose(stream)) {
        free(text);
        dbi_fail(error, "out of memory");
        return NULL;
    }
    return text;
}

/* Reads one entry of "at:": the step at which the rate falls, or -1. */
static int64_t parse_at(const char *text, char **end, int64_t total_steps)
{
    double value = strtod(text, end);
    if (*end == text || !(value >= 0))
        return -1;
    if (**end == '%') {
        ++*end;
        return value <= 100 ? (int64_t)floor(value / 100 * (double)total_steps + 0.5) : -1;
    }
    return value == floor(value) && value < 1e15 ? (int64_t)value : -1;
}

static bool parse_schedule(const char *schedule, int64_t t, int64_t total_steps, double *factor)
{
    char *end;
    *factor = 1;
    if (!strcmp(schedule, "constant"))
        return true;
    if (!strncmp(schedule, "every:", 6)) {
        long n = strtol(schedule + 6, &end, 10);
        if (end == schedule + 6 || *end || n < 1)
            return false;
        *factor = pow(0.1, (double)(t / n));
        return true;
    }
    if (!strncmp(schedule, "at:", 3)) {
        const char *text = schedule + 3;
        for (;; text = end + 1) {
            int64_t at = parse_at(text, &end, total_steps);
            if (at < 0)
                return false;
            if (t >= at)
                *factor *= 0.1;
            if (!*end)
                return true;
            if (*end != ',')
                return false;
        }
    }
    if (!strncmp(schedule, "poly", 4)) {
        double power = 0.9;
        if (schedule[4] == ':') {
            power = strtod(schedule + 5, &end);
            if (end == schedule + 5 || *end || !(power > 0 && power <= 100))
                return false;
        } else if (schedule[4]) {
            return false;
        }
        *factor = pow(1 - (double)t / (double)total_steps, power);
        return true;
    }
    return false;
}

int dbi_schedule_check(const char *schedule, dbi_error *error)
{
    double factor;
    if (strlen(schedule) >= sizeof((dbi_method *)0)->schedule || !parse_schedule(schedule, 0, 1, &factor))
        return dbi_fail(
            error, "\"%.80s\": choose constant, every:N, at:S[,S...] (steps or percentages) or poly[:POWER]", schedule);
    return 0;
}

double dbi_rate(const dbi_method *method, int64_t t, int64_t total_steps)
{
    double factor;
    parse_schedule(method->schedule, t, total_steps, &factor);
    return method->rate * factor;
}

double dbi_ramp(const dbi_method *method, int64_t t, int64_t total_steps)
{
    double length = method->ramp_steps > 0 ? (double)method->ramp_steps : method->ramp * (double)total_steps;
    double at = (double)(t / method->ramp_every * method->ramp_every);
    double left = length > 0 ? 1 - fmin(at / length, 1) : 0;
    return method->lambda * exp(-5 * left * left);
}

#include "method/method.h"

#include "distance/normalize.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const dbi_term_info dbi_terms[DBI_TERMS] = {
    [DBI_TERM_SEG] = {"seg", false, false, false, false, "seg(p, Y)"},
    [DBI_TERM_REG] = {"reg", false, true, false, false, "reg(r, R)"},
    [DBI_TERM_CROSS_SEG] = {"cross-seg", false, false, false, false, "seg(T_r2s(r), Y)"},
    [DBI_TERM_CROSS_REG] = {"cross-reg", false, true, false, true, "reg(T_s2r(p), R)"},
    [DBI_TERM_CONSISTENCY_SEG] = {"consistency-seg", true, false, false, false, "mean (p - T_r2s(r))^2"},
    [DBI_TERM_CONSISTENCY_REG] = {"consistency-reg", true, false, false, true, "mean (r - T_s2r(p))^2"},
    [DBI_TERM_PSEUDO_SEG] = {"pseudo-seg", true, false, true, false, "seg(p, y~)"},
    [DBI_TERM_PSEUDO_REG] = {"pseudo-reg", true, true, true, false, "reg(r, r~)"},
    [DBI_TERM_PSEUDO_CROSS_SEG] = {"pseudo-cross-seg", true, false, true, false, "seg(T_r2s(r), y~)"},
    [DBI_TERM_PSEUDO_CROSS_REG] = {"pseudo-cross-reg", true, true, true, true, "reg(T_s2r(p), r~)"},
    [DBI_TERM_TEACHER] = {"teacher", true, false, true, false, "mean (p - p_teacher)^2"},
};

/* Tarvainen & Valpola 2017, with the noise and the weight of the UA-MT code. */
static void set_mean_teacher(dbi_method *m)
{
    m->weight[DBI_TERM_TEACHER] = 1;
    m->teacher_noise = 0.1;
}

/* Yu et al. 2019: eight noisy dropout passes of the teacher mask the uncertain voxels. */
static void set_ua_mt(dbi_method *m)
{
    m->weight[DBI_TERM_TEACHER] = 1;
    m->teacher_noise = 0.1;
    m->passes = 8;
}

/* Luo et al. 2021. */
static void set_dtc(dbi_method *m)
{
    m->weight[DBI_TERM_CONSISTENCY_SEG] = 1;
    m->lambda = 1;
    m->k = 1500;
    m->ramp_every = 150;
    m->normalize = (dbi_normalize){.kind = DBI_NORMALIZE_MAX};
}

/* Li 2026. */
static void set_dbisl(dbi_method *m)
{
    static const dbi_term further[] = {DBI_TERM_CROSS_SEG,  DBI_TERM_CROSS_REG,  DBI_TERM_CONSISTENCY_SEG,  DBI_TERM_CONSISTENCY_REG,
                                       DBI_TERM_PSEUDO_SEG, DBI_TERM_PSEUDO_REG, DBI_TERM_PSEUDO_CROSS_SEG, DBI_TERM_PSEUDO_CROSS_REG};
    for (size_t i = 0; i < sizeof further / sizeof *further; i++)
        m->weight[further[i]] = 1;
    m->lambda = 1;
    m->gamma = 2;
    m->uncertainty = true;
}

/* set: what differs from what all presets share. */
static const struct {
    const char *name;
    void (*set)(dbi_method *method);
} presets[] = {
    {"supervised", NULL}, {"mean-teacher", set_mean_teacher}, {"ua-mt", set_ua_mt}, {"dtc", set_dtc}, {"dbisl", set_dbisl},
};

enum { PRESETS = sizeof presets / sizeof *presets };

const char *dbi_method_preset_at(size_t index)
{
    return index < PRESETS ? presets[index].name : NULL;
}

int dbi_method_preset(const char *name, dbi_method *method, dbi_error *error)
{
    const char *names[PRESETS + 1] = {NULL};
    size_t at = 0;
    while (at < PRESETS && strcmp(name, presets[at].name)) {
        names[at] = presets[at].name;
        at++;
    }
    if (at == PRESETS)
        return dbi_fail_choose(error, name, names);
    /* What the presets share, so that a comparison of methods compares nothing else. */
    *method = (dbi_method){.weight = {[DBI_TERM_SEG] = 1, [DBI_TERM_REG] = 1},
                           .beta = 0.3,
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
    snprintf(method->name, sizeof method->name, "%s", name);
    if (presets[at].set)
        presets[at].set(method);
    return 0;
}

int dbi_method_set_weight(dbi_method *method, const char *text, dbi_error *error)
{
    const char *equals = strchr(text, '=');
    for (int i = 0; equals && i < DBI_TERMS; i++)
        if (strlen(dbi_terms[i].name) == (size_t)(equals - text) && !strncmp(text, dbi_terms[i].name, (size_t)(equals - text))) {
            char *end;
            double weight = strtod(equals + 1, &end);
            if (end == equals + 1 || *end || !(weight >= 0 && weight <= 1e6))
                return dbi_fail(error, "\"%s\" is not a weight from 0 to 1e6", equals + 1);
            method->weight[i] = weight;
            return 0;
        }
    return dbi_fail(error, "\"%s\" is not TERM=WEIGHT with a term of the log, such as cross-seg=0.5", text);
}

int dbi_method_without(dbi_method *method, const char *component, dbi_error *error)
{
    static const struct {
        const char *name;
        int terms[6];
    } components[] = {
        {"cross", {DBI_TERM_CROSS_SEG, DBI_TERM_CROSS_REG, -1}},
        {"consistency", {DBI_TERM_CONSISTENCY_SEG, DBI_TERM_CONSISTENCY_REG, -1}},
        {"pseudo", {DBI_TERM_PSEUDO_SEG, DBI_TERM_PSEUDO_REG, DBI_TERM_PSEUDO_CROSS_SEG, DBI_TERM_PSEUDO_CROSS_REG, DBI_TERM_TEACHER, -1}},
    };
    if (!strcmp(component, "uncertainty")) {
        method->uncertainty = false;
        method->passes = 0;
        return 0;
    }
    for (size_t i = 0; i < sizeof components / sizeof *components; i++)
        if (!strcmp(component, components[i].name)) {
            for (const int *term = components[i].terms; *term >= 0; term++)
                method->weight[*term] = 0;
            return 0;
        }
    return dbi_fail(error, "\"%s\": choose cross, consistency, pseudo or uncertainty", component);
}

bool dbi_method_needs_teacher(const dbi_method *method)
{
    for (int i = 0; i < DBI_TERMS; i++)
        if (dbi_terms[i].teacher && method->weight[i] > 0)
            return true;
    return false;
}

/* NULL when memory is out. */
static json_t *weights_of(const dbi_method *m)
{
    json_t *weights = json_object();
    for (int i = 0; weights && i < DBI_TERMS; i++)
        if (json_object_set_new(weights, dbi_terms[i].name, json_real(m->weight[i]))) {
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
    json_t *settings = json_pack("{s:s, s:o, s:f, s:f, s:f, s:f, s:I, s:I, s:f, s:b, s:b, s:f, s:f, s:i, s:s, s:s, s:f, s:f, s:f, s:s, s:I}",
                                 "method", m->name, "weights", weights_of(m), "beta", m->beta, "lambda", m->lambda, "k", m->k, "ramp", m->ramp,
                                 "ramp-steps", (json_int_t)m->ramp_steps, "ramp-every", (json_int_t)m->ramp_every, "gamma", m->gamma, "uncertainty",
                                 (int)m->uncertainty, "cross-entropy", (int)m->cross_entropy, "dropout", m->dropout, "teacher-noise",
                                 m->teacher_noise, "passes", m->passes, "transform", transform, "sdf-normalize", normalize, "lr", m->rate, "momentum",
                                 m->momentum, "weight-decay", m->weight_decay, "schedule", m->schedule, "total-steps", (json_int_t)total_steps);
    if (!settings)
        dbi_fail(error, "out of memory");
    return settings;
}

/* One entry of "at:": the step at which the rate falls, or -1. */
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
        return dbi_fail(error, "\"%.80s\": choose constant, every:N, at:S[,S...] (steps or percentages) or poly[:POWER]", schedule);
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

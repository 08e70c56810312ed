/* dbisl-ema: the teacher's update, a weighted mean of teacher and student. */
#include "net/checkpoint.h"
#include "tool.h"

typedef struct arguments {
    double decay;
    bool no_warmup;
    const char *teacher, *student;
} arguments;

enum { KEY_DECAY = 1, KEY_NO_WARMUP };

static const struct argp_option options[] = {
    {"decay", KEY_DECAY, "A", 0, "Share of the teacher that stays, from 0 to 1 (default 0.99)", 0},
    {"no-warmup", KEY_NO_WARMUP, 0, 0, "Take A from the first step on, not min(1 - 1/(T + 1), A) after step T", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_DECAY:
        a->decay = tool_number(state, "decay", arg, 0, 1);
        return 0;
    case KEY_NO_WARMUP:
        a->no_warmup = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->student)
            argp_error(state, "give two files: the teacher and the student");
        *(a->teacher ? &a->student : &a->teacher) = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->student)
            argp_error(state, "give two files: the teacher and the student");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    arguments a = {.decay = 0.99};
    tool_options common;
    dbi_error error;
    tool_parse(argc, argv, "dbisl-ema", TOOL_OUTPUT | TOOL_THREADS | TOOL_COMPRESS, options, parse, "TEACHER STUDENT",
               "Averages a teacher with its student: A times the teacher plus 1 - A times the student, over all "
               "weights and running statistics. The result has the student's step, preprocessing and history.",
               &a, &common);
    tool_reads(a.teacher);
    tool_reads(a.student);
    tool_writes(common.output, TOOL_RECORDS, a.teacher);
    dbi_checkpoint *teacher = dbi_checkpoint_load(a.teacher, &error),
                   *student = teacher ? dbi_checkpoint_load(a.student, &error) : NULL;
    if (!student || dbi_checkpoint_average(teacher, student, a.decay, !a.no_warmup, &error) ||
        dbi_checkpoint_save(teacher, common.output, &common.compression, &error))
        tool_die(&error);
    dbi_checkpoint_free(teacher);
    dbi_checkpoint_free(student);
    return TOOL_DONE;
}

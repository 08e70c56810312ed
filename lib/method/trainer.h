/* One training step: teacher's pass, student's pass, loss, gradient, SGD, and where it is asked for the average that makes the teacher. */
#ifndef DBI_METHOD_TRAINER_H
#define DBI_METHOD_TRAINER_H

#include "method/loss.h"
#include "net/weights.h"

typedef struct dbi_step_log {
    dbi_loss_values loss;
    double rate, ramp;
} dbi_step_log;

#define DBI_REAL_HEADER "method/trainer.real.h"
#include "base/each_real.h"

#endif

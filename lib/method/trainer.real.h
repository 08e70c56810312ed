typedef struct R(dbi_trainer) R(dbi_trainer);

/* Takes all memory. The layout must outlive the trainer. device: as for a net; on a CUDA device the weights live there from the first step on, see fetch. */
R(dbi_trainer) * R(dbi_trainer_open)(const dbi_method *method, int64_t total_steps, uint64_t seed, const dbi_layout *layout, const char *device,
                                     const dbi_loss_shape *shape, dbi_error *error);
void R(dbi_trainer_close)(R(dbi_trainer) * trainer);

typedef struct R(dbi_samples) {
    const real *image;      /* [N,C,X,Y,Z] */
    const uint8_t *label;   /* [M,X,Y,Z] */
    const float *label_sdf; /* [M,K,X,Y,Z], normalized as the method says */
    const uint8_t *truth;   /* [N-M,X,Y,Z] or NULL; for the log alone */
} R(dbi_samples);

/* Step number `step` (from 0) on these samples; the student has momentum. teacher: NULL for methods without; only read. A loss that is not finite
 * is an error, and the student is then as it was but for its running statistics. */
int R(dbi_trainer_step)(R(dbi_trainer) * trainer, R(dbi_weights) * student, R(dbi_weights) * teacher, const R(dbi_samples) * samples, int64_t step,
                        dbi_step_log *log, dbi_error *error);

/* The parts of a step, for callers that get the next batch ready while a device computes: submit() gives a step to the device, finish() waits for the oldest one
 * that was submitted and says what its loss was (where that is not finite, so it is with the steps submitted after it). At most two may be under way. What
 * `samples` points to is free again when submit() returns. */
int R(dbi_trainer_submit)(R(dbi_trainer) * trainer, R(dbi_weights) * student, R(dbi_weights) * teacher, const R(dbi_samples) * samples, int64_t step,
                          dbi_error *error);
int R(dbi_trainer_finish)(R(dbi_trainer) * trainer, dbi_step_log *log, dbi_error *error);
/* Brings student and teacher up to date, after every step that was submitted; before that they are only on a CUDA device. They must be those of every step. */
int R(dbi_trainer_fetch)(R(dbi_trainer) * trainer, R(dbi_weights) * student, R(dbi_weights) * teacher, dbi_error *error);

/* From now on every step ends with the teacher's average, of decay dbi_average_decay(step + 1, decay, warmup). */
void R(dbi_trainer_average)(R(dbi_trainer) * trainer, double decay, bool warmup);

/* The gradient of the last step, [layout->parameters]; owned by the trainer. NULL where a device fails. */
const real *R(dbi_trainer_gradient)(R(dbi_trainer) * trainer);

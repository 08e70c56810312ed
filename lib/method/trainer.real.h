typedef struct R(dbi_trainer) R(dbi_trainer);

/* Takes all memory. The layout must outlive the trainer. device: as for a net. */
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
/* The gradient of the last step, [layout->parameters]; owned by the trainer. */
const real *R(dbi_trainer_gradient)(const R(dbi_trainer) * trainer);

/* Allocates the arrays (zeroed; variance 1); momentum only where asked for. */
int R(dbi_weights_new)(R(dbi_weights) * weights, const dbi_layout *layout, bool momentum, dbi_error *error);
void R(dbi_weights_free)(R(dbi_weights) * weights);
/* Kaiming normal for convolutions (as the field's code initializes them), 1 and 0 for normalizations, PyTorch's default for the heads and biases. */
void R(dbi_weights_init)(R(dbi_weights) * weights, uint64_t seed);
/* Every tensor of the layout must be there with its shape (F32; F64 and F16 are converted), finite. Momentum: from "momentum.NAME" when all are
 * there, else zero. */
int R(dbi_weights_load)(R(dbi_weights) * weights, const dbi_record *record, dbi_error *error);
/* Adds the tensors (F32) to a record. */
int R(dbi_weights_store)(const R(dbi_weights) * weights, dbi_record *record, dbi_error *error);
/* PyTorch's SGD: g += decay w; m = momentum m + g; w -= rate m. */
void R(dbi_sgd_step)(R(dbi_weights) * weights, const dbi_sgd *sgd, const real *gradient);
/* teacher = a teacher + (1 - a) student over parameters and statistics; the batch count is copied. */
void R(dbi_average)(R(dbi_weights) * teacher, const R(dbi_weights) * student, double a);

/* The state of a network: flat arrays in the layout's order. */
typedef struct R(dbi_weights) {
    const dbi_layout *layout; /* not owned */
    real *parameters;         /* [layout->parameters] */
    real *momentum;           /* likewise, or NULL: the optimizer's */
    real *statistics;         /* [layout->statistics]: running mean and variance (unbiased) of each normalization */
    int64_t batches;          /* num_batches_tracked, the same for all normalizations */
} R(dbi_weights);

/* Prediction: a case and a checkpoint -> a prediction record. */
#ifndef DBI_PREDICT_PREDICT_H
#define DBI_PREDICT_PREDICT_H

#include <stdbool.h>
#include <stddef.h>

#include "device/device.h"
#include "device/window.h"
#include "net/checkpoint.h"
#include "predict/postprocess.h"

typedef enum dbi_window_choice {
    DBI_WINDOW_TRAINED, /* the checkpoint's metadata `patch`, no larger than the scan has to be, halved until `memory`
                           allows; without it WHOLE */
    DBI_WINDOW_WHOLE,   /* the whole scan in one pass where `memory` allows, else the windows that come of halving the
                           longest axis until it does */
    DBI_WINDOW_GIVEN
} dbi_window_choice;

/* What a prediction holds, see dbisl-format(5). */
enum {
    DBI_PREDICT_LABEL = 1,
    DBI_PREDICT_PROB = 2,
    DBI_PREDICT_LOGITS = 4,
    DBI_PREDICT_SDF = 8,
    DBI_PREDICT_UNCERTAINTY = 16
};

/* "label,prob,logits,sdf,uncertainty": any of them, each once. */
int dbi_predict_outputs_parse(const char *text, unsigned *outputs, dbi_error *error);

typedef struct dbi_predict_settings {
    dbi_window_choice choice;
    int64_t window[3]; /* where given */
    int64_t stride[3]; /* 0: half of the window, rounded up */
    dbi_window_weights weights;
    dbi_head head;
    unsigned outputs;
    double threshold; /* of the label */
    bool largest;     /* the label keeps each class's largest component */
    double k;         /* slope of the distance head's step; 0: the checkpoint's */
    size_t memory;    /* bytes for the scan, the results and the network together; used where the window is not given */
    dbi_device device;
} dbi_predict_settings;

typedef struct dbi_predictor dbi_predictor;

/* The checkpoint must outlive the predictor. Fails when the settings need the distance head's slope and neither they
 * nor the checkpoint's metadata `regression` has it. */
dbi_predictor *dbi_predictor_open(dbi_checkpoint *checkpoint, const dbi_predict_settings *settings, dbi_error *error);
void dbi_predictor_close(dbi_predictor *predictor); /* NULL is allowed */

/* The windows of a scan of this shape. Fails when none fits the memory. */
int dbi_predictor_window(const dbi_predictor *predictor, const int64_t shape[3], int64_t window[3], int64_t stride[3],
                         dbi_error *error);

/* Where the device could do the windows of a scan itself: why they are cut and put together on the host nevertheless,
 * NULL where they are not. After the first case. */
const char *dbi_predictor_on_host(const dbi_predictor *predictor);

/* Is this a case for the network: of kind "case" (or none), `image` F32 [C,X,Y,Z] of finite voxels, as many channels as
 * the network has? */
int dbi_predictor_check(const dbi_predictor *predictor, const dbi_record *input, dbi_error *error);
/* Was the case prepared as those that the network was trained on? The crop does not count (see
 * dbi_predictor_beyond_crops), nor does an unknown preparation of either. The error names both. */
int dbi_predictor_check_preparation(const dbi_predictor *predictor, const dbi_record *input, dbi_error *error);
/* Was the network trained on cases cropped round their labels, and this one is not? Whole scans show it more than it
 * has seen. */
bool dbi_predictor_beyond_crops(const dbi_predictor *predictor, const dbi_record *input);

/* Predicts a checked case: a record with the tensors asked for, and the case's metadata id, affine, spacing, source,
 * geometry and preprocessing, so that dbi_restore takes it. The history is the case's with one entry more. checksum: of
 * the checkpoint's record, for that entry. progress: after each window, or NULL. The predictor keeps its network for
 * the next case. */
dbi_record *dbi_predict(dbi_predictor *predictor, const dbi_record *input, const char *checksum,
                        void (*progress)(void *context, int64_t done, int64_t total), void *context, dbi_error *error);

#endif

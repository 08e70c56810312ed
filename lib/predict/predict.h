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
    DBI_WINDOW_TRAINED, /* the checkpoint's metadata `patch`, no larger than the scan needs, halved until `memory`
                           suffices; like WHOLE when the checkpoint has none */
    DBI_WINDOW_WHOLE, /* the whole scan in one pass if `memory` allows it; otherwise the longest axis is halved until it
                         does */
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

/* Reads "label,prob,logits,sdf,uncertainty": any of them, each once. */
int dbi_predict_outputs_parse(const char *text, unsigned *outputs, dbi_error *error);

/* The logit of a voxel that no window has seen: p = 2e-9. */
enum { DBI_PREDICT_NOTHING = -20 };

typedef struct dbi_predict_settings {
    dbi_window_choice choice;
    int64_t window[3]; /* used if choice is DBI_WINDOW_GIVEN */
    int64_t stride[3]; /* 0: half of the window, rounded up */
    dbi_window_weights weights;
    dbi_head head;
    dbi_decoder_choice decoder; /* for a network with several; EACH: NAME.1, NAME.2 beside the means */
    unsigned outputs;
    double threshold; /* of the label */
    bool everywhere;  /* windows also lie in the empty planes around a patient */
    bool largest;     /* the label keeps each class's largest component */
    double k;         /* slope of the distance head's step; 0: the checkpoint's */
    size_t memory;    /* bytes for scan, results and network together; not used if the window is given */
    dbi_device device;
} dbi_predict_settings;

typedef struct dbi_predictor dbi_predictor;

/* Makes a predictor; the checkpoint must outlive it. Fails when the settings need the slope of the distance head and
 * neither they nor the checkpoint's metadata `regression` have it, or when they ask for a decoder that is not there. */
dbi_predictor *dbi_predictor_open(dbi_checkpoint *checkpoint, const dbi_predict_settings *settings, dbi_error *error);
void dbi_predictor_close(dbi_predictor *predictor); /* NULL is allowed */

/* The window and the stride for a scan of this shape, or for the part of it that is seen. Fails when no window fits
 * into the memory. */
int dbi_predictor_window(const dbi_predictor *predictor, const int64_t shape[3], int64_t window[3], int64_t stride[3],
                         dbi_error *error);

/* After a case: why windows are cut and put together on the host although the device can do them itself; NULL when they
 * are not. */
const char *dbi_predictor_on_host(const dbi_predictor *predictor);

/* Checks that this is a case for the network: kind "case" (or none), `image` F32 [C,X,Y,Z] of finite voxels, with the
 * network's number of channels. */
int dbi_predictor_check(const dbi_predictor *predictor, const dbi_record *input, dbi_error *error);
/* Checks that the case was prepared as the cases that the network was trained on. The crop does not count (see
 * dbi_predictor_beyond_crops); when either preparation is unknown, nothing is checked. The error names both. */
int dbi_predictor_check_preparation(const dbi_predictor *predictor, const dbi_record *input, dbi_error *error);
/* Whether the network was trained on cases cropped round their labels and this case is not cropped: then it sees more
 * than in training. */
bool dbi_predictor_beyond_crops(const dbi_predictor *predictor, const dbi_record *input);

/* Predicts a checked case. Windows lie where there is something to see: in dbi_box_of_content, made at least as
 * large as a patch of the training. Outside, the label is background, probability and uncertainty are 0, the
 * distance is -1 and the logit DBI_PREDICT_NOTHING. Returns a record, which the caller frees, with the tensors asked for and the case's metadata
 * id, affine, spacing, source, geometry and preprocessing, so that dbi_restore accepts it; NULL with an error. The
 * history is the case's with one more entry, for which checksum is that of the checkpoint's record. progress: called
 * after each window, or NULL. The predictor keeps its network for the next case. */
dbi_record *dbi_predict(dbi_predictor *predictor, const dbi_record *input, const char *checksum,
                        void (*progress)(void *context, int64_t done, int64_t total), void *context, dbi_error *error);

#endif

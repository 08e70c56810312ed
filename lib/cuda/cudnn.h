/* cuDNN is loaded when it is wanted, so that the programs start on machines without it. */
#ifndef DBI_CUDA_CUDNN_H
#define DBI_CUDA_CUDNN_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/error.h"

/* Loads libcudnn.so.9, once: where the loader looks, then in the folder where the build found it. Says what is missing.
 */
int dbi_cudnn_load(dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif

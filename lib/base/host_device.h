/* Functions that run on the host and on a GPU. They are written in the common subset of C and CUDA C++. */
#ifndef DBI_BASE_HOST_DEVICE_H
#define DBI_BASE_HOST_DEVICE_H

#ifdef __CUDACC__
#define DBI_HD static inline __host__ __device__
#else
#define DBI_HD static inline __attribute__((unused))
#endif

/* Goes before a loop over an array of few elements: when the loop is unrolled, the elements can live in registers. */
#ifdef __CUDA_ARCH__
#define DBI_UNROLL _Pragma("unroll")
#else
#define DBI_UNROLL
#endif

#endif

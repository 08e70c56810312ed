/* Streams, events, graphs and pinned memory, which the trainer and the host's net need beside cuda.h. */
#ifndef DBI_CUDA_STREAM_H
#define DBI_CUDA_STREAM_H

#include "cuda/cuda.h"
#include "cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

int dbi_stream_open(dbi_stream *stream, dbi_error *error);
void dbi_stream_close(dbi_stream stream); /* NULL is allowed, here and below */

typedef struct CUevent_st *dbi_event;
int dbi_event_open(dbi_event *event, dbi_error *error);
void dbi_event_close(dbi_event event);
/* The event happens when the stream has done all that was submitted to it so far. */
int dbi_event_record(dbi_event event, dbi_stream stream, dbi_error *error);
/* What is submitted to the stream from now on starts after the event. */
int dbi_event_before(dbi_event event, dbi_stream stream, dbi_error *error);
/* Waits for the event. */
int dbi_event_wait(dbi_event event, dbi_error *error);

/* Page-locked host memory: copies from and to it run beside kernels. */
int dbi_pinned_open(void **memory, size_t bytes, dbi_error *error);
void dbi_pinned_close(void *memory);

/* Records what `run` submits to the stream as a graph, without doing it. The graph can be launched many times. *graph
 * stays NULL when the device, or something in `run`, cannot be recorded: then call `run` for each step. An error of
 * `run` during the recording is not reported, because it will occur again in that call. */
typedef struct CUgraphExec_st *dbi_graph;
int dbi_graph_record(dbi_graph *graph, dbi_stream stream, int (*run)(void *context, dbi_error *error), void *context,
                     dbi_error *error);
int dbi_graph_launch(dbi_graph graph, dbi_stream stream, dbi_error *error);
void dbi_graph_close(dbi_graph graph);

#ifdef __cplusplus
}
#endif

#endif

/* Streams, events, graphs and pinned memory: what of CUDA the trainer and the host's net need beside cuda.h. */
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
/* The event happens when the stream has done what it was given so far. */
int dbi_event_record(dbi_event event, dbi_stream stream, dbi_error *error);
/* What the stream is given from now on starts after the event. */
int dbi_event_before(dbi_event event, dbi_stream stream, dbi_error *error);
/* Waits for the event. */
int dbi_event_wait(dbi_event event, dbi_error *error);

/* Page-locked memory of the host, from which copies run beside kernels. */
int dbi_pinned_open(void **memory, size_t bytes, dbi_error *error);
void dbi_pinned_close(void *memory);

/* Records what `run` gives the stream, without doing it, as a graph that can be launched again and again. *graph stays
 * NULL where the device, or something in it, cannot be recorded: then call `run` for each step. Fails where `run` fails
 * by itself. */
typedef struct CUgraphExec_st *dbi_graph;
int dbi_graph_record(dbi_graph *graph, dbi_stream stream, int (*run)(void *context, dbi_error *error), void *context,
                     dbi_error *error);
int dbi_graph_launch(dbi_graph graph, dbi_stream stream, dbi_error *error);
void dbi_graph_close(dbi_graph graph);

#ifdef __cplusplus
}
#endif

#endif

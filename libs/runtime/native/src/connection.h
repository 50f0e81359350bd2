/* One client of a shim's socket. */
#ifndef ENXAME_CONNECTION_H
#define ENXAME_CONNECTION_H

#include "shim.h"

void accept_connection(struct shim *shim);
/* Reads what is there and answers what is complete. */
void read_connection(struct shim *shim, struct connection *connection);
/* Sends what it takes without waiting. */
void write_connection(struct connection *connection);
/* Goes on with frames that waited for room in a stdin. */
void continue_connection(struct shim *shim, struct connection *connection);
/* Output of a process, as a frame. A client that is far too slow is cut off. */
void send_output(struct connection *connection, enum frame_type type, const void *data, size_t length);
/* The process whose stdin this connection feeds, or NULL. */
struct job *stdin_job(struct shim *shim, struct connection *connection);
/* Frees the dead ones. */
void sweep_connections(struct shim *shim);

#endif

/* The state of an OCI container as JSON: what `state` prints, and what hooks get on their stdin. */
#ifndef ENXAME_OCI_STATE_H
#define ENXAME_OCI_STATE_H

#include "plan.h"

#include <sys/types.h>

bool append_oci_state(struct buffer *text, const struct plan *plan, const char *status, pid_t pid);

#endif

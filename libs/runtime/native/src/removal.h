/* Removes what a container has left on the node's disk, in a process of its own. */
#ifndef ENXAME_REMOVAL_H
#define ENXAME_REMOVAL_H

#include "error.h"
#include "wire.h"

/* The folder and all in it; one that is not there is no error. */
int remove_tree(const char *path, struct error *err);
/* Carries out a REMOVE frame. Never returns. `result` takes the answer frame. */
void run_removal(struct reader *payload, uint32_t request, int result) __attribute__((noreturn));

#endif

#ifndef ENXAME_CLEANUP_H
#define ENXAME_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void close_descriptor(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static inline void free_pointer(void *pointer) {
  free(*(void **)pointer);
}

/* Freed or closed when the name goes out of scope, whichever way the function is left. */
#define autoclose __attribute__((cleanup(close_descriptor)))
#define autofree __attribute__((cleanup(free_pointer)))

/* Hands an `autoclose` descriptor to somebody who outlives this scope. */
static inline int keep_descriptor(int *fd) {
  int kept = *fd;
  *fd = -1;
  return kept;
}

#endif

/* The new process, from clone to exec. */
#ifndef ENXAME_INSIDE_H
#define ENXAME_INSIDE_H

#include "process.h"

struct inside {
  int channel;
  /* Its ends of the pipes, or of the terminal three times; -1: made inside, or /dev/null. */
  int stdio[3];
  /* The container to enter; -1: this process is a new one. */
  int container;
  /* NULL: the keeper stays. */
  const struct detachment *detachment;
};

/* Never returns: execs, or says why not on the channel and exits. */
void run_inside(const struct plan *plan, struct inside *inside) __attribute__((noreturn));

#endif

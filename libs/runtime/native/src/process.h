/* Starts a process from a plan, as its keeper: a new container, or one more process in a container. */
#ifndef ENXAME_PROCESS_H
#define ENXAME_PROCESS_H

#include "plan.h"

#include <sys/types.h>

struct process {
  pid_t pid;
  int pidfd;
  /* Our ends; -1 when closed or absent. With a terminal, `in` and `out` are two descriptors of its master. */
  int in, out, err;
  bool tty;
  /* To a process that waits for its START, else -1. */
  int channel;
  /* The container's devpts, for the terminals of later processes; -1 when it has none. */
  int devpts;
  int64_t started_ms;
};

/* Where a further process goes; NULL pointer for a new container. */
struct container {
  int pidfd;
  int devpts;
};

int start_process(const struct plan *plan, const struct container *container, struct process *process, struct error *err);
/* Lets a held process run its program. */
int start_held(struct process *process, struct error *err);
/* Kills it if it runs, reaps it, closes everything. */
void discard_process(struct process *process);
void close_process(struct process *process);

int64_t now_ms(void);

#endif

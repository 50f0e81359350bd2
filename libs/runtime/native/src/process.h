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
  /* Another runtime has made it; NULL otherwise. */
  const struct foreign *foreign;
};

/* Where a further process goes; NULL pointer for a new container. */
struct container {
  int pidfd;
  int devpts;
  const struct foreign *foreign;
};

/* How a process is started that its starter does not keep. */
struct detachment {
  /* It has the starter's own stdio and its descriptors from 3 on, this many of them. Its terminal's master is `process.out`. */
  unsigned kept_descriptors;
  /* Listening; taken over. The process waits there for its START, as on a channel. -1: it starts at once. */
  int start_socket;
};

/* `detachment` NULL: the starter keeps it, and it dies with it. */
int start_process(const struct plan *plan, const struct container *container, const struct detachment *detachment,
                  struct process *process, struct error *err);
/* Lets a held process run its program. */
int start_held(struct process *process, struct error *err);
/* Kills it if it runs, reaps it, closes everything. */
void discard_process(struct process *process);
void close_process(struct process *process);

int64_t now_ms(void);

#endif

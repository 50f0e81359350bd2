/* What every way to start a process has in common: its stdio and its interfaces. */
#ifndef ENXAME_PROCESS_PARTS_H
#define ENXAME_PROCESS_PARTS_H

#include "process.h"

struct ends {
  int child[3];
  int keeper[3];
};

void close_ends(struct ends *ends);
#define autoends __attribute__((cleanup(close_ends)))

int make_pipes(struct ends *ends, bool open_stdin, struct error *err);
int take_terminal(struct ends *ends, int master, struct error *err);
/* The process takes the keeper's ends. */
void keep_ends(struct process *process, struct ends *ends);
int make_interfaces(const struct plan *plan, pid_t pid, struct error *err);

#endif

/* Control groups: which files and values, TypeScript has decided. */
#ifndef ENXAME_CGROUP_H
#define ENXAME_CGROUP_H

#include "plan.h"

#include <sys/types.h>

/* Makes the directories, writes the limits and attaches device programs, in plan order. */
int prepare_cgroups(const struct plan *plan, struct error *err);
/* The v2 cgroup that clone3 puts the process into; -1 when the plan has none. */
int open_unified_cgroup(const struct plan *plan, int *fd, struct error *err);
/* Puts the process into its v1 cgroups. */
int join_cgroups(const struct plan *plan, pid_t pid, struct error *err);
/*
 * Makes joins of v1 cgroups quick on this machine for as long as the descriptor is open; -1 where that is not possible
 * or not needed.
 */
int hurry_joins(void);
/* N of the `oom_kill N` line of the plan's oom-file, 0 when there is none. */
uint64_t read_oom_kills(const char *path);

#endif

/* What a plan's cgroups say and do once its container is there. */
#ifndef ENXAME_OCI_CGROUP_FILES_H
#define ENXAME_OCI_CGROUP_FILES_H

#include "../plan.h"

#include <sys/types.h>

bool is_frozen(const struct plan *plan);
int set_frozen(const struct plan *plan, bool frozen, struct error *err);

struct pids {
  pid_t *items;
  size_t count;
};

/* Of all its cgroups, nested ones too. */
int read_pids(const struct plan *plan, struct pids *pids, struct error *err);
/* Whether there was any. */
bool signal_all(const struct plan *plan, int number);
/* Kills what is left in them, and removes them. */
int remove_cgroups(const struct plan *plan, struct error *err);

#endif

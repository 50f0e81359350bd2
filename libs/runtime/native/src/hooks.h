/* Programs that OCI lets a user run at certain steps of a container's life. */
#ifndef ENXAME_HOOKS_H
#define ENXAME_HOOKS_H

#include "plan.h"

#include <sys/types.h>

bool has_hooks(const struct plan *plan, enum hook_stage stage);
/* One after the other, in the namespaces of the caller; the first that fails is the last. `status`, `pid`: the state they are told. */
int run_hooks(const struct plan *plan, enum hook_stage stage, const char *status, pid_t pid, struct error *err);

#endif

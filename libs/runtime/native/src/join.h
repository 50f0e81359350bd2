/* Namespaces of another container, taken instead of new ones. */
#ifndef ENXAME_JOIN_H
#define ENXAME_JOIN_H

#include "plan.h"

/* The namespace of this kind (one CLONE_NEW flag) that the plan joins; -1 in `fd` when it joins none. */
int open_joined_namespace(const struct plan *plan, int flag, int *fd, struct error *err);
/* Enters every one of them but the pid namespace, which a process can only be born in. */
int join_namespaces(const struct plan *plan, struct error *err);

#endif

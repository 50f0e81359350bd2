/*
 * Containers that another OCI runtime makes, runs programs in and deletes. The shim stays their keeper: it is the
 * subreaper that their processes come to once the runtime's command has ended, and holds their stdio as ever.
 */
#ifndef ENXAME_FOREIGN_H
#define ENXAME_FOREIGN_H

#include "process.h"

/* How the runtime is called about its container. Outlives the plan it came with. */
struct foreign {
  char *program, *root, *bundle, *id, *console_path;
};

/* Create, and start unless the plan is held. */
int start_foreign(const struct plan *plan, struct process *process, struct error *err);
int start_foreign_held(struct process *process, struct error *err);
int exec_foreign(const struct plan *plan, const struct container *container, struct process *process, struct error *err);
/* When its first process has ended. What is left of it then is the runtime's affair. */
void delete_foreign(const struct foreign *foreign);

#endif

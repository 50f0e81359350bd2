/* Process 1 of containers that ask for one. */
#ifndef ENXAME_INIT_H
#define ENXAME_INIT_H

#include "plan.h"

/*
 * Forks. Returns 0 in the child, which goes on to run the program, and -1 when there can be no child. The parent never
 * returns: it forwards signals, reaps orphans, and ends as the program ended.
 */
int become_init(const struct plan *plan, struct error *err);

#endif

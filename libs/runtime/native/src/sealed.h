/* What a program does first that will enter containers. */
#ifndef ENXAME_SEALED_H
#define ENXAME_SEALED_H

#include "error.h"

/*
 * A process that enters a container shows its program there as /proc/self/exe; a container must not be able to change
 * it on the node (CVE-2019-5736). So this program runs on from a copy in memory that nobody can ever write.
 */
int become_sealed(char **argv, struct error *err);
/* Descriptors 0 to 2 must be taken: a later pipe with such a number would be mixed up with stdio. */
int fill_stdio(void);

#endif

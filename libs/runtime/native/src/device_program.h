/* Which devices a cgroup of v2 may use: a BPF program that TypeScript has compiled. */
#ifndef ENXAME_DEVICE_PROGRAM_H
#define ENXAME_DEVICE_PROGRAM_H

#include "plan.h"

/* Loads the program and attaches it to the cgroup, whose directory exists. It lives as long as the cgroup. */
int attach_device_program(const struct operation *operation, struct error *err);

#endif

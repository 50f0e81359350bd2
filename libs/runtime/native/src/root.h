/* The container's root file system: made from layers or a folder, later made `/`. */
#ifndef ENXAME_ROOT_H
#define ENXAME_ROOT_H

#include "plan.h"

/* Stops mounts of the new namespace from reaching the node. */
int set_root_propagation(bool slave, struct error *err);
/* Both give a descriptor of the mounted root. */
int mount_overlay_root(const struct operation *operation, struct error *err);
int mount_bind_root(const struct operation *operation, struct error *err);
int pivot_into(int root, bool read_only, struct error *err);

#endif

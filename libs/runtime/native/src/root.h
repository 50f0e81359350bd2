/* The container's root file system: made from layers or a folder, later made `/`. */
#ifndef ENXAME_ROOT_H
#define ENXAME_ROOT_H

#include "plan.h"

/* Stops mounts of the new namespace from reaching the node. */
int set_root_propagation(bool slave, struct error *err);
/* Both give a descriptor of the mounted root. */
int mount_overlay_root(const struct operation *operation, struct error *err);
int mount_bind_root(const struct operation *operation, struct error *err);
/* `move`: for a node whose own root cannot be pivoted from. */
int pivot_into(int root, bool read_only, bool move, struct error *err);
/* What becomes of mounts below `/`: one MS_ flag of propagation. */
int set_mounted_root_propagation(unsigned long flag, struct error *err);

#endif

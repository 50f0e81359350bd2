/* Filesystems, binds, masks and device nodes inside a root that nobody else can see yet. */
#ifndef ENXAME_MOUNTS_H
#define ENXAME_MOUNTS_H

#include "plan.h"

/* A filesystem that is mounted nowhere yet: its descriptor, or -1. */
int make_filesystem(const char *type, const char *source, const struct strings *options, uint64_t attributes,
                    struct error *err);
/* Puts a detached mount on what `target` is. */
int attach_mount(int mount, int target, const char *path, struct error *err);
/* The node's own /dev/null, checked to be that device: a fake one would make "masked" files writable. */
int open_null_device(int flags, struct error *err);

int mount_filesystem(int root, const struct operation *operation, struct error *err);
/* The source of a bind as a mount that is attached nowhere yet: its descriptor, or -1. */
int clone_bind_source(const struct operation *operation, struct error *err);
/* `taken`: its source as cloned before, or -1. */
int mount_bind(int root, const struct operation *operation, int taken, struct error *err);
int mask_path(int root, int null_device, const char *path, struct error *err);
int make_path_read_only(int root, const char *path, struct error *err);
/* Binds an open file over `path`, which is made when missing. */
int bind_descriptor(int root, int source, const char *path, struct error *err);

int make_device(int root, const struct operation *operation, struct error *err);
int make_symlink(int root, const struct operation *operation, struct error *err);
int make_file(int root, const struct operation *operation, struct error *err);
/* A read-only file on a tmpfs of its own: no disk sees it, and it goes with the container's mounts. */
int mount_memory_file(int root, const struct operation *operation, struct error *err);

#endif

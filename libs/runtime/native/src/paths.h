/*
 * Paths inside a container's root. The image (or another container that shares a volume) chooses what is there, so a
 * path is never used as a string: it is resolved below `root` by the kernel (openat2 RESOLVE_IN_ROOT), and all work
 * is done on the descriptor.
 */
#ifndef ENXAME_PATHS_H
#define ENXAME_PATHS_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* An O_PATH descriptor, or -1 with errno. */
int resolve_in_root(int root, const char *path);
/* Opened for use with `flags`, or -1 with errno. */
int open_in_root(int root, const char *path, uint64_t flags);

/* mkdir -p; folders that are made get `mode` and owner. O_PATH descriptor of the last one, or -1. */
int make_directory_in_root(int root, const char *path, mode_t mode, uid_t uid, gid_t gid, struct error *err);
/* O_PATH descriptor of the folder that holds `path`, which is made when missing; `name` is the last component. */
int make_parent_in_root(int root, const char *path, char name[256], struct error *err);
/* What is there already, else a new folder or empty file: a place to mount on. */
int make_target_in_root(int root, const char *path, bool directory, struct error *err);

/* mkdir -p on the node. */
int make_directory(const char *path, struct error *err);
/* Opens, writes everything, closes. -1 with errno. */
int write_small_file(int directory, const char *path, const char *value);

#endif

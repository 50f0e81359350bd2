#include "root.h"

#include "cleanup.h"
#include "kernel.h"
#include "mounts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS_MAX = 200, OPTIONS_BYTES_MAX = 4095 };

int set_root_propagation(bool slave, struct error *err) {
  if (mount(NULL, "/", NULL, MS_REC | (slave ? MS_SLAVE : MS_PRIVATE), NULL) == 0) return 0;
  return fail(err, errno, "set the propagation of /");
}

struct option_text {
  char text[OPTIONS_BYTES_MAX + 1];
  size_t length;
};

__attribute__((format(printf, 2, 3))) static bool add_option(struct option_text *options, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  size_t room = sizeof options->text - options->length;
  int length = vsnprintf(options->text + options->length, room, format, arguments);
  va_end(arguments);
  if (length < 0 || (size_t)length >= room) return false;
  options->length += (size_t)length;
  return true;
}

static int open_layer(const char *path, struct error *err) {
  int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  return fd >= 0 ? fd : fail(err, errno, "open layer %s", path);
}

/*
 * mount(2) takes one page of options, and ':' and ',' in a path would need escaping that kernels disagree about. So
 * layers are named by descriptor, which is short and has neither; the descriptors go at close_range() before exec.
 */
int mount_overlay_root(const struct operation *operation, struct error *err) {
  const struct strings *lower = &operation->overlay.lower;
  if (lower->count == 0 || lower->count > LAYERS_MAX) {
    return fail(err, 0, "overlay root: %u layers, 1 to %d are possible", lower->count, LAYERS_MAX);
  }
  autoclose int mount_point = open_layer(operation->overlay.mount_point, err);
  if (mount_point < 0) return -1;
  autofree struct option_text *options = calloc(1, sizeof *options);
  if (!options) return fail(err, ENOMEM, "overlay root");
  bool fits = true;
  for (uint32_t i = 0; i < lower->count; i++) {
    int layer = open_layer(lower->items[i], err);
    if (layer < 0) return -1;
    fits = fits && add_option(options, "%s/proc/self/fd/%d", i ? ":" : "lowerdir=", layer);
  }
  int upper = open_layer(operation->overlay.upper, err);
  int work = upper < 0 ? -1 : open_layer(operation->overlay.work, err);
  if (work < 0) return -1;
  fits = fits && add_option(options, ",upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d", upper, work);
  for (uint32_t i = 0; i < operation->overlay.options.count; i++) {
    fits = fits && add_option(options, ",%s", operation->overlay.options.items[i]);
  }
  if (!fits) return fail(err, E2BIG, "overlay root: options");
  char target[40];
  snprintf(target, sizeof target, "/proc/self/fd/%d", mount_point);
  if (mount("overlay", target, "overlay", 0, options->text) < 0) {
    return fail(err, errno, "mount overlay on %s", operation->overlay.mount_point);
  }
  return open_layer(operation->overlay.mount_point, err);
}

int mount_bind_root(const struct operation *operation, struct error *err) {
  autoclose int mount_point = open_layer(operation->bind_root.mount_point, err);
  if (mount_point < 0) return -1;
  autoclose int tree =
      open_tree(AT_FDCWD, operation->bind_root.source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
  if (tree < 0) return fail(err, errno, "bind root %s", operation->bind_root.source);
  if (attach_mount(tree, mount_point, operation->bind_root.mount_point, err) < 0) return -1;
  return open_layer(operation->bind_root.mount_point, err);
}

static int move_over_root(struct error *err) {
  if (mount(".", "/", NULL, MS_MOVE, NULL) < 0) return fail(err, errno, "move the root over /");
  if (chroot(".") < 0 || chdir("/") < 0) return fail(err, errno, "enter /");
  return 0;
}

int set_mounted_root_propagation(unsigned long flag, struct error *err) {
  return mount(NULL, "/", NULL, flag, NULL) == 0 ? 0 : fail(err, errno, "set the propagation of the new /");
}

/* pivot_root(".", ".") stacks the old root under the new one, where it is then unmounted: no folder is needed. */
int pivot_into(int root, bool read_only, bool move, struct error *err) {
  if (read_only) {
    struct mount_attr change = {.attr_set = MOUNT_ATTR_RDONLY};
    if (mount_setattr(root, "", AT_EMPTY_PATH, &change, sizeof change) < 0) {
      return fail(err, errno, "make the root read-only");
    }
  }
  if (fchdir(root) < 0) return fail(err, errno, "enter the root");
  if (move) return move_over_root(err);
  if (sys_pivot_root(".", ".") < 0) return fail(err, errno, "pivot_root");
  if (umount2(".", MNT_DETACH) < 0) return fail(err, errno, "unmount the node's root");
  if (chdir("/") < 0) return fail(err, errno, "enter /");
  return 0;
}

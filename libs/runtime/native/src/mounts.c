#include "mounts.h"

#include "cleanup.h"
#include "copy_up.h"
#include "kernel.h"
#include "paths.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { NULL_MAJOR = 1, NULL_MINOR = 3 };

/* The kernel's own words about a refused option wait on the descriptor of fsopen. */
static int fail_with_kernel_words(int context, const char *type, const char *option, struct error *err) {
  int code = errno;
  char words[160];
  ssize_t length = read(context, words, sizeof words - 1);
  words[length > 0 ? length : 0] = 0;
  return fail(err, code, "make %s%s%s%s%s", type, *option ? " with " : "", option, length > 0 ? ": " : "", words);
}

static int set_option(int context, const char *option) {
  char key[64];
  const char *equals = strchr(option, '=');
  if (!equals) return fsconfig(context, FSCONFIG_SET_FLAG, option, NULL, 0);
  size_t length = (size_t)(equals - option);
  if (length >= sizeof key) {
    errno = EINVAL;
    return -1;
  }
  memcpy(key, option, length);
  key[length] = 0;
  return fsconfig(context, FSCONFIG_SET_STRING, key, equals + 1, 0);
}

int make_filesystem(const char *type, const char *source, const struct strings *options, uint64_t attributes,
                    struct error *err) {
  autoclose int context = fsopen(type, FSOPEN_CLOEXEC);
  if (context < 0) return fail(err, errno, "make %s", type);
  if (*source && fsconfig(context, FSCONFIG_SET_STRING, "source", source, 0) < 0) {
    return fail_with_kernel_words(context, type, source, err);
  }
  for (uint32_t i = 0; options && i < options->count; i++) {
    if (set_option(context, options->items[i]) < 0) return fail_with_kernel_words(context, type, options->items[i], err);
  }
  if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) return fail_with_kernel_words(context, type, "", err);
  int mount = fsmount(context, FSMOUNT_CLOEXEC, (unsigned)attributes);
  return mount >= 0 ? mount : fail(err, errno, "mount %s", type);
}

int attach_mount(int mount, int target, const char *path, struct error *err) {
  if (move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0) return 0;
  return fail(err, errno, "mount on %s", path);
}

int open_null_device(int flags, struct error *err) {
  autoclose int fd = open("/dev/null", flags | O_CLOEXEC | O_NOFOLLOW);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) < 0) return fail(err, errno, "open /dev/null");
  if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(NULL_MAJOR, NULL_MINOR)) {
    return fail(err, 0, "the node's /dev/null is not the null device");
  }
  return keep_descriptor(&fd);
}

int mount_filesystem(int root, const struct operation *operation, struct error *err) {
  const char *target_path = operation->mount.target;
  autoclose int target = make_target_in_root(root, target_path, true, err);
  if (target < 0) return -1;
  autoclose int mount = make_filesystem(operation->mount.type, operation->mount.source, &operation->mount.options,
                                        (uint64_t)operation->mount.attributes, err);
  if (mount < 0) return -1;
  if (operation->mount.copy_up && copy_folder(target, mount, err) < 0) return -1;
  return attach_mount(mount, target, target_path, err);
}

static int clone_mount(int source, bool recursive) {
  return open_tree(source, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0));
}

static int change_mount(int mount, uint64_t attributes, uint64_t propagation, bool recursive) {
  struct mount_attr change = {.attr_set = attributes, .propagation = propagation};
  /* The access-time settings are one field of three values, which must be cleared to be set. */
  if (attributes & MOUNT_ATTR__ATIME) change.attr_clr = MOUNT_ATTR__ATIME;
  return mount_setattr(mount, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &change, sizeof change);
}

static int clone_source(const struct operation *operation, struct error *err) {
  const char *path = operation->bind.source;
  autoclose int source = open(path, O_PATH | O_CLOEXEC);
  if (source < 0) return fail(err, errno, "bind source path %s", path);
  if (*operation->bind.subpath) {
    /* Whoever writes to the volume chooses what is there: it must not lead out of it. */
    int inner = resolve_in_root(source, operation->bind.subpath);
    if (inner < 0) return fail(err, errno, "subpath %s of %s", operation->bind.subpath, path);
    close_descriptor(&source);
    source = inner;
  }
  int mount = clone_mount(source, operation->bind.recursive != 0);
  return mount >= 0 ? mount : fail(err, errno, "bind %s", path);
}

/*
 * A mount can be cloned only by who is in its namespace, so this process goes there for the moment. What it opens there
 * is found from that namespace's root: no link of the other container leads to the node.
 */
int clone_bind_source(const struct operation *operation, struct error *err) {
  if (!*operation->bind.mount_namespace) return clone_source(operation, err);
  autoclose int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  autoclose int theirs = open(operation->bind.mount_namespace, O_RDONLY | O_CLOEXEC);
  if (own < 0 || theirs < 0) return fail(err, errno, "open %s", operation->bind.mount_namespace);
  if (setns(theirs, CLONE_NEWNS) < 0) return fail(err, errno, "enter %s", operation->bind.mount_namespace);
  int mount = clone_source(operation, err);
  if (setns(own, CLONE_NEWNS) == 0) return mount;
  int code = errno;
  close_descriptor(&mount);
  return fail(err, code, "come back from %s", operation->bind.mount_namespace);
}

static int set_propagation(int mount, const struct operation *operation) {
  static const uint64_t kinds[] = {MS_PRIVATE, MS_SLAVE, MS_SHARED};
  if (operation->bind.propagation < PROPAGATION_PRIVATE || operation->bind.propagation > PROPAGATION_SHARED) {
    errno = EINVAL;
    return -1;
  }
  return change_mount(mount, 0, kinds[operation->bind.propagation], operation->bind.propagation_recursive != 0);
}

int mount_bind(int root, const struct operation *operation, int taken, struct error *err) {
  const char *source_path = operation->bind.source;
  autoclose int mount = taken >= 0 ? taken : clone_bind_source(operation, err);
  struct stat status;
  if (mount < 0) return -1;
  if (fstat(mount, &status) < 0) return fail(err, errno, "bind source path %s", source_path);
  autoclose int target = make_target_in_root(root, operation->bind.target, S_ISDIR(status.st_mode), err);
  if (target < 0) return -1;
  if (operation->bind.attributes && change_mount(mount, (uint64_t)operation->bind.attributes, 0, operation->bind.attributes_recursive != 0) < 0) {
    return fail(err, errno, "bind %s: flags", source_path);
  }
  if (set_propagation(mount, operation) < 0) return fail(err, errno, "bind %s: propagation", source_path);
  return attach_mount(mount, target, operation->bind.target, err);
}

static int mask_directory(int target, const char *path, struct error *err) {
  char size[] = "nr_blocks=1";
  char *options[] = {size, NULL};
  struct strings list = {options, 1};
  uint64_t attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  autoclose int mount = make_filesystem("tmpfs", "tmpfs", &list, attributes, err);
  if (mount < 0) return -1;
  return attach_mount(mount, target, path, err);
}

int mask_path(int root, int null_device, const char *path, struct error *err) {
  autoclose int target = resolve_in_root(root, path);
  if (target < 0) return errno == ENOENT || errno == ENOTDIR ? 0 : fail(err, errno, "mask %s", path);
  struct stat status;
  if (fstat(target, &status) < 0) return fail(err, errno, "mask %s", path);
  if (S_ISDIR(status.st_mode)) return mask_directory(target, path, err);
  autoclose int mount = clone_mount(null_device, false);
  if (mount < 0) return fail(err, errno, "mask %s", path);
  return attach_mount(mount, target, path, err);
}

int make_path_read_only(int root, const char *path, struct error *err) {
  autoclose int target = resolve_in_root(root, path);
  if (target < 0) return errno == ENOENT || errno == ENOTDIR ? 0 : fail(err, errno, "make %s read-only", path);
  autoclose int mount = clone_mount(target, true);
  if (mount < 0) return fail(err, errno, "make %s read-only", path);
  if (change_mount(mount, MOUNT_ATTR_RDONLY, 0, true) < 0) return fail(err, errno, "make %s read-only", path);
  return attach_mount(mount, target, path, err);
}

int bind_descriptor(int root, int source, const char *path, struct error *err) {
  autoclose int target = make_target_in_root(root, path, false, err);
  if (target < 0) return -1;
  autoclose int mount = clone_mount(source, false);
  if (mount < 0) return fail(err, errno, "bind %s", path);
  return attach_mount(mount, target, path, err);
}

int make_device(int root, const struct operation *operation, struct error *err) {
  static const mode_t types[] = {S_IFCHR, S_IFBLK, S_IFIFO};
  const char *path = operation->device.path;
  char name[256];
  autoclose int parent = make_parent_in_root(root, path, name, err);
  if (parent < 0) return -1;
  if (operation->device.type < 0 || operation->device.type > 2) return fail(err, EINVAL, "make device %s", path);
  mode_t mode = types[operation->device.type] | ((mode_t)operation->device.mode & 07777);
  dev_t number = makedev((unsigned)operation->device.major, (unsigned)operation->device.minor);
  if (mknodat(parent, name, mode, number) < 0) {
    /* What a root file system brings there by this name is replaced. */
    if (errno != EEXIST || unlinkat(parent, name, 0) < 0 || mknodat(parent, name, mode, number) < 0) {
      return fail(err, errno, "make device %s", path);
    }
  }
  if (fchownat(parent, name, (uid_t)operation->device.uid, (gid_t)operation->device.gid, AT_SYMLINK_NOFOLLOW) < 0) {
    return fail(err, errno, "make device %s", path);
  }
  return 0;
}

int make_symlink(int root, const struct operation *operation, struct error *err) {
  char name[256];
  autoclose int parent = make_parent_in_root(root, operation->symlink.path, name, err);
  if (parent < 0) return -1;
  if (symlinkat(operation->symlink.target, parent, name) == 0 || errno == EEXIST) return 0;
  return fail(err, errno, "make link %s", operation->symlink.path);
}

/* `fd` was created as `path`. */
static int fill_file(int fd, const struct operation *operation, struct error *err) {
  const char *path = operation->file.path;
  for (uint32_t done = 0; done < operation->file.data.length;) {
    ssize_t written = write(fd, operation->file.data.data + done, operation->file.data.length - done);
    if (written <= 0) return fail(err, errno, "write %s", path);
    done += (uint32_t)written;
  }
  if (fchown(fd, (uid_t)operation->file.uid, (gid_t)operation->file.gid) < 0 ||
      fchmod(fd, (mode_t)operation->file.mode & 07777) < 0) {
    return fail(err, errno, "set owner of %s", path);
  }
  return 0;
}

int make_file(int root, const struct operation *operation, struct error *err) {
  const char *path = operation->file.path;
  char name[256];
  autoclose int parent = make_parent_in_root(root, path, name, err);
  if (parent < 0) return -1;
  if (unlinkat(parent, name, 0) < 0 && errno != ENOENT) return fail(err, errno, "replace %s", path);
  autoclose int fd = openat(parent, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return fail(err, errno, "create %s", path);
  return fill_file(fd, operation, err);
}

/*
 * A mount of one file of a new filesystem, which is on the root for that moment: before Linux 6.15 only what is mounted
 * in this namespace can be cloned. Leaves the working directory at "/".
 */
static int mount_of_file(int root, int filesystem, const char *name, const char *path, struct error *err) {
  if (attach_mount(filesystem, root, path, err) < 0) return -1;
  autoclose int mount = open_tree(filesystem, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  int code = errno;
  if (fchdir(filesystem) < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
    return fail(err, errno, "unmount the filesystem of %s", path);
  }
  return mount >= 0 ? keep_descriptor(&mount) : fail(err, code, "mount %s", path);
}

int mount_memory_file(int root, const struct operation *operation, struct error *err) {
  static const char name[] = "file";
  const char *path = operation->file.path;
  const uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  autoclose int target = make_target_in_root(root, path, false, err);
  if (target < 0) return -1;
  autoclose int filesystem = make_filesystem("tmpfs", "tmpfs", NULL, attributes, err);
  if (filesystem < 0) return -1;
  autoclose int fd = openat(filesystem, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return fail(err, errno, "create %s", path);
  if (fill_file(fd, operation, err) < 0) return -1;
  autoclose int mount = mount_of_file(root, filesystem, name, path, err);
  if (mount < 0) return -1;
  if (change_mount(mount, attributes | MOUNT_ATTR_RDONLY, 0, false) < 0) return fail(err, errno, "mount %s", path);
  return attach_mount(mount, target, path, err);
}

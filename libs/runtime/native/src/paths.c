#include "paths.h"

#include "cleanup.h"
#include "kernel.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum { RESOLVE_TRIES_MAX = 64 };

/* EAGAIN: somebody renamed a folder on the way while the kernel resolved it, and it could not be sure. */
static int resolve_retrying(int root, const char *path, uint64_t flags) {
  int fd = -1;
  for (int i = 0; i < RESOLVE_TRIES_MAX; i++) {
    fd = sys_openat2(root, path, flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    if (fd >= 0 || errno != EAGAIN) return fd;
  }
  return fd;
}

int resolve_in_root(int root, const char *path) {
  return resolve_retrying(root, path, O_PATH);
}

int open_in_root(int root, const char *path, uint64_t flags) {
  return resolve_retrying(root, path, flags);
}

static int step_into(int root, int parent, const char *prefix, const char *name, mode_t mode, uid_t uid, gid_t gid) {
  int fd = resolve_retrying(root, prefix, O_PATH | O_DIRECTORY);
  if (fd >= 0 || errno != ENOENT) return fd;
  if (mkdirat(parent, name, mode) < 0 && errno != EEXIST) return -1;
  /* A dangling link has the name but leads nowhere: refused below, never followed. */
  fd = sys_openat2(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  if (fd < 0) return -1;
  if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0) {
    close_descriptor(&fd);
    return -1;
  }
  return fd;
}

int make_directory_in_root(int root, const char *path, mode_t mode, uid_t uid, gid_t gid, struct error *err) {
  char prefix[PATH_MAX];
  size_t length = strlen(path);
  if (length >= sizeof prefix) return fail(err, ENAMETOOLONG, "mkdir %.200s", path);
  autoclose int parent = resolve_retrying(root, ".", O_PATH | O_DIRECTORY);
  if (parent < 0) return fail(err, errno, "mkdir %s: the root", path);
  for (size_t start = 0, end = 0; start < length; start = end) {
    while (start < length && path[start] == '/') start++;
    for (end = start; end < length && path[end] != '/'; end++) continue;
    if (end == start) break;
    char name[NAME_MAX + 1];
    if (end - start > NAME_MAX) return fail(err, ENAMETOOLONG, "mkdir %.200s", path);
    memcpy(name, path + start, end - start);
    name[end - start] = 0;
    memcpy(prefix, path, end);
    prefix[end] = 0;
    int next = step_into(root, parent, prefix, name, mode, uid, gid);
    if (next < 0) return fail(err, errno, "mkdir %s in the container", prefix);
    close_descriptor(&parent);
    parent = next;
  }
  return keep_descriptor(&parent);
}

int make_parent_in_root(int root, const char *path, char name[256], struct error *err) {
  size_t length = strlen(path);
  while (length > 0 && path[length - 1] == '/') length--;
  size_t start = length;
  while (start > 0 && path[start - 1] != '/') start--;
  if (length == start || length - start > NAME_MAX || start >= PATH_MAX) return fail(err, EINVAL, "path \"%.200s\"", path);
  memcpy(name, path + start, length - start);
  name[length - start] = 0;
  if (!strcmp(name, ".") || !strcmp(name, "..")) return fail(err, EINVAL, "path \"%.200s\"", path);
  char parent[PATH_MAX];
  memcpy(parent, path, start);
  parent[start] = 0;
  return make_directory_in_root(root, parent, 0755, 0, 0, err);
}

int make_target_in_root(int root, const char *path, bool directory, struct error *err) {
  int fd = resolve_in_root(root, path);
  if (fd >= 0) return fd;
  if (errno != ENOENT) return fail(err, errno, "resolve %s in the container", path);
  if (directory) return make_directory_in_root(root, path, 0755, 0, 0, err);
  char name[256];
  autoclose int parent = make_parent_in_root(root, path, name, err);
  if (parent < 0) return -1;
  autoclose int file = openat(parent, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (file < 0 && errno != EEXIST) return fail(err, errno, "create %s in the container", path);
  fd = sys_openat2(parent, name, O_PATH | O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  return fd >= 0 ? fd : fail(err, errno, "create %s in the container", path);
}

int make_directory(const char *path, struct error *err) {
  char prefix[PATH_MAX];
  size_t length = strlen(path);
  if (length >= sizeof prefix) return fail(err, ENAMETOOLONG, "mkdir %.200s", path);
  memcpy(prefix, path, length + 1);
  if (mkdir(prefix, 0755) == 0 || errno == EEXIST) return 0;
  for (size_t i = 1; i < length; i++) {
    if (prefix[i] != '/') continue;
    prefix[i] = 0;
    if (mkdir(prefix, 0755) < 0 && errno != EEXIST) return fail(err, errno, "mkdir %s", prefix);
    prefix[i] = '/';
  }
  if (mkdir(prefix, 0755) < 0 && errno != EEXIST) return fail(err, errno, "mkdir %s", prefix);
  return 0;
}

int write_small_file(int directory, const char *path, const char *value) {
  autoclose int fd = openat(directory, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return -1;
  size_t length = strlen(value);
  ssize_t written = write(fd, value, length);
  if (written < 0) return -1;
  if ((size_t)written == length) return 0;
  errno = EIO;
  return -1;
}

#include "copy_up.h"

#include "cleanup.h"
#include "kernel.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 128, CHUNK_BYTES = 1 << 20 };

static int copy_entries(int from, int to, int depth, struct error *err);

/* Owner first: changing it takes set-user-id bits away. */
static int copy_attributes(int to, const char *name, const struct stat *status) {
  struct timespec times[] = {status->st_atim, status->st_mtim};
  if (fchownat(to, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW) < 0) return -1;
  if (!S_ISLNK(status->st_mode) && fchmodat(to, name, status->st_mode & 07777, 0) < 0) return -1;
  return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW);
}

static int copy_file(int from, int to, const char *name) {
  autoclose int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  autoclose int target = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (source < 0 || target < 0) return -1;
  ssize_t sent;
  do sent = sendfile(target, source, NULL, CHUNK_BYTES);
  while (sent > 0);
  return sent < 0 ? -1 : 0;
}

static int copy_link(int from, int to, const char *name) {
  char text[PATH_MAX];
  ssize_t length = readlinkat(from, name, text, sizeof text - 1);
  if (length < 0) return -1;
  text[length] = 0;
  return symlinkat(text, to, name);
}

static int copy_inner_folder(int from, int to, const char *name, int depth, struct error *err) {
  if (mkdirat(to, name, 0700) < 0) return fail(err, errno, "copy folder %.200s", name);
  autoclose int source = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  autoclose int target = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (source < 0 || target < 0) return fail(err, errno, "copy folder %.200s", name);
  return copy_entries(source, target, depth + 1, err);
}

static int copy_entry(int from, int to, const char *name, int depth, struct error *err) {
  struct stat status;
  if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return fail(err, errno, "copy %.200s", name);
  int result = 0;
  if (S_ISSOCK(status.st_mode)) return 0;
  if (S_ISDIR(status.st_mode)) {
    if (copy_inner_folder(from, to, name, depth, err) < 0) return -1;
  } else if (S_ISREG(status.st_mode)) {
    result = copy_file(from, to, name);
  } else if (S_ISLNK(status.st_mode)) {
    result = copy_link(from, to, name);
  } else {
    result = mknodat(to, name, status.st_mode, status.st_rdev);
  }
  if (result < 0 || copy_attributes(to, name, &status) < 0) return fail(err, errno, "copy %.200s", name);
  return 0;
}

static int copy_entries(int from, int to, int depth, struct error *err) {
  if (depth > DEPTH_MAX) return fail(err, ELOOP, "copy a folder");
  int listed = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *folder = listed < 0 ? NULL : fdopendir(listed);
  if (!folder) {
    int code = errno;
    close_descriptor(&listed);
    return fail(err, code, "list a folder");
  }
  int result = 0;
  for (struct dirent *entry = readdir(folder); result == 0 && entry; entry = readdir(folder)) {
    bool is_itself = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    if (!is_itself) result = copy_entry(from, to, entry->d_name, depth, err);
  }
  closedir(folder);
  return result;
}

int copy_folder(int from, int to, struct error *err) {
  autoclose int target = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return target < 0 ? fail(err, errno, "copy a folder") : copy_entries(from, target, 0, err);
}

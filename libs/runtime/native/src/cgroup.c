#include "cgroup.h"

#include "cleanup.h"
#include "device_program.h"
#include "kernel.h"
#include "mounts.h"
#include "paths.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

enum { V1 = 1, V2 = 2, OOM_FILE_BYTES_MAX = 1023 };

static int write_limit(const struct operation *operation, struct error *err) {
  const char *path = operation->cgroup_write.path, *value = operation->cgroup_write.value;
  if (write_small_file(AT_FDCWD, path, value) == 0) return 0;
  if (errno == ENOENT && operation->cgroup_write.optional) return 0;
  return fail(err, errno, "write \"%.64s\" to %s", value, path);
}

int prepare_cgroups(const struct plan *plan, struct error *err) {
  for (uint32_t i = 0; i < plan->count; i++) {
    const struct operation *operation = &plan->operations[i];
    if (operation->kind == OP_CGROUP_DIRECTORY && make_directory(operation->path.path, err) < 0) return -1;
    if (operation->kind == OP_CGROUP_WRITE && write_limit(operation, err) < 0) return -1;
    if (operation->kind == OP_DEVICE_PROGRAM && attach_device_program(operation, err) < 0) return -1;
  }
  return 0;
}

int open_unified_cgroup(const struct plan *plan, int *fd, struct error *err) {
  for (uint32_t i = 0; i < plan->count; i++) {
    const struct operation *operation = &plan->operations[i];
    if (operation->kind != OP_CGROUP_JOIN || operation->cgroup_join.version != V2) continue;
    if (*fd >= 0) return fail(err, EINVAL, "join cgroup %s: there is only one of v2", operation->cgroup_join.path);
    *fd = open(operation->cgroup_join.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) return fail(err, errno, "open cgroup %s", operation->cgroup_join.path);
  }
  return 0;
}

int join_cgroups(const struct plan *plan, pid_t pid, struct error *err) {
  char text[24];
  snprintf(text, sizeof text, "%d", pid);
  for (uint32_t i = 0; i < plan->count; i++) {
    const struct operation *operation = &plan->operations[i];
    if (operation->kind != OP_CGROUP_JOIN || operation->cgroup_join.version != V1) continue;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/cgroup.procs", operation->cgroup_join.path);
    if (write_small_file(AT_FDCWD, path, text) < 0) return fail(err, errno, "join cgroup %s", operation->cgroup_join.path);
  }
  return 0;
}

/*
 * A process that moves to another cgroup waits for an RCU grace period of the whole machine, about 10 ms, unless a
 * hierarchy was mounted with `favordynmods` (Linux 6.0): then every fork and exit of the machine takes a few nanoseconds
 * more, and the move takes none of that. Any hierarchy will do, so this is one without controllers that is mounted
 * nowhere. A v2 cgroup needs it not: its processes are born in it.
 */
int hurry_joins(void) {
  static char *settings[] = {"none", "name=enxame", "favordynmods", NULL};
  struct strings options = {settings, sizeof settings / sizeof *settings - 1};
  struct statfs status;
  struct error ignored = {0};
  if (statfs("/sys/fs/cgroup", &status) < 0 || status.f_type == CGROUP2_SUPER_MAGIC) return -1;
  return make_filesystem("cgroup", "cgroup", &options, 0, &ignored);
}

uint64_t read_oom_kills(const char *path) {
  char text[OOM_FILE_BYTES_MAX + 1];
  autoclose int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  ssize_t length = fd < 0 ? -1 : read(fd, text, OOM_FILE_BYTES_MAX);
  if (length <= 0) return 0;
  text[length] = 0;
  const char *line = strstr(text, "oom_kill ");
  return line ? strtoull(line + strlen("oom_kill "), NULL, 10) : 0;
}

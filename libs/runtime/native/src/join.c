#include "join.h"

#include "cleanup.h"
#include "kernel.h"

#include <errno.h>
#include <sched.h>

int open_joined_namespace(const struct plan *plan, int flag, int *fd, struct error *err) {
  for (uint32_t i = 0; i < plan->count; i++) {
    const struct operation *operation = &plan->operations[i];
    if (operation->kind != OP_JOIN_NAMESPACE || operation->join_namespace.flag != flag) continue;
    const char *path = operation->join_namespace.path;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) return fail(err, errno, "open namespace %s", path);
  }
  return 0;
}

int join_namespaces(const struct plan *plan, struct error *err) {
  static const int flags[] = {CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP};
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
    autoclose int fd = -1;
    if (open_joined_namespace(plan, flags[i], &fd, err) < 0) return -1;
    if (fd >= 0 && setns(fd, flags[i]) < 0) return fail(err, errno, "join a namespace of another container");
  }
  return 0;
}

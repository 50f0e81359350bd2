/*
 * A launch plan or exec plan, decoded. What each operation means is written in launch-plan.ts; strings point into the
 * frame that was decoded, which must outlive the plan.
 */
#ifndef ENXAME_PLAN_H
#define ENXAME_PLAN_H

#include "error.h"
#include "wire.h"

enum operation_kind {
  OP_CGROUP_DIRECTORY = 1,
  OP_CGROUP_WRITE,
  OP_CGROUP_JOIN,
  OP_NAMESPACES,
  OP_STDIO,
  OP_LOG,
  OP_OOM_FILE,
  OP_INTERFACE,
  OP_HOST_SYSCTL,
  OP_ROOT_PROPAGATION,
  OP_OVERLAY_ROOT,
  OP_BIND_ROOT,
  OP_MOUNT,
  OP_BIND,
  OP_DEVICE,
  OP_SYMLINK,
  OP_DIRECTORY,
  OP_FILE,
  OP_CONSOLE,
  OP_MASK,
  OP_READ_ONLY_PATH,
  OP_PIVOT_ROOT,
  OP_HOSTNAME,
  OP_SYSCTL,
  OP_LOOPBACK,
  OP_OOM_SCORE,
  OP_RLIMIT,
  OP_NO_NEW_PRIVILEGES,
  OP_CAPABILITIES,
  OP_USER,
  OP_SECCOMP,
  OP_WORKDIR,
  OP_ENVIRONMENT,
  OP_INIT,
  OP_EXEC,
  OP_DEVICE_PROGRAM,
  OP_JOIN_NAMESPACE,
  OP_ID_MAPS,
  OP_HOOK,
  OP_OCI_STATE,
  OP_UMASK,
  OP_MOUNTED_ROOT_PROPAGATION,
  OP_NO_KEYRING,
  OP_MEMORY_FILE,
  OP_FOREIGN_RUNTIME,
  OP_FOREIGN_PROCESS,
  OP_KIND_END,
};

enum hook_stage {
  HOOK_PRESTART,
  HOOK_CREATE_RUNTIME,
  HOOK_CREATE_CONTAINER,
  HOOK_START_CONTAINER,
  HOOK_POSTSTART,
  HOOK_POSTSTOP,
};

enum propagation { PROPAGATION_PRIVATE, PROPAGATION_SLAVE, PROPAGATION_SHARED };

/* NULL-terminated, so that it can be an argv. */
struct strings {
  char **items;
  uint32_t count;
};

struct bytes {
  const uint8_t *data;
  uint32_t length;
};

/* All numbers and truth values are int64_t: one type on the wire. */
struct operation {
  enum operation_kind kind;
  union {
    struct { const char *path; } path; /* every operation that is one path */
    struct { const char *path, *value; int64_t optional; } cgroup_write;
    struct { const char *path; int64_t version; } cgroup_join;
    struct { const char *path; struct bytes program; } device_program;
    struct { int64_t pid, network, ipc, mount, uts, cgroup; } namespaces;
    struct { const char *path; int64_t flag; /* CLONE_NEW... */ } join_namespace;
    struct { int64_t tty, open_stdin, stdin_once, rows, columns; } stdio;
    struct { const char *path; int64_t file_bytes_max, files_max; } log;
    struct {
      const char *host_name, *name, *address;
      int64_t mtu;
      const char *host_address, *default_gateway; /* "" when absent */
      struct strings routes;                      /* destination, gateway or "", in turn */
    } interface;
    struct { const char *name, *value; int64_t optional; } sysctl;
    struct { int64_t slave; } root_propagation;
    struct { struct strings lower; const char *upper, *work, *mount_point; struct strings options; } overlay;
    struct { const char *source, *mount_point; } bind_root;
    struct { const char *type, *source, *target; int64_t attributes; struct strings options; int64_t copy_up; } mount;
    struct { const char *source, *target; int64_t recursive, attributes, propagation /* enum propagation */, propagation_recursive; const char *subpath, *mount_namespace; int64_t attributes_recursive; } bind;
    struct { const char *path; int64_t type, major, minor, mode, uid, gid; } device;
    struct { const char *path, *target; } symlink;
    struct { const char *path; int64_t mode, uid, gid; } directory;
    struct { const char *path; struct bytes data; int64_t mode, uid, gid; } file;
    struct { int64_t read_only, move; } pivot_root;
    struct { const char *name, *domain_name; } hostname;
    struct { int64_t value; } oom_score;
    struct { int64_t resource, soft, hard; } rlimit;
    struct { int64_t bounding, effective, permitted, inheritable, ambient; } capabilities;
    struct { int64_t uid, gid; struct bytes groups; /* u32 each */ } user;
    struct { struct bytes program; } seccomp;
    struct { const char *path; int64_t create; } workdir;
    struct { struct strings variables; } environment;
    struct { struct strings argv; } exec;
    struct { const char *uids, *gids; } id_maps;
    struct { int64_t stage; const char *path; struct strings args, environment; int64_t timeout_seconds; } hook;
    struct { const char *oci_version, *bundle, *annotations; } oci_state;
    struct { int64_t mask; } umask;
    struct { const char *program, *root, *bundle; } foreign_runtime;
    struct { int64_t flag; /* MS_... */ } mounted_root_propagation;
  };
};

struct plan {
  const char *id;
  const char *socket_path;
  const char *exit_path;
  bool held;
  struct operation *operations;
  uint32_t count;
};

int decode_plan(struct plan *plan, struct reader *reader, struct error *err);
int decode_operations(struct plan *plan, struct reader *reader, struct error *err);
void free_plan(struct plan *plan);

/* The only (or last) operation of a kind, or NULL. */
const struct operation *find_operation(const struct plan *plan, enum operation_kind kind);

#endif

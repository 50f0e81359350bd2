#include "plan.h"

#include <errno.h>
#include <stdlib.h>

enum { OPERATIONS_MAX = 4096, LIST_ITEMS_MAX = 65536, FIELDS_MAX = 9 };

enum field_type { FIELD_NONE, STRING, NUMBER, STRINGS, BYTES };

struct field {
  enum field_type type;
  size_t offset;
};

#define FIELD(type, member) {type, offsetof(struct operation, member)}

/* The wire order of every operation's fields: the twin of the table in plan-codec.ts. */
static const struct field operation_fields[OP_KIND_END][FIELDS_MAX] = {
    [OP_CGROUP_DIRECTORY] = {FIELD(STRING, path.path)},
    [OP_CGROUP_WRITE] = {FIELD(STRING, cgroup_write.path), FIELD(STRING, cgroup_write.value),
                         FIELD(NUMBER, cgroup_write.optional)},
    [OP_CGROUP_JOIN] = {FIELD(STRING, cgroup_join.path), FIELD(NUMBER, cgroup_join.version)},
    [OP_NAMESPACES] = {FIELD(NUMBER, namespaces.pid), FIELD(NUMBER, namespaces.network),
                       FIELD(NUMBER, namespaces.ipc), FIELD(NUMBER, namespaces.mount),
                       FIELD(NUMBER, namespaces.uts), FIELD(NUMBER, namespaces.cgroup)},
    [OP_STDIO] = {FIELD(NUMBER, stdio.tty), FIELD(NUMBER, stdio.open_stdin), FIELD(NUMBER, stdio.stdin_once),
                  FIELD(NUMBER, stdio.rows), FIELD(NUMBER, stdio.columns)},
    [OP_LOG] = {FIELD(STRING, log.path), FIELD(NUMBER, log.file_bytes_max), FIELD(NUMBER, log.files_max)},
    [OP_OOM_FILE] = {FIELD(STRING, path.path)},
    [OP_INTERFACE] = {FIELD(STRING, interface.host_name), FIELD(STRING, interface.name),
                      FIELD(STRING, interface.address), FIELD(NUMBER, interface.mtu),
                      FIELD(STRING, interface.host_address), FIELD(STRING, interface.default_gateway),
                      FIELD(STRINGS, interface.routes)},
    [OP_HOST_SYSCTL] = {FIELD(STRING, sysctl.name), FIELD(STRING, sysctl.value)},
    [OP_ROOT_PROPAGATION] = {FIELD(NUMBER, root_propagation.slave)},
    [OP_OVERLAY_ROOT] = {FIELD(STRINGS, overlay.lower), FIELD(STRING, overlay.upper), FIELD(STRING, overlay.work),
                         FIELD(STRING, overlay.mount_point), FIELD(STRINGS, overlay.options)},
    [OP_BIND_ROOT] = {FIELD(STRING, bind_root.source), FIELD(STRING, bind_root.mount_point)},
    [OP_MOUNT] = {FIELD(STRING, mount.type), FIELD(STRING, mount.source), FIELD(STRING, mount.target),
                  FIELD(NUMBER, mount.attributes), FIELD(STRINGS, mount.options), FIELD(NUMBER, mount.copy_up)},
    [OP_BIND] = {FIELD(STRING, bind.source), FIELD(STRING, bind.target), FIELD(NUMBER, bind.recursive),
                 FIELD(NUMBER, bind.attributes), FIELD(NUMBER, bind.propagation),
                 FIELD(NUMBER, bind.propagation_recursive), FIELD(STRING, bind.subpath),
                 FIELD(STRING, bind.mount_namespace), FIELD(NUMBER, bind.attributes_recursive)},
    [OP_DEVICE] = {FIELD(STRING, device.path), FIELD(NUMBER, device.type), FIELD(NUMBER, device.major),
                   FIELD(NUMBER, device.minor), FIELD(NUMBER, device.mode), FIELD(NUMBER, device.uid),
                   FIELD(NUMBER, device.gid)},
    [OP_SYMLINK] = {FIELD(STRING, symlink.path), FIELD(STRING, symlink.target)},
    [OP_DIRECTORY] = {FIELD(STRING, directory.path), FIELD(NUMBER, directory.mode), FIELD(NUMBER, directory.uid),
                      FIELD(NUMBER, directory.gid)},
    [OP_FILE] = {FIELD(STRING, file.path), FIELD(BYTES, file.data), FIELD(NUMBER, file.mode),
                 FIELD(NUMBER, file.uid), FIELD(NUMBER, file.gid)},
    [OP_CONSOLE] = {{FIELD_NONE, 0}},
    [OP_MASK] = {FIELD(STRING, path.path)},
    [OP_READ_ONLY_PATH] = {FIELD(STRING, path.path)},
    [OP_PIVOT_ROOT] = {FIELD(NUMBER, pivot_root.read_only), FIELD(NUMBER, pivot_root.move)},
    [OP_HOSTNAME] = {FIELD(STRING, hostname.name), FIELD(STRING, hostname.domain_name)},
    [OP_SYSCTL] = {FIELD(STRING, sysctl.name), FIELD(STRING, sysctl.value), FIELD(NUMBER, sysctl.optional)},
    [OP_LOOPBACK] = {{FIELD_NONE, 0}},
    [OP_OOM_SCORE] = {FIELD(NUMBER, oom_score.value)},
    [OP_RLIMIT] = {FIELD(NUMBER, rlimit.resource), FIELD(NUMBER, rlimit.soft), FIELD(NUMBER, rlimit.hard)},
    [OP_NO_NEW_PRIVILEGES] = {{FIELD_NONE, 0}},
    [OP_CAPABILITIES] = {FIELD(NUMBER, capabilities.bounding), FIELD(NUMBER, capabilities.effective),
                         FIELD(NUMBER, capabilities.permitted), FIELD(NUMBER, capabilities.inheritable),
                         FIELD(NUMBER, capabilities.ambient)},
    [OP_USER] = {FIELD(NUMBER, user.uid), FIELD(NUMBER, user.gid), FIELD(BYTES, user.groups)},
    [OP_SECCOMP] = {FIELD(BYTES, seccomp.program)},
    [OP_WORKDIR] = {FIELD(STRING, workdir.path), FIELD(NUMBER, workdir.create)},
    [OP_ENVIRONMENT] = {FIELD(STRINGS, environment.variables)},
    [OP_INIT] = {{FIELD_NONE, 0}},
    [OP_EXEC] = {FIELD(STRINGS, exec.argv)},
    [OP_DEVICE_PROGRAM] = {FIELD(STRING, device_program.path), FIELD(BYTES, device_program.program)},
    [OP_JOIN_NAMESPACE] = {FIELD(STRING, join_namespace.path), FIELD(NUMBER, join_namespace.flag)},
    [OP_ID_MAPS] = {FIELD(STRING, id_maps.uids), FIELD(STRING, id_maps.gids)},
    [OP_HOOK] = {FIELD(NUMBER, hook.stage), FIELD(STRING, hook.path), FIELD(STRINGS, hook.args),
                 FIELD(STRINGS, hook.environment), FIELD(NUMBER, hook.timeout_seconds)},
    [OP_OCI_STATE] = {FIELD(STRING, oci_state.oci_version), FIELD(STRING, oci_state.bundle),
                      FIELD(STRING, oci_state.annotations)},
    [OP_UMASK] = {FIELD(NUMBER, umask.mask)},
    [OP_MOUNTED_ROOT_PROPAGATION] = {FIELD(NUMBER, mounted_root_propagation.flag)},
    [OP_NO_KEYRING] = {{FIELD_NONE, 0}},
    [OP_FOREIGN_RUNTIME] = {FIELD(STRING, foreign_runtime.program), FIELD(STRING, foreign_runtime.root),
                            FIELD(STRING, foreign_runtime.bundle)},
    [OP_FOREIGN_PROCESS] = {FIELD(STRING, path.path)},
    [OP_MEMORY_FILE] = {FIELD(STRING, file.path), FIELD(BYTES, file.data), FIELD(NUMBER, file.mode),
                        FIELD(NUMBER, file.uid), FIELD(NUMBER, file.gid)},
};

static bool has_strings(enum operation_kind kind, size_t *offset, int nth) {
  for (int i = 0; i < FIELDS_MAX; i++) {
    const struct field *field = &operation_fields[kind][i];
    if (field->type == STRINGS && nth-- == 0) {
      *offset = field->offset;
      return true;
    }
  }
  return false;
}

static bool decode_strings(struct strings *list, struct reader *reader) {
  uint32_t count = read_u32(reader);
  if (reader->bad || count > LIST_ITEMS_MAX) return false;
  list->items = calloc((size_t)count + 1, sizeof *list->items);
  if (!list->items) return false;
  list->count = count;
  for (uint32_t i = 0; i < count; i++) list->items[i] = (char *)(uintptr_t)read_string(reader);
  return !reader->bad;
}

static bool decode_field(const struct field *field, struct operation *operation, struct reader *reader) {
  void *at = (char *)operation + field->offset;
  switch (field->type) {
    case STRING:
      *(const char **)at = read_string(reader);
      break;
    case NUMBER:
      *(int64_t *)at = (int64_t)read_u64(reader);
      break;
    case STRINGS:
      return decode_strings(at, reader);
    case BYTES: {
      struct bytes *bytes = at;
      bytes->data = read_bytes(reader, &bytes->length);
      break;
    }
    case FIELD_NONE:
      break;
  }
  return !reader->bad;
}

int decode_operations(struct plan *plan, struct reader *reader, struct error *err) {
  uint32_t count = read_u32(reader);
  if (reader->bad || count > OPERATIONS_MAX) return fail(err, 0, "decode plan: more than %d operations", OPERATIONS_MAX);
  plan->operations = calloc(count ? count : 1, sizeof *plan->operations);
  if (!plan->operations) return fail(err, ENOMEM, "decode plan");
  for (uint32_t i = 0; i < count; i++) {
    uint16_t kind = read_u16(reader);
    if (reader->bad || kind == 0 || kind >= OP_KIND_END) return fail(err, 0, "decode plan: operation %u is unknown", i);
    struct operation *operation = &plan->operations[i];
    operation->kind = kind;
    plan->count = i + 1;
    for (int f = 0; f < FIELDS_MAX && operation_fields[kind][f].type != FIELD_NONE; f++) {
      if (!decode_field(&operation_fields[kind][f], operation, reader)) {
        return fail(err, 0, "decode plan: operation %u (kind %u) is damaged", i, kind);
      }
    }
  }
  return 0;
}

int decode_plan(struct plan *plan, struct reader *reader, struct error *err) {
  plan->id = read_string(reader);
  plan->socket_path = read_string(reader);
  plan->exit_path = read_string(reader);
  plan->held = read_u64(reader) != 0;
  if (reader->bad) return fail(err, 0, "decode plan: the head is damaged");
  return decode_operations(plan, reader, err);
}

void free_plan(struct plan *plan) {
  for (uint32_t i = 0; i < plan->count; i++) {
    size_t offset = 0;
    for (int nth = 0; has_strings(plan->operations[i].kind, &offset, nth); nth++) {
      free(((struct strings *)((char *)&plan->operations[i] + offset))->items);
    }
  }
  free(plan->operations);
  *plan = (struct plan){0};
}

const struct operation *find_operation(const struct plan *plan, enum operation_kind kind) {
  for (uint32_t i = plan->count; i > 0; i--) {
    if (plan->operations[i - 1].kind == kind) return &plan->operations[i - 1];
  }
  return NULL;
}

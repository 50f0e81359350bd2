#include "device_program.h"

#include "cleanup.h"
#include "kernel.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>

static int bpf(enum bpf_cmd command, union bpf_attr *attributes) {
  return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

static int load(const struct bytes *program, struct error *err) {
  /* The kernel asks for a licence only where GPL helpers are called; this program calls none. */
  union bpf_attr attributes = {
      .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
      .insns = (uint64_t)(uintptr_t)program->data,
      .insn_cnt = program->length / sizeof(struct bpf_insn),
      .license = (uint64_t)(uintptr_t) "Apache-2.0",
  };
  strcpy(attributes.prog_name, "enxame_devices");
  int fd = bpf(BPF_PROG_LOAD, &attributes);
  return fd >= 0 ? fd : fail(err, errno, "load the device program");
}

int attach_device_program(const struct operation *operation, struct error *err) {
  const char *path = operation->device_program.path;
  autoclose int cgroup = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (cgroup < 0) return fail(err, errno, "open cgroup %s", path);
  autoclose int program = load(&operation->device_program.program, err);
  if (program < 0) return -1;
  /* Beside what a parent has attached: both must allow. */
  union bpf_attr attributes = {
      .target_fd = (uint32_t)cgroup,
      .attach_bpf_fd = (uint32_t)program,
      .attach_type = BPF_CGROUP_DEVICE,
      .attach_flags = BPF_F_ALLOW_MULTI,
  };
  if (bpf(BPF_PROG_ATTACH, &attributes) < 0) return fail(err, errno, "attach the device program to cgroup %s", path);
  return 0;
}

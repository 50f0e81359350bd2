/* exec: a process more in a container. */
#include "../cleanup.h"
#include "../kernel.h"
#include "../paths.h"
#include "../terminal.h"
#include "commands.h"
#include "console.h"
#include "record.h"
#include "translator.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Terminals come from the container's own devpts, wherever it has it. */
static int open_devpts(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/root", pid);
  autoclose int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  return root < 0 ? -1 : find_devpts(root);
}

static int decode_exec(struct plan *plan, const struct buffer *bytes, struct error *err) {
  struct reader reader = {bytes->data + bytes->start, bytes->data + bytes->end, false};
  /* What it begins with is for shims: whether it dies with its connection. */
  read_u64(&reader);
  return decode_operations(plan, &reader, err);
}

static int make_plan(const struct options *options, const struct record *record, struct plan *plan,
                     struct buffer *bytes, struct error *err) {
  const struct operation *state = find_operation(&record->plan, OP_OCI_STATE);
  char **operands = options->operands;
  char *bundle = (char *)(uintptr_t)(state ? state->oci_state.bundle : "");
  char *line[1027] = {bundle, record->id, (char *)(uintptr_t)"--"};
  if (options->operand_count > 1024) return fail(err, E2BIG, "exec");
  for (int i = 1; i < options->operand_count; i++) line[i + 2] = operands[i];
  if (translate(options, "exec", line, bytes, err) < 0) return -1;
  return decode_exec(plan, bytes, err);
}

static int exec_in(const struct options *options, const struct record *record, struct process *process,
                   struct error *err) {
  struct plan plan = {0};
  struct buffer bytes = {0};
  autoclose int pidfd = open_first_process(record);
  autoclose int devpts = open_devpts(record->pid);
  struct container container = {pidfd, devpts, NULL};
  struct detachment detachment = {options->preserved_descriptors, -1};
  int result = pidfd < 0 ? fail(err, 0, "exec: container %s has ended", record->id)
                         : make_plan(options, record, &plan, &bytes, err);
  const struct operation *stdio = find_operation(&plan, OP_STDIO);
  if (result == 0 && stdio->stdio.tty && options->detach && !options->console_socket) {
    result = fail(err, 0, "exec: a terminal that is left alone needs --console-socket");
  }
  if (result == 0) result = start_process(&plan, &container, &detachment, process, err);
  free_plan(&plan);
  buffer_free(&bytes);
  return result;
}

static int run_in(struct options *options, const struct record *record, struct error *err) {
  struct process process = {.pidfd = -1, .in = -1, .out = -1, .err = -1, .channel = -1, .devpts = -1};
  enum status status = status_of(record);
  if (status == STATUS_STOPPED || status == STATUS_CREATING || (status == STATUS_PAUSED && !options->force)) {
    return fail(err, 0, "exec: container %s is %s, not running", record->id, status_names[status]);
  }
  if (!options->detach) hold_signals();
  int result = exec_in(options, record, &process, err);
  if (result < 0) return -1;
  if (write_pid_file(options->pid_file, process.pid, err) < 0 ||
      (options->console_socket && process.tty && send_console(options->console_socket, process.out, err) < 0)) {
    discard_process(&process);
    return -1;
  }
  if (options->console_socket) {
    process.tty = false;
    close_descriptor(&process.in);
    close_descriptor(&process.out);
  }
  result = options->detach ? 0 : wait_for(&process);
  close_process(&process);
  return result;
}

int exec_command(struct options *options, struct error *err) {
  struct record record;
  const char *id = container_operand(options, err);
  if (!id) return -1;
  if (options->operand_count < 2 && !options->has_process_file) return fail(err, 0, "exec: no program, and no --process");
  int result = load_record(options->root, id, &record, err);
  if (result == 0) result = run_in(options, &record, err);
  close_record(&record);
  return result;
}

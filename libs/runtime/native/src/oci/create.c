/* create, run, start: a container's life until its program runs. */
#include "../cleanup.h"
#include "../channel.h"
#include "../hooks.h"
#include "../kernel.h"
#include "commands.h"
#include "console.h"
#include "cgroup_files.h"
#include "record.h"
#include "removal.h"
#include "translator.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

const char *container_operand(const struct options *options, struct error *err) {
  if (options->operand_count > 0) return options->operands[0];
  fail(err, 0, "%s: no container id", options->command);
  return NULL;
}

int write_pid_file(const char *path, pid_t pid, struct error *err) {
  char temporary[PATH_MAX], text[24];
  if (!path) return 0;
  const char *slash = strrchr(path, '/');
  int folder = slash ? (int)(slash - path) + 1 : 0;
  int length = snprintf(text, sizeof text, "%d", pid);
  if (snprintf(temporary, sizeof temporary, "%.*s.%s.new", folder, path, path + folder) >= (int)sizeof temporary) {
    return fail(err, ENAMETOOLONG, "write pid file %s", path);
  }
  autoclose int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0 || write(fd, text, (size_t)length) != length || rename(temporary, path) < 0) {
    return fail(err, errno, "write pid file %s", path);
  }
  return 0;
}

static int listen_for_start(const struct record *record, struct error *err) {
  struct sockaddr_un address;
  set_start_address(record, &address);
  autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) {
    return fail(err, errno, "make the start socket of %s", record->id);
  }
  return keep_descriptor(&fd);
}

static int check_console(const struct options *options, const struct plan *plan, bool foreground, struct error *err) {
  const struct operation *stdio = find_operation(plan, OP_STDIO);
  bool tty = stdio && stdio->stdio.tty;
  if (tty && !foreground && !options->console_socket) {
    return fail(err, 0, "process.terminal is true: a container that is left alone needs --console-socket");
  }
  if (!tty && options->console_socket) return fail(err, 0, "--console-socket: process.terminal is false");
  return 0;
}

static int check_preserved(unsigned count, struct error *err) {
  for (unsigned i = 0; i < count; i++) {
    if (fcntl(3 + (int)i, F_GETFD) < 0) return fail(err, errno, "--preserve-fds=%u: descriptor %u", count, 3 + i);
  }
  return 0;
}

static int start_first_process(const struct options *options, struct record *record, struct process *process,
                               bool foreground, struct error *err) {
  struct buffer bytes = {0};
  char bundle[PATH_MAX];
  if (!realpath(options->bundle ? options->bundle : ".", bundle)) return fail(err, errno, "bundle %s", options->bundle);
  char *operands[] = {bundle, record->id, NULL};
  int translated = translate(options, "create", operands, &bytes, err);
  if (translated < 0 || write_plan(record, &bytes, err) < 0) {
    buffer_free(&bytes);
    return -1;
  }
  if (check_console(options, &record->plan, foreground, err) < 0) return -1;
  autoclose int listener = listen_for_start(record, err);
  if (listener < 0) return -1;
  struct detachment detachment = {options->preserved_descriptors, listener};
  if (chdir(bundle) < 0) return fail(err, errno, "enter %s", bundle);
  return start_process(&record->plan, NULL, &detachment, process, err);
}

/* From here on the container can be found by its id. */
static int publish(const struct options *options, struct record *record, const struct process *process, struct error *err) {
  if (options->console_socket && send_console(options->console_socket, process->out, err) < 0) return -1;
  if (write_pid(record, process->pid, err) < 0) return -1;
  return write_pid_file(options->pid_file, process->pid, err);
}

static int create(const struct options *options, struct record *record, struct process *process, bool foreground,
                  struct error *err) {
  const char *id = container_operand(options, err);
  *process = (struct process){.pidfd = -1, .in = -1, .out = -1, .err = -1, .channel = -1, .devpts = -1};
  *record = (struct record){.folder = -1};
  if (!id || check_preserved(options->preserved_descriptors, err) < 0) return -1;
  /* A folder that was there before belongs to another container. */
  if (make_record(options->root, id, record, err) < 0) return -1;
  if (start_first_process(options, record, process, foreground, err) == 0 && publish(options, record, process, err) == 0) {
    return 0;
  }
  discard_process(process);
  undo_creation(options->root, record);
  return -1;
}

int create_command(struct options *options, struct error *err) {
  struct record record;
  struct process process;
  int result = create(options, &record, &process, false, err);
  close_process(&process);
  close_record(&record);
  return result;
}

/* Whoever connects first starts it; its socket file goes, so that it is `created` no more. */
static int connect_to_start(const struct record *record, struct error *err) {
  struct sockaddr_un address;
  set_start_address(record, &address);
  autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    return fail(err, errno, "start %s", record->id);
  }
  unlinkat(record->folder, "start", 0);
  return keep_descriptor(&fd);
}

static int start(const struct record *record, struct error *err) {
  enum status status = status_of(record);
  if (status != STATUS_CREATED) {
    return fail(err, 0, "start: container %s is %s, not created", record->id, status_names[status]);
  }
  autoclose int channel = connect_to_start(record, err);
  int fd = -1;
  if (channel < 0) return -1;
  if (channel_send(channel, CHANNEL_START, -1) < 0) return fail(err, errno, "start %s", record->id);
  int message = channel_receive(channel, &fd, err);
  if (message == CHANNEL_ERROR) return -1;
  if (message != CHANNEL_END) return fail(err, message < 0 ? errno : EPROTO, "start %s", record->id);
  if (run_hooks(&record->plan, HOOK_POSTSTART, "running", record->pid, err) == 0) return 0;
  autoclose int pidfd = open_first_process(record);
  if (pidfd >= 0) sys_pidfd_send_signal(pidfd, SIGKILL);
  return -1;
}

int start_command(struct options *options, struct error *err) {
  struct record record;
  const char *id = container_operand(options, err);
  if (!id) return -1;
  int result = load_record(options->root, id, &record, err);
  if (result == 0) result = start(&record, err);
  close_record(&record);
  return result;
}

int run_command(struct options *options, struct error *err) {
  struct record record;
  struct process process;
  bool foreground = !options->detach;
  if (foreground) hold_signals();
  int result = create(options, &record, &process, foreground && !options->console_socket, err);
  bool exists = result == 0;
  if (exists) result = start(&record, err);
  if (exists && foreground) {
    /* The keeper's own ends: with them open it would never see the end of the process's. */
    int code = wait_for(&process);
    if (result == 0) result = code;
  }
  if (exists && (result < 0 || (foreground && !options->keep))) {
    struct error ignored = {0};
    delete_container(options->root, &record, true, result < 0 ? &ignored : err);
  }
  close_process(&process);
  close_record(&record);
  return result;
}

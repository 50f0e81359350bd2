#include "foreign.h"

#include "cgroup.h"
#include "cleanup.h"
#include "kernel.h"
#include "mounts.h"
#include "netlink.h"
#include "process_parts.h"
#include "root.h"
#include "terminal.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { ARGUMENTS_MAX = 24, LOG_BYTES_MAX = 8191, CONSOLE_MS_MAX = 10000 };

static char *copy_text(const char *text) {
  char *copy = strdup(text);
  if (!copy) abort();
  return copy;
}

static struct foreign *make_foreign(const struct plan *plan) {
  const struct operation *operation = find_operation(plan, OP_FOREIGN_RUNTIME);
  struct foreign *foreign = calloc(1, sizeof *foreign);
  if (!foreign || asprintf(&foreign->console_path, "%s.tty", plan->socket_path) < 0) abort();
  foreign->program = copy_text(operation->foreign_runtime.program);
  foreign->root = copy_text(operation->foreign_runtime.root);
  foreign->bundle = copy_text(operation->foreign_runtime.bundle);
  foreign->id = copy_text(plan->id);
  return foreign;
}

/* The last message of the runtime's log in JSON: `"msg":"..."`. */
static int fail_with_log(const struct foreign *foreign, const char *command, struct error *err) {
  char path[PATH_MAX], text[LOG_BYTES_MAX + 1], words[300];
  snprintf(path, sizeof path, "%s/log.json", foreign->bundle);
  autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? 0 : read(fd, text, LOG_BYTES_MAX);
  text[length > 0 ? length : 0] = 0;
  const char *at = NULL;
  for (const char *next = strstr(text, "\"msg\""); next; next = strstr(next + 1, "\"msg\"")) at = next;
  at = at ? strchr(at + 5, '"') : NULL;
  size_t count = 0;
  for (at = at ? at + 1 : ""; *at && *at != '"' && count < sizeof words - 1; at++) {
    if (*at == '\\' && at[1]) at++;
    words[count++] = *at;
  }
  words[count] = 0;
  fail(err, 0, "%s %s: %s", foreign->program, command, count ? words : "it failed without a word");
  bool refused = strcasestr(words, "permission denied") != NULL;
  bool missing = strcasestr(words, "executable file") || strcasestr(words, "no such file or directory");
  if (refused) err->exit_code = EXIT_CANNOT_RUN;
  else if (missing) err->exit_code = EXIT_NOT_FOUND;
  return -1;
}

__attribute__((noreturn)) static void become_runtime(char **argv, const int stdio[3]) {
  autoclose int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  for (int fd = 0; fd <= 2; fd++) {
    if (dup2(stdio && stdio[fd] >= 0 ? stdio[fd] : nothing, fd) < 0) _exit(EXIT_NOT_FOUND);
  }
  if (sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0) execv(argv[0], argv);
  _exit(EXIT_NOT_FOUND);
}

/* `--root R --log L --log-format json COMMAND ARGUMENTS...`, and waits for its end. */
static int call(const struct foreign *foreign, const int stdio[3], const char *const arguments[], struct error *err) {
  char log[PATH_MAX];
  const char *argv[ARGUMENTS_MAX] = {foreign->program, "--root", foreign->root, "--log", log, "--log-format", "json"};
  size_t count = 7;
  snprintf(log, sizeof log, "%s/log.json", foreign->bundle);
  unlink(log);
  for (size_t i = 0; arguments[i] && count < ARGUMENTS_MAX - 1; i++) argv[count++] = arguments[i];
  pid_t pid = fork();
  if (pid == 0) become_runtime((char **)(uintptr_t)argv, stdio);
  if (pid < 0) return fail(err, errno, "fork %s", foreign->program);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : fail_with_log(foreign, arguments[0], err);
}

static int listen_for_console(const struct foreign *foreign, struct error *err) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(foreign->console_path) >= sizeof address.sun_path) return fail(err, ENAMETOOLONG, "console socket");
  strcpy(address.sun_path, foreign->console_path);
  unlink(foreign->console_path);
  autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) {
    return fail(err, errno, "make the console socket");
  }
  return keep_descriptor(&fd);
}

static int receive_console(int listener, struct error *err) {
  struct pollfd ready = {.fd = listener, .events = POLLIN};
  if (poll(&ready, 1, CONSOLE_MS_MAX) <= 0) return fail(err, ETIMEDOUT, "receive the terminal");
  autoclose int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  char name[PATH_MAX];
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec data = {name, sizeof name};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  if (fd < 0 || recvmsg(fd, &message, MSG_CMSG_CLOEXEC) < 0) return fail(err, errno, "receive the terminal");
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  int master = -1;
  if (!header || header->cmsg_type != SCM_RIGHTS) return fail(err, EPROTO, "receive the terminal");
  memcpy(&master, CMSG_DATA(header), sizeof master);
  return master;
}

static int read_pid(const struct foreign *foreign, const char *name, struct process *process, struct error *err) {
  char path[PATH_MAX], text[32] = "";
  snprintf(path, sizeof path, "%s/%s", foreign->bundle, name);
  autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || read(fd, text, sizeof text - 1) <= 0) return fail(err, errno, "read %s", path);
  process->pid = atoi(text);
  process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
  return process->pidfd >= 0 ? 0 : fail(err, errno, "open process %d", process->pid);
}

/* Runs `create` or `exec`, with pipes or a terminal, and finds the process by its pid file. */
static int make_process(const struct foreign *foreign, const struct operation *stdio, const char **arguments,
                        size_t count, const char *pid_name, struct process *process, struct ends *ends,
                        struct error *err) {
  char pid_file[PATH_MAX];
  bool tty = stdio->stdio.tty != 0;
  autoclose int listener = -1;
  snprintf(pid_file, sizeof pid_file, "%s/%s", foreign->bundle, pid_name);
  unlink(pid_file);
  arguments[count++] = "--pid-file";
  arguments[count++] = pid_file;
  if (tty) {
    listener = listen_for_console(foreign, err);
    if (listener < 0) return -1;
    arguments[count++] = "--console-socket";
    arguments[count++] = foreign->console_path;
  } else if (make_pipes(ends, stdio->stdio.open_stdin != 0, err) < 0) {
    return -1;
  }
  arguments[count++] = foreign->id;
  arguments[count] = NULL;
  int result = call(foreign, ends->child, arguments, err);
  if (tty) unlink(foreign->console_path);
  if (result < 0 || read_pid(foreign, pid_name, process, err) < 0) return -1;
  process->tty = tty;
  if (!tty) return 0;
  int master = receive_console(listener, err);
  if (master < 0 || take_terminal(ends, master, err) < 0) return -1;
  resize_terminal(master, stdio->stdio.rows, stdio->stdio.columns);
  return 0;
}

/*
 * The root is mounted where only this shim and what it starts can see it, so it goes with them. Some runtimes refuse a
 * machine with controllers of cgroup v1 and a mount of v2 beside them: they see none of the latter.
 */
static int mount_root(const struct plan *plan, struct error *err) {
  const struct operation *overlay = find_operation(plan, OP_OVERLAY_ROOT);
  if (!overlay) return fail(err, EINVAL, "plan: no root");
  if (unshare(CLONE_NEWNS) < 0) return fail(err, errno, "make a mount namespace");
  if (set_root_propagation(true, err) < 0) return -1;
  umount2("/sys/fs/cgroup/unified", MNT_DETACH);
  autoclose int root = mount_overlay_root(overlay, err);
  if (root < 0) return -1;
  for (uint32_t i = 0; i < plan->count; i++) {
    if (plan->operations[i].kind == OP_FILE && make_file(root, &plan->operations[i], err) < 0) return -1;
  }
  return 0;
}

/* The container's ends of its veths, from a process that goes there for it. */
static int configure_interfaces(const struct plan *plan, const struct process *process, struct error *err) {
  if (!find_operation(plan, OP_INTERFACE)) return 0;
  if (make_interfaces(plan, process->pid, err) < 0) return -1;
  int report[2];
  if (pipe2(report, O_CLOEXEC) < 0) return fail(err, errno, "make a pipe");
  autoclose int ours = report[0];
  pid_t pid = fork();
  if (pid == 0) {
    struct error error = {0};
    bool good = setns(process->pidfd, CLONE_NEWNET) == 0 || fail(&error, errno, "enter the network") == 0;
    for (uint32_t i = 0; good && i < plan->count; i++) {
      if (plan->operations[i].kind == OP_INTERFACE) good = configure_container_end(&plan->operations[i], &error) == 0;
    }
    _exit(good || write(report[1], &error, sizeof error) < 0 ? 0 : 1);
  }
  close(report[1]);
  if (pid < 0) return fail(err, errno, "fork");
  struct error theirs;
  bool failed = read(ours, &theirs, sizeof theirs) == sizeof theirs;
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
  if (failed) *err = theirs;
  return failed ? -1 : 0;
}

int start_foreign_held(struct process *process, struct error *err) {
  const char *arguments[] = {"start", process->foreign->id, NULL};
  close_descriptor(&process->channel);
  process->started_ms = now_ms();
  return call(process->foreign, NULL, arguments, err);
}

int start_foreign(const struct plan *plan, struct process *process, struct error *err) {
  const char *arguments[ARGUMENTS_MAX];
  const struct operation *stdio = find_operation(plan, OP_STDIO);
  autoends struct ends ends = {{-1, -1, -1}, {-1, -1, -1}};
  struct foreign *foreign = make_foreign(plan);
  size_t count = 0;
  *process = (struct process){.pidfd = -1, .in = -1, .out = -1, .err = -1, .channel = -1, .devpts = -1, .foreign = foreign};
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) return fail(err, errno, "become a subreaper");
  /* A shim that was killed has left its container to the runtime. */
  delete_foreign(foreign);
  if (prepare_cgroups(plan, err) < 0 || mount_root(plan, err) < 0) return -1;
  arguments[count++] = "create";
  arguments[count++] = "--bundle";
  arguments[count++] = foreign->bundle;
  bool ready = make_process(foreign, stdio, arguments, count, "pid", process, &ends, err) == 0 &&
               configure_interfaces(plan, process, err) == 0;
  if (ready) {
    /* By this the others know that it is held. */
    process->channel = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ready = plan->held || start_foreign_held(process, err) == 0;
  }
  if (!ready) {
    delete_foreign(foreign);
    discard_process(process);
    return -1;
  }
  keep_ends(process, &ends);
  return 0;
}

int exec_foreign(const struct plan *plan, const struct container *container, struct process *process, struct error *err) {
  const char *arguments[ARGUMENTS_MAX];
  const struct operation *file = find_operation(plan, OP_FOREIGN_PROCESS), *stdio = find_operation(plan, OP_STDIO);
  autoends struct ends ends = {{-1, -1, -1}, {-1, -1, -1}};
  size_t count = 0;
  *process = (struct process){.pidfd = -1, .in = -1, .out = -1, .err = -1, .channel = -1, .devpts = -1};
  if (!file || !stdio) return fail(err, EINVAL, "exec: no process file");
  arguments[count++] = "exec";
  arguments[count++] = "--detach";
  arguments[count++] = "--process";
  arguments[count++] = file->path.path;
  int result = make_process(container->foreign, stdio, arguments, count, "exec-pid", process, &ends, err);
  unlink(file->path.path);
  if (result < 0) {
    discard_process(process);
    return -1;
  }
  process->started_ms = now_ms();
  keep_ends(process, &ends);
  return 0;
}

void delete_foreign(const struct foreign *foreign) {
  struct error ignored;
  struct stat status;
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", foreign->root, foreign->id);
  if (stat(path, &status) < 0) return;
  const char *arguments[] = {"delete", "--force", foreign->id, NULL};
  call(foreign, NULL, arguments, &ignored);
}

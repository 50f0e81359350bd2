#include "process.h"

#include "cgroup.h"
#include "channel.h"
#include "cleanup.h"
#include "foreign.h"
#include "hooks.h"
#include "inside.h"
#include "join.h"
#include "kernel.h"
#include "netlink.h"
#include "paths.h"
#include "process_parts.h"
#include "terminal.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

/* A launch may wait for a slow disk; while an exec is set up, its keeper does nothing else. */
enum { LAUNCH_SECONDS_MAX = 60, EXEC_SECONDS_MAX = 10 };

void close_ends(struct ends *ends) {
  for (int i = 0; i < 3; i++) {
    close_descriptor(&ends->child[i]);
    close_descriptor(&ends->keeper[i]);
  }
}

int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The keeper's end never blocks it; the program's end is an ordinary pipe. */
static int make_pipe(int *keeper, int *child, bool to_child, struct error *err) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) < 0) return fail(err, errno, "make a pipe");
  *keeper = to_child ? fds[1] : fds[0];
  *child = to_child ? fds[0] : fds[1];
  if (fcntl(*keeper, F_SETFL, O_NONBLOCK) < 0) return fail(err, errno, "make a pipe");
  return 0;
}

int make_pipes(struct ends *ends, bool open_stdin, struct error *err) {
  if (open_stdin && make_pipe(&ends->keeper[0], &ends->child[0], true, err) < 0) return -1;
  if (make_pipe(&ends->keeper[1], &ends->child[1], false, err) < 0) return -1;
  return make_pipe(&ends->keeper[2], &ends->child[2], false, err);
}

int take_terminal(struct ends *ends, int master, struct error *err) {
  ends->keeper[1] = master;
  ends->keeper[0] = fcntl(master, F_DUPFD_CLOEXEC, 3);
  if (ends->keeper[0] < 0 || fcntl(master, F_SETFL, O_NONBLOCK) < 0) return fail(err, errno, "take the terminal");
  return 0;
}

/* Copies, so that the starter keeps its own; above what the process is to have from it. */
static int share_stdio(struct ends *ends, unsigned kept_descriptors, struct error *err) {
  for (int fd = 0; fd <= 2; fd++) {
    ends->child[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 3 + (int)kept_descriptors);
    if (ends->child[fd] < 0) return fail(err, errno, "share descriptor %d", fd);
  }
  return 0;
}

static int make_ends(struct ends *ends, const struct operation *stdio, const struct container *container,
                     const struct detachment *detachment, struct error *err) {
  if (!stdio) return fail(err, EINVAL, "plan: no stdio");
  if (!stdio->stdio.tty && detachment) return share_stdio(ends, detachment->kept_descriptors, err);
  if (!stdio->stdio.tty) return make_pipes(ends, stdio->stdio.open_stdin != 0, err);
  if (!container) return 0;
  int master = -1;
  if (make_terminal(container->devpts, stdio->stdio.rows, stdio->stdio.columns, &master, &ends->child[0], err) < 0) return -1;
  ends->child[1] = fcntl(ends->child[0], F_DUPFD_CLOEXEC, 3);
  ends->child[2] = fcntl(ends->child[0], F_DUPFD_CLOEXEC, 3);
  return take_terminal(ends, master, err);
}

static uint64_t clone_flags(const struct plan *plan) {
  const struct operation *wanted = find_operation(plan, OP_NAMESPACES);
  if (!wanted) return 0;
  return (wanted->namespaces.pid ? CLONE_NEWPID : 0) | (wanted->namespaces.network ? CLONE_NEWNET : 0) |
         (wanted->namespaces.ipc ? CLONE_NEWIPC : 0) | (wanted->namespaces.mount ? CLONE_NEWNS : 0) |
         (wanted->namespaces.uts ? CLONE_NEWUTS : 0) | (find_operation(plan, OP_ID_MAPS) ? CLONE_NEWUSER : 0);
}

/*
 * A process enters a pid namespace only by being born in it, so the keeper points its children there for the moment of
 * the clone. The keeper itself never moves.
 */
static pid_t clone_into(const struct plan *plan, const struct container *container, struct clone_args *arguments,
                        struct error *err) {
  autoclose int own = -1;
  autoclose int joined = -1;
  if (!container && open_joined_namespace(plan, CLONE_NEWPID, &joined, err) < 0) return -1;
  if (container || joined >= 0) {
    own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    int target = container ? container->pidfd : joined;
    if (own < 0 || setns(target, CLONE_NEWPID) < 0) return fail(err, errno, "enter the container");
  }
  pid_t pid = sys_clone3(arguments);
  int code = errno;
  if (pid != 0 && own >= 0 && setns(own, CLONE_NEWPID) < 0) _exit(EXIT_BEFORE_EXEC);
  return pid < 0 ? fail(err, code, "clone") : pid;
}

int make_interfaces(const struct plan *plan, pid_t pid, struct error *err) {
  for (uint32_t i = 0; i < plan->count; i++) {
    const struct operation *operation = &plan->operations[i];
    if (operation->kind != OP_INTERFACE) continue;
    if (make_veth(operation, pid, err) < 0 || configure_host_end(operation, err) < 0) return -1;
  }
  for (uint32_t i = 0; i < plan->count; i++) {
    const struct operation *operation = &plan->operations[i];
    if (operation->kind != OP_HOST_SYSCTL) continue;
    char path[PATH_MAX];
    if (strstr(operation->sysctl.name, "..")) return fail(err, EINVAL, "sysctl %.100s", operation->sysctl.name);
    snprintf(path, sizeof path, "/proc/sys/%s", operation->sysctl.name);
    if (write_small_file(AT_FDCWD, path, operation->sysctl.value) < 0) {
      return fail(err, errno, "sysctl %s on the node", operation->sysctl.name);
    }
  }
  return 0;
}

static int write_map(pid_t pid, const char *file, const char *lines, struct error *err) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
  return write_small_file(AT_FDCWD, path, lines) == 0 ? 0 : fail(err, errno, "write %s \"%.100s\"", file, lines);
}

static int map_ids(const struct plan *plan, const struct process *process, struct error *err) {
  const struct operation *maps = find_operation(plan, OP_ID_MAPS);
  if (!maps) return 0;
  if (write_map(process->pid, "uid_map", maps->id_maps.uids, err) < 0) return -1;
  if (write_map(process->pid, "gid_map", maps->id_maps.gids, err) < 0) return -1;
  return channel_send(process->channel, CHANNEL_MAPPED, -1) == 0 ? 0 : fail(err, errno, "start the new process");
}

static int run_runtime_hooks(const struct plan *plan, const struct process *process, struct error *err) {
  if (run_hooks(plan, HOOK_PRESTART, "creating", process->pid, err) < 0) return -1;
  if (run_hooks(plan, HOOK_CREATE_RUNTIME, "creating", process->pid, err) < 0) return -1;
  return channel_send_hooked(process->channel, process->pid) == 0 ? 0 : fail(err, errno, "start the new process");
}

/* Reads until the process runs its program, waits for START, or has failed. */
static int await_process(const struct plan *plan, struct process *process, struct ends *ends, struct error *err) {
  for (;;) {
    int fd = -1;
    int message = channel_receive(process->channel, &fd, err);
    if (message < 0) return fail(err, errno, "wait for the new process");
    switch (message) {
      case CHANNEL_END:
        close_descriptor(&process->channel);
        return 0;
      case CHANNEL_HELD:
        return 0;
      case CHANNEL_MOUNTED:
        if (run_runtime_hooks(plan, process, err) < 0) return -1;
        break;
      case CHANNEL_DEVPTS:
        process->devpts = fd;
        break;
      case CHANNEL_TERMINAL:
        if (take_terminal(ends, fd, err) < 0) return -1;
        break;
      default:
        return -1;
    }
  }
}

static int tell_process(int channel, enum channel_message message, struct error *err) {
  return channel_send(channel, message, -1) == 0 ? 0 : fail(err, errno, "start the new process");
}

static int set_up_process(const struct plan *plan, const struct container *container, struct process *process,
                          struct ends *ends, struct error *err) {
  struct error own = {0};
  bool ready = (container || (map_ids(plan, process, &own) == 0 && make_interfaces(plan, process->pid, &own) == 0)) &&
               tell_process(process->channel, CHANNEL_INTERFACES, &own) == 0 &&
               join_cgroups(plan, process->pid, &own) == 0 &&
               tell_process(process->channel, CHANNEL_JOINED, &own) == 0;
  /* A process that has failed already is gone, which makes all of the above fail: its own reason is the true one. */
  if (!ready) shutdown(process->channel, SHUT_WR);
  if (await_process(plan, process, ends, err) < 0) {
    if (!ready && err->code == EPIPE) *err = own;
    return -1;
  }
  if (ready) return 0;
  *err = own;
  return -1;
}

static int clone_process(const struct plan *plan, const struct container *container,
                         const struct detachment *detachment, struct process *process, struct ends *ends,
                         struct error *err) {
  int channel[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0) return fail(err, errno, "make a channel");
  process->channel = channel[0];
  autoclose int theirs = channel[1];
  struct timeval patience = {.tv_sec = container ? EXEC_SECONDS_MAX : LAUNCH_SECONDS_MAX};
  /* A command line has its user to lose patience, and hooks take the time they take. */
  if (!detachment) setsockopt(process->channel, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  autoclose int cgroup = -1;
  if (open_unified_cgroup(plan, &cgroup, err) < 0) return -1;
  struct clone_args arguments = {
      .flags = CLONE_PIDFD | (container ? 0 : clone_flags(plan)) | (cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
      .pidfd = (uint64_t)(uintptr_t)&process->pidfd,
      .exit_signal = SIGCHLD,
      .cgroup = (uint64_t)cgroup,
  };
  pid_t pid = clone_into(plan, container, &arguments, err);
  if (pid < 0) return -1;
  if (pid == 0) {
    struct inside inside = {theirs, {ends->child[0], ends->child[1], ends->child[2]}, container ? container->pidfd : -1, detachment};
    /* A descriptor of the keeper's end here would hide the keeper's death. */
    close(process->channel);
    run_inside(plan, &inside);
  }
  process->pid = pid;
  return 0;
}

int start_process(const struct plan *plan, const struct container *container, const struct detachment *detachment,
                  struct process *process, struct error *err) {
  const struct operation *stdio = find_operation(plan, OP_STDIO);
  autoends struct ends ends = {{-1, -1, -1}, {-1, -1, -1}};
  if (!container && find_operation(plan, OP_FOREIGN_RUNTIME)) return start_foreign(plan, process, err);
  if (container && container->foreign) return exec_foreign(plan, container, process, err);
  *process = (struct process){.pidfd = -1, .in = -1, .out = -1, .err = -1, .channel = -1, .devpts = -1};
  if (!container && !(clone_flags(plan) & CLONE_NEWNS)) {
    return fail(err, EINVAL, "plan: a container needs its own mount namespace");
  }
  if (!container && prepare_cgroups(plan, err) < 0) return -1;
  if (make_ends(&ends, stdio, container, detachment, err) < 0) return -1;
  process->tty = stdio->stdio.tty != 0;
  if (clone_process(plan, container, detachment, process, &ends, err) < 0 ||
      set_up_process(plan, container, process, &ends, err) < 0) {
    discard_process(process);
    return -1;
  }
  process->started_ms = now_ms();
  keep_ends(process, &ends);
  return 0;
}

void keep_ends(struct process *process, struct ends *ends) {
  process->in = keep_descriptor(&ends->keeper[0]);
  process->out = keep_descriptor(&ends->keeper[1]);
  process->err = keep_descriptor(&ends->keeper[2]);
}

int start_held(struct process *process, struct error *err) {
  int fd = -1;
  if (process->foreign) return start_foreign_held(process, err);
  if (channel_send(process->channel, CHANNEL_START, -1) < 0) return fail(err, errno, "start the held process");
  int message = channel_receive(process->channel, &fd, err);
  close_descriptor(&process->channel);
  process->started_ms = now_ms();
  if (message == CHANNEL_END) return 0;
  return message == CHANNEL_ERROR ? -1 : fail(err, EPIPE, "start the held process");
}

void close_process(struct process *process) {
  close_descriptor(&process->pidfd);
  close_descriptor(&process->in);
  close_descriptor(&process->out);
  close_descriptor(&process->err);
  close_descriptor(&process->channel);
  close_descriptor(&process->devpts);
}

void discard_process(struct process *process) {
  if (process->pidfd >= 0) {
    siginfo_t info;
    sys_pidfd_send_signal(process->pidfd, SIGKILL);
    while (waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED) < 0 && errno == EINTR) continue;
  }
  close_process(process);
}

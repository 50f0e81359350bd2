#include "inside.h"

#include "channel.h"
#include "cleanup.h"
#include "hooks.h"
#include "identity.h"
#include "init.h"
#include "join.h"
#include "kernel.h"
#include "mounts.h"
#include "netlink.h"
#include "paths.h"
#include "root.h"
#include "terminal.h"

#include <errno.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct setup {
  const struct plan *plan;
  struct inside *inside;
  const struct operation *stdio;
  int root;
  int null_device;
  /* A procfs of our own that is mounted nowhere: nothing of the container can stand in its way. */
  int procfs;
  int terminal;
  bool has_interfaces;
  bool has_cgroups;
  /* As the node sees it; 0 until its hooks are told. */
  pid_t pid;
  /* Binds that share mounts with the node or come from another container, by operation; NULL when there are none. */
  int *shared;
};

static int await_keeper(struct setup *setup, enum channel_message message, struct error *err) {
  int fd = -1;
  int received = channel_receive(setup->inside->channel, &fd, err);
  return received == (int)message ? 0 : fail(err, EPIPE, "the keeper is gone");
}

static int need_interfaces(struct setup *setup, struct error *err) {
  if (setup->has_interfaces) return 0;
  setup->has_interfaces = true;
  return await_keeper(setup, CHANNEL_INTERFACES, err);
}

/* The cgroup namespace shows the cgroup of the moment as its root, so it is made after the keeper's joins. */
static int need_cgroups(struct setup *setup, struct error *err) {
  if (setup->has_cgroups) return 0;
  setup->has_cgroups = true;
  if (need_interfaces(setup, err) < 0 || await_keeper(setup, CHANNEL_JOINED, err) < 0) return -1;
  const struct operation *namespaces = find_operation(setup->plan, OP_NAMESPACES);
  bool wanted = setup->inside->container < 0 && namespaces && namespaces->namespaces.cgroup;
  return !wanted || unshare(CLONE_NEWCGROUP) == 0 ? 0 : fail(err, errno, "make a cgroup namespace");
}

static int open_procfs(struct setup *setup, struct error *err) {
  if (setup->procfs < 0) setup->procfs = make_filesystem("proc", "proc", NULL, 0, err);
  return setup->procfs < 0 ? -1 : 0;
}

static int write_sysctl(struct setup *setup, const struct operation *operation, struct error *err) {
  char path[PATH_MAX];
  const char *name = operation->sysctl.name;
  if (open_procfs(setup, err) < 0) return -1;
  if (strstr(name, "..") || snprintf(path, sizeof path, "sys/%s", name) >= (int)sizeof path) {
    return fail(err, EINVAL, "sysctl %.100s", name);
  }
  if (!strchr(name, '/')) {
    for (char *at = path; *at; at++) *at = *at == '.' ? '/' : *at;
  }
  if (write_small_file(setup->procfs, path, operation->sysctl.value) == 0) return 0;
  if (errno == ENOENT && operation->sysctl.optional) return 0;
  return fail(err, errno, "sysctl %s", name);
}

static int write_oom_score(struct setup *setup, int64_t value, struct error *err) {
  char path[64], text[32];
  if (open_procfs(setup, err) < 0) return -1;
  snprintf(path, sizeof path, "%d/oom_score_adj", getpid());
  snprintf(text, sizeof text, "%lld", (long long)value);
  return write_small_file(setup->procfs, path, text) == 0 ? 0 : fail(err, errno, "set oom_score_adj %s", text);
}

static int set_limit(const struct operation *operation, struct error *err) {
  struct rlimit limit = {(rlim_t)operation->rlimit.soft, (rlim_t)operation->rlimit.hard};
  if (setrlimit((__rlimit_resource_t)operation->rlimit.resource, &limit) == 0) return 0;
  return fail(err, errno, "set limit %d", (int)operation->rlimit.resource);
}

static int set_hostname(const struct operation *operation, struct error *err) {
  const char *name = operation->hostname.name, *domain = operation->hostname.domain_name;
  if (sethostname(name, strlen(name)) < 0) return fail(err, errno, "set hostname %s", name);
  if (*domain && setdomainname(domain, strlen(domain)) < 0) return fail(err, errno, "set domain name %s", domain);
  return 0;
}

static int make_folder(int root, const struct operation *operation, struct error *err) {
  autoclose int fd = make_directory_in_root(root, operation->directory.path, (mode_t)operation->directory.mode & 07777,
                                            (uid_t)operation->directory.uid, (gid_t)operation->directory.gid, err);
  return fd < 0 ? -1 : 0;
}

/* The terminal comes from the container's own devpts, so it exists only once that is mounted. */
static int need_terminal(struct setup *setup, struct error *err) {
  if (!setup->stdio || !setup->stdio->stdio.tty || setup->terminal >= 0) return 0;
  autoclose int devpts = find_devpts(setup->root);
  autoclose int master = -1;
  const struct operation *stdio = setup->stdio;
  if (make_terminal(devpts, stdio->stdio.rows, stdio->stdio.columns, &master, &setup->terminal, err) < 0) return -1;
  if (channel_send(setup->inside->channel, CHANNEL_TERMINAL, master) < 0) return fail(err, errno, "hand the terminal over");
  return 0;
}

static int bind_console(struct setup *setup, struct error *err) {
  if (need_terminal(setup, err) < 0) return -1;
  if (setup->terminal < 0) return fail(err, EINVAL, "console: the container has no terminal");
  return bind_descriptor(setup->root, setup->terminal, "dev/console", err);
}

static int hand_over_devpts(struct setup *setup, struct error *err) {
  autoclose int devpts = find_devpts(setup->root);
  if (devpts < 0) return 0;
  return channel_send(setup->inside->channel, CHANNEL_DEVPTS, devpts) == 0 ? 0 : fail(err, errno, "hand devpts over");
}

/* The namespaces and mounts are all there, and the node's root is still `/`: so the keeper's hooks, then those of here. */
static int run_create_hooks(struct setup *setup, struct error *err) {
  const struct plan *plan = setup->plan;
  bool wanted = has_hooks(plan, HOOK_PRESTART) || has_hooks(plan, HOOK_CREATE_RUNTIME) ||
                has_hooks(plan, HOOK_CREATE_CONTAINER) || has_hooks(plan, HOOK_START_CONTAINER);
  if (!wanted) return 0;
  if (need_cgroups(setup, err) < 0) return -1;
  if (channel_send(setup->inside->channel, CHANNEL_MOUNTED, -1) < 0) return fail(err, errno, "report to the keeper");
  setup->pid = channel_await_hooked(setup->inside->channel, err);
  if (setup->pid < 0) return -1;
  return run_hooks(plan, HOOK_CREATE_CONTAINER, "creating", setup->pid, err);
}

static int pivot(struct setup *setup, const struct operation *operation, struct error *err) {
  if (need_terminal(setup, err) < 0 || hand_over_devpts(setup, err) < 0 || run_create_hooks(setup, err) < 0) return -1;
  return pivot_into(setup->root, operation->pivot_root.read_only != 0, operation->pivot_root.move != 0, err);
}

/*
 * A mount is a peer of the node's only as long as nothing has cut the new namespace off, and another namespace is left
 * for the root of this one, so these are taken first.
 */
static int take_shared_binds(struct setup *setup, struct error *err) {
  const struct plan *plan = setup->plan;
  for (uint32_t i = 0; i < plan->count; i++) {
    const struct operation *operation = &plan->operations[i];
    if (operation->kind != OP_BIND) continue;
    if (operation->bind.propagation == PROPAGATION_PRIVATE && !*operation->bind.mount_namespace) continue;
    if (!setup->shared) {
      setup->shared = malloc(plan->count * sizeof *setup->shared);
      if (!setup->shared) return fail(err, ENOMEM, "take shared binds");
      for (uint32_t j = 0; j < plan->count; j++) setup->shared[j] = -1;
    }
    setup->shared[i] = clone_bind_source(operation, err);
    if (setup->shared[i] < 0) return -1;
  }
  return 0;
}

static int make_bind(struct setup *setup, const struct operation *operation, struct error *err) {
  int taken = setup->shared ? setup->shared[operation - setup->plan->operations] : -1;
  return mount_bind(setup->root, operation, taken, err);
}

static int take_root(struct setup *setup, int root) {
  setup->root = root;
  return root < 0 ? -1 : 0;
}

/* What only a new container does, before pivot_root. */
static int build_root(struct setup *setup, const struct operation *operation, struct error *err) {
  int root = setup->root;
  if (operation->kind == OP_ROOT_PROPAGATION) {
    if (take_shared_binds(setup, err) < 0) return -1;
    return set_root_propagation(operation->root_propagation.slave != 0, err);
  }
  if (operation->kind == OP_OVERLAY_ROOT) return take_root(setup, mount_overlay_root(operation, err));
  if (operation->kind == OP_BIND_ROOT) return take_root(setup, mount_bind_root(operation, err));
  if (root < 0) return fail(err, EINVAL, "operation %d comes before the root", (int)operation->kind);
  switch (operation->kind) {
    case OP_MOUNT:
      if (!strncmp(operation->mount.type, "cgroup", 6) && need_cgroups(setup, err) < 0) return -1;
      return mount_filesystem(root, operation, err);
    case OP_BIND:
      return make_bind(setup, operation, err);
    case OP_DEVICE:
      return make_device(root, operation, err);
    case OP_SYMLINK:
      return make_symlink(root, operation, err);
    case OP_DIRECTORY:
      return make_folder(root, operation, err);
    case OP_FILE:
      return make_file(root, operation, err);
    case OP_MEMORY_FILE:
      return mount_memory_file(root, operation, err);
    case OP_CONSOLE:
      return bind_console(setup, err);
    case OP_MASK:
      return mask_path(root, setup->null_device, operation->path.path, err);
    case OP_READ_ONLY_PATH:
      return make_path_read_only(root, operation->path.path, err);
    case OP_PIVOT_ROOT:
      return pivot(setup, operation, err);
    default:
      return fail(err, EINVAL, "operation %d is not possible here", (int)operation->kind);
  }
}

static int execute(struct setup *setup, const struct operation *operation, struct error *err) {
  switch (operation->kind) {
    /* The keeper's part. */
    case OP_CGROUP_DIRECTORY:
    case OP_CGROUP_WRITE:
    case OP_CGROUP_JOIN:
    case OP_DEVICE_PROGRAM:
    case OP_NAMESPACES:
    case OP_JOIN_NAMESPACE:
    case OP_STDIO:
    case OP_LOG:
    case OP_OOM_FILE:
    case OP_HOST_SYSCTL:
    case OP_ID_MAPS:
    case OP_HOOK:
    case OP_OCI_STATE:
    /* The last steps, in an order of their own. */
    case OP_NO_NEW_PRIVILEGES:
    case OP_CAPABILITIES:
    case OP_USER:
    case OP_SECCOMP:
    case OP_WORKDIR:
    case OP_ENVIRONMENT:
    case OP_INIT:
    case OP_UMASK:
    case OP_NO_KEYRING:
    case OP_EXEC:
      return 0;
    case OP_INTERFACE:
      return need_interfaces(setup, err) < 0 ? -1 : configure_container_end(operation, err);
    case OP_LOOPBACK:
      return set_loopback_up(err);
    case OP_MOUNTED_ROOT_PROPAGATION:
      return set_mounted_root_propagation((unsigned long)operation->mounted_root_propagation.flag, err);
    case OP_HOSTNAME:
      return set_hostname(operation, err);
    case OP_SYSCTL:
      return write_sysctl(setup, operation, err);
    case OP_OOM_SCORE:
      return write_oom_score(setup, operation->oom_score.value, err);
    case OP_RLIMIT:
      return set_limit(operation, err);
    default:
      return build_root(setup, operation, err);
  }
}

static int enter_container(const struct plan *plan, int container, struct error *err) {
  const struct operation *namespaces = find_operation(plan, OP_NAMESPACES);
  if (!namespaces) return fail(err, EINVAL, "exec: no namespaces");
  int flags = (namespaces->namespaces.network ? CLONE_NEWNET : 0) | (namespaces->namespaces.ipc ? CLONE_NEWIPC : 0) |
              (namespaces->namespaces.mount ? CLONE_NEWNS : 0) | (namespaces->namespaces.uts ? CLONE_NEWUTS : 0) |
              (namespaces->namespaces.cgroup ? CLONE_NEWCGROUP : 0) |
              (find_operation(plan, OP_ID_MAPS) ? CLONE_NEWUSER : 0);
  return setns(container, flags) == 0 ? 0 : fail(err, errno, "enter the container");
}

/* Until here it has ids that the new user namespace does not know. */
static int become_mapped_root(struct setup *setup, struct error *err) {
  if (!find_operation(setup->plan, OP_ID_MAPS)) return 0;
  if (setup->inside->container < 0 && await_keeper(setup, CHANNEL_MAPPED, err) < 0) return -1;
  if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) return fail(err, errno, "become root of the user namespace");
  return 0;
}

static int make_workdir(const struct plan *plan, struct error *err) {
  const struct operation *workdir = find_operation(plan, OP_WORKDIR);
  if (!workdir || !workdir->workdir.create) return 0;
  autoclose int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return fail(err, errno, "open /");
  autoclose int fd = resolve_in_root(root, workdir->workdir.path);
  if (fd >= 0) return 0;
  fd = make_directory_in_root(root, workdir->workdir.path, 0755, 0, 0, err);
  return fd < 0 ? -1 : 0;
}

static int enter_workdir(const struct plan *plan, struct error *err) {
  const struct operation *workdir = find_operation(plan, OP_WORKDIR);
  const char *path = workdir ? workdir->workdir.path : "/";
  if (chdir(path) < 0) return fail(err, errno, "enter working directory %s", path);
  /* A folder outside the root (a leaked descriptor's) has a name that does not begin with '/': CVE-2024-21626. */
  char name[PATH_MAX];
  if (syscall(SYS_getcwd, name, sizeof name) < 0 || name[0] != '/') {
    return fail(err, EXDEV, "working directory %s is not in the container", path);
  }
  return 0;
}

/* The container's own /dev/null, if it is one (a process of the container may have put anything there). */
static void prefer_own_null_device(struct setup *setup) {
  struct error ignored = {0};
  int own = open_null_device(O_RDWR, &ignored);
  if (own < 0) return;
  close_descriptor(&setup->null_device);
  setup->null_device = own;
}

static int take_stdio(struct setup *setup, struct error *err) {
  int *stdio = setup->inside->stdio;
  prefer_own_null_device(setup);
  for (int fd = 0; fd <= 2; fd++) {
    int source = setup->terminal >= 0 ? setup->terminal : stdio[fd];
    if (source < 0) source = setup->null_device;
    if (source < 0) return fail(err, EINVAL, "no stdio");
    if (dup2(source, fd) < 0) return fail(err, errno, "take descriptor %d", fd);
  }
  return give_stdio(setup->plan, err);
}

static int start_session(struct setup *setup, struct error *err) {
  setsid();
  bool terminal = setup->stdio && setup->stdio->stdio.tty;
  if (terminal && ioctl(0, TIOCSCTTY, 1) < 0) return fail(err, errno, "take the terminal");
  if (!find_operation(setup->plan, OP_NO_KEYRING)) syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL, 0, 0, 0);
  return 0;
}

/* A container without its keeper has no log and no record of its end, so it ends too. */
static int die_with_keeper(struct setup *setup, struct error *err) {
  if (setup->inside->detachment) return 0;
  struct pollfd channel = {.fd = setup->inside->channel};
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return fail(err, errno, "bind to the keeper");
  if (poll(&channel, 1, 0) > 0 && channel.revents & POLLHUP) return fail(err, EPIPE, "the keeper is gone");
  return 0;
}

static int wait_for_start(const struct plan *plan, int channel, struct error *err) {
  if (!plan->held) return 0;
  int fd = -1;
  if (channel_send(channel, CHANNEL_HELD, -1) < 0) return fail(err, errno, "report to the keeper");
  if (channel_receive(channel, &fd, err) != CHANNEL_START) return fail(err, EPIPE, "the keeper is gone");
  return 0;
}

/* Who creates a container is to hear of a program that is not there. The start looks again, with the user's own rights. */
static int check_program(const struct plan *plan, struct error *err) {
  char path[PATH_MAX];
  struct error ignored;
  enter_workdir(plan, &ignored);
  int found = find_program(plan, path, err);
  return found == 0 && chdir("/") < 0 ? fail(err, errno, "enter /") : found;
}

/* The keeper goes away meanwhile: whoever connects first is the one that starts the program, and hears if it cannot run. */
static int wait_at_socket(struct setup *setup, int listener, struct error *err) {
  int fd = -1;
  if (check_program(setup->plan, err) < 0) return -1;
  if (channel_send(setup->inside->channel, CHANNEL_HELD, -1) < 0) return fail(err, errno, "report to the creator");
  close_descriptor(&setup->inside->channel);
  do setup->inside->channel = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  while (setup->inside->channel < 0 && errno == EINTR);
  if (setup->inside->channel < 0) return fail(err, errno, "wait for the start");
  close(listener);
  if (channel_receive(setup->inside->channel, &fd, err) != CHANNEL_START) return fail(err, EPIPE, "the starter is gone");
  return run_hooks(setup->plan, HOOK_START_CONTAINER, "created", setup->pid, err);
}

static void reset_signals(void) {
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static int execute_program(struct setup *setup, struct error *err) {
  const struct plan *plan = setup->plan;
  char path[PATH_MAX];
  if (start_session(setup, err) < 0 || become_user(plan, err) < 0 || die_with_keeper(setup, err) < 0 ||
      enter_workdir(plan, err) < 0 || find_program(plan, path, err) < 0) {
    return -1;
  }
  const struct operation *environment = find_operation(plan, OP_ENVIRONMENT);
  char *nothing[] = {NULL};
  char **variables = environment ? environment->environment.variables.items : nothing;
  char **argv = find_operation(plan, OP_EXEC)->exec.argv.items;
  const struct operation *mask = find_operation(plan, OP_UMASK);
  umask(mask ? (mode_t)mask->umask.mask : 022);
  unsigned kept = setup->inside->detachment ? setup->inside->detachment->kept_descriptors : 0;
  if (sys_close_range(3 + kept, ~0U, CLOSE_RANGE_CLOEXEC) < 0) return fail(err, errno, "close descriptors");
  if (drop_last_rights(plan, err) < 0) return -1;
  execve(path, argv, variables);
  int code = errno;
  fail(err, code, "exec: \"%s\"", argv[0]);
  err->exit_code = code == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
  return -1;
}

static int set_up(struct setup *setup, struct error *err) {
  /* The container must not trace or read this process while it still has rights; exec resets this. */
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return fail(err, errno, "hide the process");
  reset_signals();
  umask(0);
  setup->null_device = open_null_device(O_RDONLY, err);
  if (setup->null_device < 0) return -1;
  int container = setup->inside->container;
  /* setns into the cgroup namespace needs no join: what it shows is the container's root either way. */
  if (container >= 0 && enter_container(setup->plan, container, err) < 0) return -1;
  if (become_mapped_root(setup, err) < 0) return -1;
  if (container < 0 && join_namespaces(setup->plan, err) < 0) return -1;
  for (uint32_t i = 0; i < setup->plan->count; i++) {
    if (execute(setup, &setup->plan->operations[i], err) < 0) return -1;
  }
  if (need_cgroups(setup, err) < 0 || make_workdir(setup->plan, err) < 0 || take_stdio(setup, err) < 0) return -1;
  const struct detachment *detachment = setup->inside->detachment;
  if (detachment && detachment->start_socket >= 0) return wait_at_socket(setup, detachment->start_socket, err);
  return wait_for_start(setup->plan, setup->inside->channel, err);
}

void run_inside(const struct plan *plan, struct inside *inside) {
  struct error error = {0};
  struct setup setup = {.plan = plan,
                        .inside = inside,
                        .stdio = find_operation(plan, OP_STDIO),
                        .root = -1,
                        .null_device = -1,
                        .procfs = -1,
                        .terminal = -1};
  if (set_up(&setup, &error) == 0) {
    bool with_init = find_operation(plan, OP_INIT) != NULL;
    if (!with_init || become_init(plan, &error) == 0) execute_program(&setup, &error);
  }
  channel_send_error(inside->channel, &error);
  _exit(EXIT_NOT_FOUND);
}

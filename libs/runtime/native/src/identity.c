#include "identity.h"

#include "kernel.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

enum { CAPABILITY_NUMBERS = 64, GROUPS_MAX = 1024 };

static const char default_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static int read_capabilities(uint64_t *permitted) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) < 0) return -1;
  *permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
  return 0;
}

static int set_capabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {
      {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
      {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
  };
  return (int)syscall(SYS_capset, &header, data);
}

int give_stdio(const struct plan *plan, struct error *err) {
  const struct operation *user = find_operation(plan, OP_USER);
  if (!user) return 0;
  for (int fd = 0; fd <= 2; fd++) {
    struct stat status;
    if (fstat(fd, &status) < 0) return fail(err, errno, "look at descriptor %d", fd);
    bool ours = S_ISFIFO(status.st_mode) || (S_ISCHR(status.st_mode) && isatty(fd));
    /* A terminal keeps its group (tty), which is what lets write(1) and friends work. */
    gid_t gid = S_ISFIFO(status.st_mode) ? (gid_t)user->user.gid : (gid_t)-1;
    if (ours && fchown(fd, (uid_t)user->user.uid, gid) < 0) return fail(err, errno, "give descriptor %d to the user", fd);
  }
  return 0;
}

static int drop_bounding(uint64_t bounding, struct error *err) {
  for (unsigned number = 0; number < CAPABILITY_NUMBERS; number++) {
    if (prctl(PR_CAPBSET_READ, number, 0, 0, 0) != 1) continue;
    if ((bounding >> number) & 1) continue;
    if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0) return fail(err, errno, "drop capability %u", number);
  }
  return 0;
}

static int set_ids(const struct operation *user, struct error *err) {
  gid_t groups[GROUPS_MAX];
  size_t count = user->user.groups.length / sizeof(uint32_t);
  if (count > GROUPS_MAX) return fail(err, EINVAL, "set %zu groups", count);
  struct reader reader = {user->user.groups.data, user->user.groups.data + user->user.groups.length, false};
  for (size_t i = 0; i < count; i++) groups[i] = read_u32(&reader);
  if (setgroups(count, groups) < 0) return fail(err, errno, "set groups");
  gid_t gid = (gid_t)user->user.gid;
  if (setresgid(gid, gid, gid) < 0) return fail(err, errno, "set group %u", gid);
  uid_t uid = (uid_t)user->user.uid;
  if (setresuid(uid, uid, uid) < 0) return fail(err, errno, "set user %u", uid);
  return 0;
}

/*
 * Linux lets a process without no_new_privs load a filter only with CAP_SYS_ADMIN, which the program must not have.
 * So that one right stays permitted (not effective) until the filter is loaded: path look-ups in between already
 * happen with the program's own rights.
 */
int become_user(const struct plan *plan, struct error *err) {
  const struct operation *capabilities = find_operation(plan, OP_CAPABILITIES);
  const struct operation *user = find_operation(plan, OP_USER);
  if (find_operation(plan, OP_NO_NEW_PRIVILEGES) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
    return fail(err, errno, "set no_new_privs");
  }
  if (capabilities && drop_bounding((uint64_t)capabilities->capabilities.bounding, err) < 0) return -1;
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return fail(err, errno, "keep capabilities");
  if (user && set_ids(user, err) < 0) return -1;
  if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0) return fail(err, errno, "keep capabilities");
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return fail(err, errno, "clear ambient capabilities");
  if (!capabilities) return 0;
  uint64_t had = 0;
  if (read_capabilities(&had) < 0) return fail(err, errno, "read capabilities");
  uint64_t permitted = (uint64_t)capabilities->capabilities.permitted & had;
  uint64_t effective = (uint64_t)capabilities->capabilities.effective & permitted;
  uint64_t inheritable = (uint64_t)capabilities->capabilities.inheritable & permitted;
  uint64_t admin = (1ULL << CAP_SYS_ADMIN) & had;
  if (set_capabilities(effective, permitted | admin, inheritable) < 0) return fail(err, errno, "set capabilities");
  return 0;
}

static int raise_ambient(uint64_t ambient, struct error *err) {
  for (unsigned number = 0; ambient >> number && number < CAPABILITY_NUMBERS; number++) {
    if (!((ambient >> number) & 1)) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) < 0) return fail(err, errno, "raise capability %u", number);
  }
  return 0;
}

int drop_last_rights(const struct plan *plan, struct error *err) {
  const struct operation *seccomp = find_operation(plan, OP_SECCOMP);
  const struct operation *capabilities = find_operation(plan, OP_CAPABILITIES);
  uint64_t had = 0;
  if (read_capabilities(&had) < 0) return fail(err, errno, "read capabilities");
  if (seccomp) {
    struct bytes program = seccomp->seccomp.program;
    size_t instructions = program.length / sizeof(struct sock_filter);
    if (instructions == 0 || instructions > BPF_MAXINSNS) return fail(err, EINVAL, "load seccomp: %zu instructions", instructions);
    /* The frame gives no alignment. */
    struct sock_filter *filter = malloc(program.length);
    if (!filter) return fail(err, ENOMEM, "load seccomp");
    memcpy(filter, program.data, program.length);
    struct sock_fprog loaded = {(unsigned short)instructions, filter};
    uint64_t admin = (1ULL << CAP_SYS_ADMIN) & had;
    if (capabilities && set_capabilities(((uint64_t)capabilities->capabilities.effective & had) | admin, had,
                                         (uint64_t)capabilities->capabilities.inheritable & had) < 0) {
      free(filter);
      return fail(err, errno, "set capabilities");
    }
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &loaded);
    int code = errno;
    free(filter);
    if (result < 0) return fail(err, code, "load seccomp");
  }
  if (!capabilities) return 0;
  uint64_t permitted = (uint64_t)capabilities->capabilities.permitted & had;
  uint64_t inheritable = (uint64_t)capabilities->capabilities.inheritable & permitted;
  if (set_capabilities((uint64_t)capabilities->capabilities.effective & permitted, permitted, inheritable) < 0) {
    return fail(err, errno, "set capabilities");
  }
  return raise_ambient((uint64_t)capabilities->capabilities.ambient & permitted & inheritable, err);
}

static const char *search_path(const struct plan *plan) {
  const struct operation *environment = find_operation(plan, OP_ENVIRONMENT);
  const struct strings *variables = environment ? &environment->environment.variables : NULL;
  /* The last one counts, as in a shell. */
  for (uint32_t i = variables ? variables->count : 0; i > 0; i--) {
    if (!strncmp(variables->items[i - 1], "PATH=", 5)) return variables->items[i - 1] + 5;
  }
  return default_path;
}

/* The reason is in Docker's words, which scripts look for, so there is no errno beside it. */
static int refuse(struct error *err, int exit_code, const char *name, const char *reason) {
  fail(err, 0, "exec: \"%s\": %s", name, reason);
  err->exit_code = exit_code;
  return -1;
}

static bool can_run(const char *path, int *code) {
  struct stat status;
  if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 || stat(path, &status) < 0) {
    if (errno != ENOENT && errno != ENOTDIR) *code = errno;
    return false;
  }
  if (S_ISREG(status.st_mode)) return true;
  *code = EACCES;
  return false;
}

int find_program(const struct plan *plan, char path[4096], struct error *err) {
  const struct operation *exec = find_operation(plan, OP_EXEC);
  if (!exec || exec->exec.argv.count == 0 || !*exec->exec.argv.items[0]) return fail(err, EINVAL, "exec: no program");
  const char *name = exec->exec.argv.items[0];
  int code = ENOENT;
  if (strchr(name, '/')) {
    if (strlen(name) >= PATH_MAX) return refuse(err, EXIT_CANNOT_RUN, name, "name too long");
    strcpy(path, name);
    if (can_run(path, &code)) return 0;
    if (code != ENOENT) return refuse(err, EXIT_CANNOT_RUN, name, "permission denied");
    return refuse(err, EXIT_NOT_FOUND, name, "stat: no such file or directory");
  }
  for (const char *at = search_path(plan); *at;) {
    size_t length = strcspn(at, ":");
    int written = snprintf(path, PATH_MAX, "%.*s%s%s", (int)length, at, length ? "/" : "./", name);
    if (written > 0 && written < PATH_MAX && can_run(path, &code)) return 0;
    at += length + (at[length] == ':');
  }
  if (code != ENOENT) return refuse(err, EXIT_CANNOT_RUN, name, "permission denied");
  return refuse(err, EXIT_NOT_FOUND, name, "executable file not found in $PATH");
}

#include "cgroup_files.h"

#include "../cleanup.h"
#include "../kernel.h"
#include "../paths.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { WAIT_MS = 5, WAITS_MAX = 2000, DEPTH_MAX = 32 };

static void wait_a_moment(void) {
  struct timespec moment = {.tv_nsec = WAIT_MS * 1000000L};
  nanosleep(&moment, NULL);
}

static bool read_text(const char *path, char *text, size_t size) {
  autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);
  if (length < 0) return false;
  text[length] = 0;
  return true;
}

/* The cgroup that can be frozen: v1 has one of many, v2 has one. */
static bool find_freezer(const struct plan *plan, char control[PATH_MAX], char state[PATH_MAX], bool *unified) {
  for (uint32_t i = 0; i < plan->count; i++) {
    const struct operation *operation = &plan->operations[i];
    if (operation->kind != OP_CGROUP_JOIN) continue;
    *unified = operation->cgroup_join.version == 2;
    snprintf(control, PATH_MAX, "%s/%s", operation->cgroup_join.path, *unified ? "cgroup.freeze" : "freezer.state");
    snprintf(state, PATH_MAX, "%s/%s", operation->cgroup_join.path, *unified ? "cgroup.events" : "freezer.state");
    if (access(control, F_OK) == 0) return true;
  }
  return false;
}

static bool reads_frozen(const char *path, bool unified) {
  char text[512];
  return read_text(path, text, sizeof text) && strstr(text, unified ? "frozen 1" : "FROZEN") != NULL;
}

bool is_frozen(const struct plan *plan) {
  char control[PATH_MAX], state[PATH_MAX];
  bool unified = false;
  return find_freezer(plan, control, state, &unified) && reads_frozen(state, unified);
}

int set_frozen(const struct plan *plan, bool frozen, struct error *err) {
  char control[PATH_MAX], state[PATH_MAX];
  bool unified = false;
  if (!find_freezer(plan, control, state, &unified)) return fail(err, 0, "the container has no cgroup that can be frozen");
  const char *word = unified ? (frozen ? "1" : "0") : (frozen ? "FROZEN" : "THAWED");
  for (int i = 0; i < WAITS_MAX; i++) {
    /* A process that forks meanwhile may keep v1's freezer from ending its work: it is asked again. */
    if (write_small_file(AT_FDCWD, control, word) < 0) return fail(err, errno, "write %s to %s", word, control);
    if (reads_frozen(state, unified) == frozen) return 0;
    wait_a_moment();
  }
  return fail(err, ETIMEDOUT, "write %s to %s", word, control);
}

static int add_pids(const char *path, struct pids *pids) {
  char file[PATH_MAX];
  snprintf(file, sizeof file, "%s/cgroup.procs", path);
  FILE *stream = fopen(file, "re");
  if (!stream) return errno == ENOENT ? 0 : -1;
  int pid, result = 0;
  while (result == 0 && fscanf(stream, "%d", &pid) == 1) {
    pid_t *more = reallocarray(pids->items, pids->count + 1, sizeof *more);
    if (more) pids->items = more, pids->items[pids->count++] = pid;
    else result = -1;
  }
  fclose(stream);
  return result;
}

typedef int visit(const char *path, void *context);

/* The folder and those below it, inner ones first. */
static int walk(const char *path, int depth, visit *visitor, void *context) {
  DIR *folder = depth < DEPTH_MAX ? opendir(path) : NULL;
  if (!folder) return errno == ENOENT ? 0 : -1;
  int result = 0;
  for (struct dirent *entry = readdir(folder); result == 0 && entry; entry = readdir(folder)) {
    char inner[PATH_MAX];
    if (entry->d_type != DT_DIR || !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    if (snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) >= (int)sizeof inner) continue;
    result = walk(inner, depth + 1, visitor, context);
  }
  closedir(folder);
  return result == 0 ? visitor(path, context) : result;
}

static int visit_pids(const char *path, void *context) {
  return add_pids(path, context);
}

int read_pids(const struct plan *plan, struct pids *pids, struct error *err) {
  *pids = (struct pids){0};
  const struct operation *join = NULL;
  for (uint32_t i = 0; i < plan->count && !join; i++) {
    if (plan->operations[i].kind == OP_CGROUP_JOIN) join = &plan->operations[i];
  }
  if (!join || walk(join->cgroup_join.path, 0, visit_pids, pids) == 0) return 0;
  return fail(err, errno, "read the processes in %s", join->cgroup_join.path);
}

bool signal_all(const struct plan *plan, int number) {
  struct error ignored;
  struct pids pids;
  if (read_pids(plan, &pids, &ignored) < 0) return false;
  for (size_t i = 0; i < pids.count; i++) kill(pids.items[i], number);
  free(pids.items);
  return pids.count > 0;
}

static int visit_remove(const char *path, void *context) {
  (void)context;
  return rmdir(path) == 0 || errno == ENOENT ? 0 : -1;
}

int remove_cgroups(const struct plan *plan, struct error *err) {
  const struct operation *namespaces = find_operation(plan, OP_NAMESPACES);
  /* The end of a pid namespace's first process was the end of all the others. */
  bool has_ended = namespaces && namespaces->namespaces.pid;
  for (int i = 0; !has_ended && i < WAITS_MAX && signal_all(plan, SIGKILL); i++) wait_a_moment();
  for (uint32_t i = 0; i < plan->count; i++) {
    const struct operation *operation = &plan->operations[i];
    if (operation->kind != OP_CGROUP_JOIN) continue;
    int result = -1;
    /* The kernel says EBUSY until the last process is reaped. */
    for (int tries = 0; tries < WAITS_MAX && result < 0; tries++) {
      result = walk(operation->cgroup_join.path, 0, visit_remove, NULL);
      if (result < 0 && errno != EBUSY) break;
      if (result < 0) wait_a_moment();
    }
    if (result < 0) return fail(err, errno, "remove cgroup %s", operation->cgroup_join.path);
  }
  return 0;
}

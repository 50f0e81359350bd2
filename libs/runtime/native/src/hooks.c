#include "hooks.h"

#include "cleanup.h"
#include "kernel.h"
#include "oci_state.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { EXIT_NO_HOOK = 127 };

static const char *const stage_names[] = {
    [HOOK_PRESTART] = "prestart",
    [HOOK_CREATE_RUNTIME] = "createRuntime",
    [HOOK_CREATE_CONTAINER] = "createContainer",
    [HOOK_START_CONTAINER] = "startContainer",
    [HOOK_POSTSTART] = "poststart",
    [HOOK_POSTSTOP] = "poststop",
};

static bool is_hook(const struct operation *operation, enum hook_stage stage) {
  return operation->kind == OP_HOOK && operation->hook.stage == (int64_t)stage;
}

bool has_hooks(const struct plan *plan, enum hook_stage stage) {
  for (uint32_t i = 0; i < plan->count; i++) {
    if (is_hook(&plan->operations[i], stage)) return true;
  }
  return false;
}

/* In memory, not in a pipe: a hook that never reads it holds nobody up. */
static int make_input(const struct buffer *state, struct error *err) {
  autoclose int fd = memfd_create("state", MFD_CLOEXEC);
  size_t length = buffer_length(state);
  if (fd < 0 || write(fd, state->data + state->start, length) != (ssize_t)length || lseek(fd, 0, SEEK_SET) < 0) {
    return fail(err, errno, "write the state for hooks");
  }
  return keep_descriptor(&fd);
}

__attribute__((noreturn)) static void become_hook(const struct operation *hook, int input, int report) {
  char *own[] = {(char *)(uintptr_t)hook->hook.path, NULL};
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  /* What it prints must not look like the container's output. */
  if (dup2(input, 0) >= 0 && dup2(2, 1) >= 0 && sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0) {
    execve(hook->hook.path, hook->hook.args.count ? hook->hook.args.items : own, hook->hook.environment.items);
  }
  int code = errno;
  if (write(report, &code, sizeof code) < 0) _exit(EXIT_NO_HOOK);
  _exit(EXIT_NO_HOOK);
}

/* Its errno when it never ran, else 0. */
static int await_exec(int report) {
  int code = 0;
  ssize_t length;
  do length = read(report, &code, sizeof code);
  while (length < 0 && errno == EINTR);
  return length == sizeof code ? code : 0;
}

static int await_end(const struct operation *hook, const char *stage, pid_t pid, struct error *err) {
  autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  struct pollfd end = {.fd = pidfd, .events = POLLIN};
  int64_t seconds = hook->hook.timeout_seconds;
  int ended;
  do ended = poll(&end, 1, seconds > 0 ? (int)(seconds * 1000) : -1);
  while (ended < 0 && errno == EINTR);
  if (ended <= 0) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (ended <= 0) return fail(err, 0, "%s hook %s: killed after %lld s", stage, hook->hook.path, (long long)seconds);
  if (WIFSIGNALED(status)) return fail(err, 0, "%s hook %s: ended by signal %d", stage, hook->hook.path, WTERMSIG(status));
  if (WEXITSTATUS(status)) return fail(err, 0, "%s hook %s: ended with %d", stage, hook->hook.path, WEXITSTATUS(status));
  return 0;
}

static int run_hook(const struct operation *hook, const char *stage, const struct buffer *state, struct error *err) {
  int report[2];
  autoclose int input = make_input(state, err);
  if (input < 0) return -1;
  if (pipe2(report, O_CLOEXEC) < 0) return fail(err, errno, "%s hook %s", stage, hook->hook.path);
  autoclose int ours = report[0];
  pid_t pid = fork();
  if (pid == 0) become_hook(hook, input, report[1]);
  int code = errno;
  close(report[1]);
  if (pid < 0) return fail(err, code, "fork %s hook %s", stage, hook->hook.path);
  int refused = await_exec(ours);
  if (await_end(hook, stage, pid, err) == 0) return 0;
  return refused ? fail(err, refused, "%s hook %s", stage, hook->hook.path) : -1;
}

int run_hooks(const struct plan *plan, enum hook_stage stage, const char *status, pid_t pid, struct error *err) {
  if (!has_hooks(plan, stage)) return 0;
  struct buffer state = {0};
  int result = append_oci_state(&state, plan, status, pid) ? 0 : fail(err, ENOMEM, "write the state for hooks");
  for (uint32_t i = 0; result == 0 && i < plan->count; i++) {
    if (is_hook(&plan->operations[i], stage)) result = run_hook(&plan->operations[i], stage_names[stage], &state, err);
  }
  buffer_free(&state);
  return result;
}

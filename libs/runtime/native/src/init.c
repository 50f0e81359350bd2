#include "init.h"

#include "identity.h"
#include "kernel.h"
#include "title.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { EXIT_SIGNAL_BASE = 128 };

static void reap(pid_t program) {
  int status;
  for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
    if (pid != program) continue;
    _exit(WIFSIGNALED(status) ? EXIT_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status));
  }
}

__attribute__((noreturn)) static void supervise(const struct plan *plan, pid_t program, const sigset_t *all) {
  struct error ignored;
  /* By its name in every list of processes; the container has no file of it. */
  set_title("docker-init", "--");
  /* Its own copy of the channel and of stdio would hide that the program closed its own. */
  sys_close_range(0, ~0U, 0);
  if (become_user(plan, &ignored) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ||
      drop_last_rights(plan, &ignored) < 0) {
    _exit(EXIT_BEFORE_EXEC);
  }
  for (;;) {
    siginfo_t info;
    if (sigwaitinfo(all, &info) < 0) continue;
    if (info.si_signo == SIGCHLD) reap(program);
    else kill(program, info.si_signo);
  }
}

int become_init(const struct plan *plan, struct error *err) {
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, &before);
  pid_t program = fork();
  if (program < 0) return fail(err, errno, "fork the program");
  if (program > 0) supervise(plan, program, &all);
  sigprocmask(SIG_SETMASK, &before, NULL);
  return 0;
}

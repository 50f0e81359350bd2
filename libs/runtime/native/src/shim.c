#include "shim.h"

#include "answers.h"
#include "cgroup.h"
#include "cleanup.h"
#include "kernel.h"
#include "title.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { RESULT_FD = 3, BACKLOG = 64 };

static int set_address(struct sockaddr_un *address, const char *path, struct error *err) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  size_t length = strlen(path);
  if (length == 0 || length >= sizeof address->sun_path) return fail(err, ENAMETOOLONG, "shim socket %s", path);
  memcpy(address->sun_path, path, length + 1);
  return 0;
}

/* A socket file that nobody answers on is left from a shim that was killed; one that is answered is a second launch. */
static int listen_on(const char *path, struct error *err) {
  struct sockaddr_un address;
  if (set_address(&address, path, err) < 0) return -1;
  autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail(err, errno, "make the shim socket");
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN) {
    return fail(err, EEXIST, "the container runs already");
  }
  close_descriptor(&fd);
  unlink(path);
  fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  umask(0177);
  int bound = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof address);
  umask(022);
  if (bound < 0 || listen(fd, BACKLOG) < 0) return fail(err, errno, "listen on shim socket %s", path);
  return keep_descriptor(&fd);
}

static void leave_launcher(void) {
  setsid();
  if (chdir("/") < 0) _exit(EXIT_BEFORE_EXEC);
  umask(022);
  /* Only SIGKILL ends a keeper before its container has ended. */
  static const int ignored[] = {SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) signal(ignored[i], SIG_IGN);
  signal(SIGCHLD, SIG_DFL);
}

static char *copy_text(const char *text) {
  char *copy = strdup(text);
  if (!copy) abort();
  return copy;
}

static int start_container(struct shim *shim, struct plan *plan, struct reader *payload, struct error *err) {
  if (decode_plan(plan, payload, err) < 0) return -1;
  set_title("enxame-shim", plan->id);
  shim->socket_path = copy_text(plan->socket_path);
  shim->exit_path = copy_text(plan->exit_path);
  const struct operation *oom_file = find_operation(plan, OP_OOM_FILE);
  if (oom_file) shim->oom_path = copy_text(oom_file->path.path);
  const struct operation *stdio = find_operation(plan, OP_STDIO);
  shim->main.open_stdin = stdio && stdio->stdio.open_stdin;
  shim->stdin_once = stdio && stdio->stdio.stdin_once;
  shim->listener = listen_on(plan->socket_path, err);
  if (shim->listener < 0) return -1;
  /* From here on this launch is the one that counts; the record of an earlier run must not be taken for its own. */
  if (unlink(plan->exit_path) < 0 && errno != ENOENT) return fail(err, errno, "remove %s", plan->exit_path);
  if (open_log(&shim->log, plan, err) < 0) return -1;
  shim->oom_kills_before = read_oom_kills(shim->oom_path);
  return start_process(plan, NULL, NULL, &shim->main.process, err);
}

static void record_failure(struct shim *shim, const struct error *error) {
  /* Without a socket of its own this shim must not touch the files of the one that has it. */
  if (shim->listener < 0) return;
  shim->main.record.exit_code = error->exit_code;
  shim->main.record.finished_ms = now_ms();
  describe_error(error, shim->main.record.error, sizeof shim->main.record.error);
  write_exit_record(shim->exit_path, &shim->main.record);
  unlink(shim->socket_path);
}

static void report(int result, struct buffer *answer) {
  if (answer->data) send(result, answer->data, answer->end, MSG_NOSIGNAL);
  buffer_free(answer);
  close(result);
}

void run_shim(struct reader *payload, uint32_t request, int result) {
  static struct shim shim;
  struct plan plan = {0};
  struct error error = {0};
  struct buffer answer = {0};
  leave_launcher();
  if (dup2(result, RESULT_FD) < 0 || sys_close_range(RESULT_FD + 1, ~0U, 0) < 0) _exit(EXIT_BEFORE_EXEC);
  if (fcntl(RESULT_FD, F_SETFD, FD_CLOEXEC) < 0) _exit(EXIT_BEFORE_EXEC);
  shim.listener = -1;
  if (start_container(&shim, &plan, payload, &error) < 0) {
    record_failure(&shim, &error);
    answer_failed(&answer, &request, &error);
    report(RESULT_FD, &answer);
    _exit(EXIT_BEFORE_EXEC);
  }
  answer_started(&answer, &request, shim.main.process.pid, shim.main.process.started_ms);
  report(RESULT_FD, &answer);
  free_plan(&plan);
  malloc_trim(0);
  keep_container(&shim);
  _exit(0);
}

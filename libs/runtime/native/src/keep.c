#include "shim.h"

#include "answers.h"
#include "cgroup.h"
#include "cleanup.h"
#include "connection.h"
#include "foreign.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum {
  OUTPUT_BYTES = 32768,
  /* An exec's output waits in its pipe while this much has not reached the client. */
  BACKLOG_BYTES_MAX = 65536,
  TERMINAL_RETRY_MS = 100,
  RECORD_RETRY_MS = 1000,
  /* How long slow readers may take for the last output after the end. */
  LEAVE_MS_MAX = 10000,
  SOURCES_MAX = 1 + 4 * (JOBS_MAX + 1) + CONNECTIONS_MAX,
  EXIT_SIGNAL_BASE = 128,
};

enum source_kind { SOURCE_LISTENER, SOURCE_EXIT, SOURCE_OUT, SOURCE_ERR, SOURCE_IN, SOURCE_CONNECTION };

struct source {
  enum source_kind kind;
  void *owner;
};

struct watch {
  struct pollfd fds[SOURCES_MAX];
  struct source sources[SOURCES_MAX];
  nfds_t count;
  int timeout_ms;
};

static void watch_for(struct watch *watch, int fd, short events, enum source_kind kind, void *owner) {
  if (fd < 0 || watch->count == SOURCES_MAX) return;
  watch->fds[watch->count] = (struct pollfd){.fd = fd, .events = events};
  watch->sources[watch->count++] = (struct source){kind, owner};
}

static void wake_after(struct watch *watch, int64_t ms) {
  if (ms < 0) ms = 0;
  if (watch->timeout_ms < 0 || ms < watch->timeout_ms) watch->timeout_ms = (int)ms;
}

static void close_job_output(struct job *job, int *fd) {
  close_descriptor(fd);
  if (job->process.tty) close_descriptor(&job->process.in);
}

static void deliver(struct shim *shim, struct job *job, bool is_error, const uint8_t *data, size_t length) {
  enum frame_type type = is_error ? FRAME_STDERR : FRAME_STDOUT;
  if (job != &shim->main) {
    if (job->connection) send_output(job->connection, type, data, length);
    return;
  }
  log_output(&shim->log, is_error ? LOG_STDERR : LOG_STDOUT, data, length);
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    struct connection *connection = shim->connections[i];
    if (connection && connection->attached) send_output(connection, type, data, length);
  }
}

static bool has_backlog(const struct job *job) {
  return job->connection && !job->connection->dead && buffer_length(&job->connection->out) > BACKLOG_BYTES_MAX;
}

/* One read. Whether there may be more. */
static bool pump(struct shim *shim, struct job *job, int *fd, bool is_error) {
  uint8_t data[OUTPUT_BYTES];
  ssize_t length = read(*fd, data, sizeof data);
  if (length > 0) {
    deliver(shim, job, is_error, data, (size_t)length);
    return true;
  }
  if (length < 0 && errno == EINTR) return true;
  if (length < 0 && errno == EAGAIN && !job->exited) return false;
  if (length < 0 && errno == EIO && job->process.tty && !job->exited) {
    job->paused_until_ms = now_ms() + TERMINAL_RETRY_MS;
    return false;
  }
  close_job_output(job, fd);
  return false;
}

/* After the end of a process its pipes hold all it ever wrote: read to the bottom, as far as the client keeps up. */
static void drain(struct shim *shim, struct job *job) {
  while (job->process.out >= 0 && !has_backlog(job) && pump(shim, job, &job->process.out, false)) continue;
  while (job->process.err >= 0 && !has_backlog(job) && pump(shim, job, &job->process.err, true)) continue;
}

static void reap(struct job *job) {
  siginfo_t info = {0};
  if (job->exited || waitid(P_PIDFD, (id_t)job->process.pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0) return;
  job->exited = true;
  job->record.finished_ms = now_ms();
  /* A start that failed has said already what it ends with. */
  if (*job->record.error) return;
  bool by_signal = info.si_code != CLD_EXITED;
  job->record.signal = by_signal ? info.si_status : 0;
  job->record.exit_code = by_signal ? EXIT_SIGNAL_BASE + info.si_status : info.si_status;
}

static void finish_job(struct job *job) {
  struct connection *connection = job->connection;
  if (connection) {
    if (!answer_exit(&connection->out, &job->record)) connection->dead = true;
    connection->closing = true;
    connection->job = NULL;
    write_connection(connection);
  }
  close_process(&job->process);
  free(job);
}

static void finish_jobs(struct shim *shim) {
  for (int i = 0; i < JOBS_MAX; i++) {
    struct job *job = shim->jobs[i];
    if (!job || !job->exited) continue;
    drain(shim, job);
    if (job->process.out >= 0 || job->process.err >= 0) continue;
    finish_job(job);
    shim->jobs[i] = NULL;
  }
}

/* Nobody is told before the record is on disk: an agent that dies while it handles the news finds it there. */
static void finish_container(struct shim *shim) {
  if (!shim->main.exited || shim->recorded) return;
  drain(shim, &shim->main);
  finish_log(&shim->log);
  if (shim->main.process.foreign) delete_foreign(shim->main.process.foreign);
  if (read_oom_kills(shim->oom_path) > shim->oom_kills_before) shim->main.record.oom_killed = true;
  if (write_exit_record(shim->exit_path, &shim->main.record) < 0) return;
  shim->recorded = true;
  shim->leave_at_ms = now_ms() + LEAVE_MS_MAX;
  unlink(shim->socket_path);
  close_descriptor(&shim->listener);
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    struct connection *connection = shim->connections[i];
    if (!connection || !(connection->attached || connection->waiting)) continue;
    if (!answer_exit(&connection->out, &shim->main.record)) connection->dead = true;
    connection->closing = true;
    write_connection(connection);
  }
}

static void watch_job(struct shim *shim, struct watch *watch, struct job *job, int64_t now) {
  struct process *process = &job->process;
  if (!job->exited) watch_for(watch, process->pidfd, POLLIN, SOURCE_EXIT, job);
  if (job->paused_until_ms > now) {
    wake_after(watch, job->paused_until_ms - now);
  } else if (!has_backlog(job)) {
    watch_for(watch, process->out, POLLIN, SOURCE_OUT, job);
    watch_for(watch, process->err, POLLIN, SOURCE_ERR, job);
  }
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    struct connection *connection = shim->connections[i];
    if (!connection || !connection->stdin_blocked || stdin_job(shim, connection) != job) continue;
    watch_for(watch, process->in, POLLOUT, SOURCE_IN, job);
    break;
  }
}

static void watch_all(struct shim *shim, struct watch *watch) {
  int64_t now = now_ms();
  watch->count = 0;
  watch->timeout_ms = -1;
  watch_for(watch, shim->listener, POLLIN, SOURCE_LISTENER, NULL);
  watch_job(shim, watch, &shim->main, now);
  for (int i = 0; i < JOBS_MAX; i++) {
    if (shim->jobs[i]) watch_job(shim, watch, shim->jobs[i], now);
  }
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    struct connection *connection = shim->connections[i];
    if (!connection) continue;
    short events = (short)((connection->stdin_blocked ? 0 : POLLIN) | (buffer_length(&connection->out) ? POLLOUT : 0));
    watch_for(watch, connection->fd, events, SOURCE_CONNECTION, connection);
  }
  if (shim->main.exited && !shim->recorded) wake_after(watch, RECORD_RETRY_MS);
  if (shim->recorded) wake_after(watch, shim->leave_at_ms - now);
}

static void unblock_stdin(struct shim *shim, struct job *job) {
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    struct connection *connection = shim->connections[i];
    if (connection && connection->stdin_blocked && stdin_job(shim, connection) == job) continue_connection(shim, connection);
  }
}

static void handle_connection(struct shim *shim, struct connection *connection, short events) {
  if (connection->dead) return;
  if (events & POLLOUT) write_connection(connection);
  if (events & POLLIN && !connection->dead) read_connection(shim, connection);
  if (events & (POLLERR | POLLNVAL) || (events & POLLHUP && !(events & POLLIN))) connection->dead = true;
}

static void handle(struct shim *shim, const struct source *source, short events) {
  struct job *job = source->owner;
  switch (source->kind) {
    case SOURCE_LISTENER:
      accept_connection(shim);
      break;
    case SOURCE_EXIT:
      reap(job);
      break;
    case SOURCE_OUT:
      if (job->process.out >= 0) pump(shim, job, &job->process.out, false);
      break;
    case SOURCE_ERR:
      if (job->process.err >= 0) pump(shim, job, &job->process.err, true);
      break;
    case SOURCE_IN:
      unblock_stdin(shim, job);
      break;
    case SOURCE_CONNECTION:
      handle_connection(shim, source->owner, events);
      break;
  }
}

static bool has_left(const struct shim *shim) {
  if (!shim->recorded) return false;
  if (now_ms() >= shim->leave_at_ms) return true;
  for (int i = 0; i < JOBS_MAX; i++) {
    if (shim->jobs[i]) return false;
  }
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    if (shim->connections[i] && buffer_length(&shim->connections[i]->out) > 0) return false;
  }
  return true;
}

void keep_container(struct shim *shim) {
  struct watch *watch = calloc(1, sizeof *watch);
  while (watch && !has_left(shim)) {
    watch_all(shim, watch);
    if (poll(watch->fds, watch->count, watch->timeout_ms) < 0 && errno != EINTR) abort();
    /* What is freed is freed after the round, so no source of this round points to nothing. */
    for (nfds_t i = 0; i < watch->count; i++) {
      if (watch->fds[i].revents) handle(shim, &watch->sources[i], watch->fds[i].revents);
    }
    finish_jobs(shim);
    finish_container(shim);
    sweep_connections(shim);
  }
}

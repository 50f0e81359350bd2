#include "connection.h"

#include "answers.h"
#include "cleanup.h"
#include "kernel.h"
#include "terminal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { READ_BYTES = 16384, OUT_BYTES_MAX = 1 << 20 };

enum phase { PHASE_HELD = 0, PHASE_RUNNING = 1, PHASE_EXITED = 2 };

void accept_connection(struct shim *shim) {
  int fd = accept4(shim->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    if (shim->connections[i]) continue;
    shim->connections[i] = calloc(1, sizeof *shim->connections[i]);
    if (!shim->connections[i]) break;
    shim->connections[i]->fd = fd;
    return;
  }
  close(fd);
}

static void check_answer(struct connection *connection, bool complete) {
  if (!complete) connection->dead = true;
}

static void refuse(struct connection *connection, int code, const char *words) {
  struct error error;
  fail(&error, code, "%s", words);
  check_answer(connection, answer_failed(&connection->out, NULL, &error));
}

static void confirm(struct connection *connection) {
  check_answer(connection, append_frame(&connection->out, FRAME_OK, NULL, 0));
}

void send_output(struct connection *connection, enum frame_type type, const void *data, size_t length) {
  if (buffer_length(&connection->out) > OUT_BYTES_MAX) connection->dead = true;
  if (connection->dead) return;
  check_answer(connection, append_frame(&connection->out, type, data, length));
}

struct job *stdin_job(struct shim *shim, struct connection *connection) {
  if (connection->job) return connection->job;
  return connection->attached_stdin ? &shim->main : NULL;
}

static void answer_status(struct shim *shim, struct connection *connection) {
  struct buffer payload = {0};
  uint32_t phase = shim->recorded ? PHASE_EXITED : shim->main.process.channel >= 0 ? PHASE_HELD : PHASE_RUNNING;
  bool complete = append_u32(&payload, phase) && append_u32(&payload, (uint32_t)shim->main.process.pid) &&
                  append_u64(&payload, (uint64_t)shim->main.process.started_ms) &&
                  append_u32(&payload, (uint32_t)getpid()) &&
                  append_frame(&connection->out, FRAME_STATE, payload.data, payload.end);
  buffer_free(&payload);
  check_answer(connection, complete);
}

static void answer_start(struct shim *shim, struct connection *connection) {
  struct error error = {0};
  if (shim->main.process.channel < 0) {
    refuse(connection, EALREADY, "start: the container is not held");
  } else if (start_held(&shim->main.process, &error) == 0) {
    check_answer(connection, answer_started(&connection->out, NULL, shim->main.process.pid, shim->main.process.started_ms));
  } else {
    /* The process has ended; what it ends with is what a shell would say about the failed step. */
    shim->main.record.exit_code = error.exit_code;
    describe_error(&error, shim->main.record.error, sizeof shim->main.record.error);
    check_answer(connection, answer_failed(&connection->out, NULL, &error));
  }
}

static struct job *find_job(struct shim *shim, uint32_t pid) {
  if (pid == 0) return &shim->main;
  for (int i = 0; i < JOBS_MAX; i++) {
    if (shim->jobs[i] && shim->jobs[i]->process.pid == (pid_t)pid) return shim->jobs[i];
  }
  return NULL;
}

static void answer_signal(struct shim *shim, struct connection *connection, struct reader *payload) {
  struct job *job = find_job(shim, read_u32(payload));
  int number = (int)read_u32(payload);
  if (!job || job->exited) return refuse(connection, ESRCH, "signal");
  if (sys_pidfd_send_signal(job->process.pidfd, number) < 0) return refuse(connection, errno, "signal");
  confirm(connection);
}

static void answer_resize(struct shim *shim, struct connection *connection, struct reader *payload) {
  struct job *job = find_job(shim, read_u32(payload));
  uint32_t rows = read_u32(payload), columns = read_u32(payload);
  if (!job || job->process.out < 0) return refuse(connection, ESRCH, "resize");
  if (!job->process.tty) return refuse(connection, ENOTTY, "resize");
  if (resize_terminal(job->process.out, rows, columns) < 0) return refuse(connection, errno, "resize");
  confirm(connection);
}

static void answer_wait(struct shim *shim, struct connection *connection) {
  connection->waiting = !shim->recorded;
  if (!shim->recorded) return;
  check_answer(connection, answer_exit(&connection->out, &shim->main.record));
  connection->closing = true;
}

static void answer_attach(struct shim *shim, struct connection *connection, struct reader *payload) {
  bool wants_stdin = read_u32(payload) != 0;
  if (connection->job || connection->attached) return refuse(connection, EBUSY, "attach: this connection is in use");
  if (shim->recorded) return answer_wait(shim, connection);
  connection->attached = true;
  connection->attached_stdin = wants_stdin && shim->main.open_stdin;
  confirm(connection);
}

static int start_job(struct shim *shim, struct job *job, struct reader *payload, struct error *err) {
  struct plan plan = {0};
  job->kill_on_disconnect = read_u64(payload) != 0;
  int result = decode_operations(&plan, payload, err);
  if (result == 0) {
    const struct operation *stdio = find_operation(&plan, OP_STDIO);
    struct container container = {shim->main.process.pidfd, shim->main.process.devpts, shim->main.process.foreign};
    job->open_stdin = stdio && stdio->stdio.open_stdin;
    result = start_process(&plan, &container, NULL, &job->process, err);
  }
  free_plan(&plan);
  return result;
}

static void answer_exec(struct shim *shim, struct connection *connection, struct reader *payload) {
  struct error error = {0};
  int slot = 0;
  while (slot < JOBS_MAX && shim->jobs[slot]) slot++;
  if (connection->job || connection->attached) return refuse(connection, EBUSY, "exec: this connection is in use");
  if (slot == JOBS_MAX) return refuse(connection, EAGAIN, "exec: too many at once");
  if (shim->main.exited || shim->main.process.channel >= 0) return refuse(connection, ESRCH, "exec: the container does not run");
  struct job *job = calloc(1, sizeof *job);
  if (!job) return refuse(connection, ENOMEM, "exec");
  if (start_job(shim, job, payload, &error) < 0) {
    free(job);
    check_answer(connection, answer_failed(&connection->out, NULL, &error));
    return;
  }
  shim->jobs[slot] = job;
  connection->job = job;
  job->connection = connection;
  check_answer(connection, answer_started(&connection->out, NULL, job->process.pid, job->process.started_ms));
}

/* A terminal has no end of input; a pipe of the container's own closes only when it was asked to (stdin once). */
static void end_stdin(struct shim *shim, struct job *job) {
  if (!job || job->process.tty || (job == &shim->main && !shim->stdin_once)) return;
  close_descriptor(&job->process.in);
}

/* Whether the frame is done. If not, the stdin is full and the frame stays where it is. */
static bool feed_stdin(struct shim *shim, struct connection *connection, struct reader *payload) {
  struct job *job = stdin_job(shim, connection);
  size_t length = (size_t)(payload->end - payload->at);
  while (job && job->open_stdin && job->process.in >= 0 && connection->stdin_written < length) {
    ssize_t written = write(job->process.in, payload->at + connection->stdin_written, length - connection->stdin_written);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) return false;
    /* Nobody reads it any more. */
    if (written < 0) break;
    connection->stdin_written += (size_t)written;
  }
  connection->stdin_written = 0;
  return true;
}

static bool handle_frame(struct shim *shim, struct connection *connection, uint16_t type, struct reader *payload) {
  switch (type) {
    case FRAME_STATUS:
      answer_status(shim, connection);
      return true;
    case FRAME_START:
      answer_start(shim, connection);
      return true;
    case FRAME_SIGNAL:
      answer_signal(shim, connection, payload);
      return true;
    case FRAME_RESIZE:
      answer_resize(shim, connection, payload);
      return true;
    case FRAME_WAIT:
      answer_wait(shim, connection);
      return true;
    case FRAME_ATTACH:
      answer_attach(shim, connection, payload);
      return true;
    case FRAME_EXEC:
      answer_exec(shim, connection, payload);
      return true;
    case FRAME_STDIN:
      return feed_stdin(shim, connection, payload);
    case FRAME_STDIN_END:
      end_stdin(shim, stdin_job(shim, connection));
      return true;
    default:
      refuse(connection, ENOSYS, "unknown request");
      return true;
  }
}

void continue_connection(struct shim *shim, struct connection *connection) {
  connection->stdin_blocked = false;
  while (!connection->dead) {
    uint16_t type = 0;
    struct reader payload;
    size_t total = 0;
    enum frame_state state = peek_frame(&connection->in, &type, &payload, &total);
    if (state == FRAME_TOO_LONG) connection->dead = true;
    if (state != FRAME_COMPLETE) break;
    if (!handle_frame(shim, connection, type, &payload)) {
      connection->stdin_blocked = true;
      break;
    }
    buffer_consume(&connection->in, total);
  }
  if (!connection->dead) write_connection(connection);
}

void read_connection(struct shim *shim, struct connection *connection) {
  uint8_t *room = buffer_reserve(&connection->in, READ_BYTES);
  ssize_t length = room ? read(connection->fd, room, READ_BYTES) : -1;
  if (length > 0) {
    connection->in.end += (size_t)length;
    continue_connection(shim, connection);
  } else if (length == 0 || (errno != EAGAIN && errno != EINTR)) {
    connection->dead = true;
  }
  if (buffer_length(&connection->in) == 0) buffer_free(&connection->in);
}

void write_connection(struct connection *connection) {
  while (buffer_length(&connection->out) > 0) {
    ssize_t written = send(connection->fd, connection->out.data + connection->out.start, buffer_length(&connection->out), MSG_NOSIGNAL);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) return;
    if (written < 0) {
      connection->dead = true;
      return;
    }
    buffer_consume(&connection->out, (size_t)written);
  }
  /*
   * The client closes. Were this end to close first, with input on its way, the client's next write would fail and
   * take the exit that it has not read yet with it.
   */
  if (connection->closing) shutdown(connection->fd, SHUT_WR);
}

static void free_connection(struct shim *shim, struct connection *connection) {
  struct job *job = connection->job;
  if (job) {
    job->connection = NULL;
    if (job->kill_on_disconnect && !job->exited) sys_pidfd_send_signal(job->process.pidfd, SIGKILL);
    else end_stdin(shim, job);
  } else if (connection->attached_stdin) {
    end_stdin(shim, &shim->main);
  }
  close_descriptor(&connection->fd);
  buffer_free(&connection->in);
  buffer_free(&connection->out);
  free(connection);
}

void sweep_connections(struct shim *shim) {
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    if (!shim->connections[i] || !shim->connections[i]->dead) continue;
    free_connection(shim, shim->connections[i]);
    shim->connections[i] = NULL;
  }
}

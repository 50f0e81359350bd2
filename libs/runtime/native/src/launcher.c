/*
 * The launcher: one per node, started once and early while it is small, so that a fork costs little. It reads requests
 * and forks a shim for each launch; the shim does everything, so that no plan can hurt the launcher.
 */
#include "launcher.h"

#include "answers.h"
#include "cgroup.h"
#include "cleanup.h"
#include "kernel.h"
#include "removal.h"
#include "shim.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { CLIENTS_MAX = 32, LAUNCHES_MAX = 512, READ_BYTES = 65536, ANSWER_BYTES_MAX = 2048, BACKLOG = 64 };

struct client {
  int fd;
  struct buffer in;
  struct buffer out;
  bool dead;
};

/* A shim or a removal that has not answered yet. */
struct launch {
  int result;
  uint32_t request;
  /* NULL when its client has gone. */
  struct client *client;
};

struct launcher {
  int listener;
  struct client *clients[CLIENTS_MAX];
  struct launch launches[LAUNCHES_MAX];
  size_t launch_count;
  bool leaving;
};

static void refuse(struct client *client, uint32_t request, int code, const char *words) {
  struct error error;
  fail(&error, code, "%s", words);
  if (!answer_failed(&client->out, &request, &error)) client->dead = true;
}

typedef void child_program(struct reader *payload, uint32_t request, int result);

/* `run` never returns. */
static void fork_child(struct launcher *launcher, struct client *client, uint32_t request, struct reader *payload,
                       child_program *run) {
  int pair[2];
  if (launcher->launch_count == LAUNCHES_MAX) return refuse(client, request, EAGAIN, "launch: too many at once");
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return refuse(client, request, errno, "launch");
  pid_t pid = fork();
  if (pid == 0) {
    run(payload, request, pair[1]);
    _exit(EXIT_BEFORE_EXEC);
  }
  int code = errno;
  close(pair[1]);
  if (pid < 0) {
    close(pair[0]);
    return refuse(client, request, code, "fork");
  }
  launcher->launches[launcher->launch_count++] = (struct launch){pair[0], request, client};
}

static void handle_frame(struct launcher *launcher, struct client *client, uint16_t type, struct reader *payload) {
  struct buffer answer = {0};
  uint32_t request = read_u32(payload);
  bool complete = true;
  switch (type) {
    case FRAME_HELLO:
      complete = append_u32(&answer, request) && append_u32(&answer, PROTOCOL_VERSION) &&
                 append_u32(&answer, (uint32_t)getpid()) && append_frame(&client->out, FRAME_OK, answer.data, answer.end);
      break;
    case FRAME_LAUNCH:
      fork_child(launcher, client, request, payload, run_shim);
      break;
    case FRAME_REMOVE:
      fork_child(launcher, client, request, payload, run_removal);
      break;
    case FRAME_SHUTDOWN:
      launcher->leaving = true;
      complete = append_u32(&answer, request) && append_frame(&client->out, FRAME_OK, answer.data, answer.end);
      break;
    default:
      refuse(client, request, ENOSYS, "unknown request");
  }
  buffer_free(&answer);
  if (!complete) client->dead = true;
}

static void write_client(struct client *client) {
  while (buffer_length(&client->out) > 0) {
    ssize_t written = send(client->fd, client->out.data + client->out.start, buffer_length(&client->out), MSG_NOSIGNAL);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno != EAGAIN) client->dead = true;
    if (written < 0) return;
    buffer_consume(&client->out, (size_t)written);
  }
}

static void read_client(struct launcher *launcher, struct client *client) {
  uint8_t *room = buffer_reserve(&client->in, READ_BYTES);
  ssize_t length = room ? read(client->fd, room, READ_BYTES) : -1;
  if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR)) client->dead = true;
  if (length > 0) client->in.end += (size_t)length;
  while (!client->dead) {
    uint16_t type = 0;
    struct reader payload;
    size_t total = 0;
    enum frame_state state = peek_frame(&client->in, &type, &payload, &total);
    if (state == FRAME_TOO_LONG) client->dead = true;
    if (state != FRAME_COMPLETE) break;
    handle_frame(launcher, client, type, &payload);
    buffer_consume(&client->in, total);
  }
  if (buffer_length(&client->in) == 0) buffer_free(&client->in);
}

static void accept_client(struct launcher *launcher) {
  int fd = accept4(launcher->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  for (int i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
    if (launcher->clients[i]) continue;
    launcher->clients[i] = calloc(1, sizeof *launcher->clients[i]);
    if (!launcher->clients[i]) break;
    launcher->clients[i]->fd = fd;
    return;
  }
  if (fd >= 0) close(fd);
}

/* The shim's answer is a frame already. No answer: the shim died, which only memory or somebody's kill can do. */
static void finish_launch(struct launcher *launcher, size_t index) {
  struct launch *launch = &launcher->launches[index];
  uint8_t answer[ANSWER_BYTES_MAX];
  ssize_t length = recv(launch->result, answer, sizeof answer, 0);
  if (launch->client && length > 0 && !buffer_append(&launch->client->out, answer, (size_t)length)) launch->client->dead = true;
  if (launch->client && length <= 0) refuse(launch->client, launch->request, 0, "it died before it answered");
  close(launch->result);
  *launch = launcher->launches[--launcher->launch_count];
}

static void sweep_clients(struct launcher *launcher) {
  for (int i = 0; i < CLIENTS_MAX; i++) {
    struct client *client = launcher->clients[i];
    if (!client || !client->dead) continue;
    for (size_t l = 0; l < launcher->launch_count; l++) {
      if (launcher->launches[l].client == client) launcher->launches[l].client = NULL;
    }
    close(client->fd);
    buffer_free(&client->in);
    buffer_free(&client->out);
    free(client);
    launcher->clients[i] = NULL;
  }
}

static bool has_answers(const struct launcher *launcher) {
  for (int i = 0; i < CLIENTS_MAX; i++) {
    if (launcher->clients[i] && buffer_length(&launcher->clients[i]->out) > 0) return true;
  }
  return launcher->launch_count > 0;
}

static void serve_once(struct launcher *launcher) {
  static struct pollfd fds[1 + CLIENTS_MAX + LAUNCHES_MAX];
  size_t launches = launcher->launch_count;
  fds[0] = (struct pollfd){.fd = launcher->listener, .events = POLLIN};
  for (int i = 0; i < CLIENTS_MAX; i++) {
    struct client *client = launcher->clients[i];
    short events = client && buffer_length(&client->out) > 0 ? POLLIN | POLLOUT : POLLIN;
    fds[1 + i] = (struct pollfd){.fd = client ? client->fd : -1, .events = events};
  }
  for (size_t i = 0; i < launches; i++) fds[1 + CLIENTS_MAX + i] = (struct pollfd){.fd = launcher->launches[i].result, .events = POLLIN};
  if (poll(fds, 1 + CLIENTS_MAX + launches, -1) < 0) return;
  /* From the end: a finished launch is replaced by the last one, which has been looked at. */
  for (size_t i = launches; i > 0; i--) {
    if (fds[CLIENTS_MAX + i].revents) finish_launch(launcher, i - 1);
  }
  for (int i = 0; i < CLIENTS_MAX; i++) {
    struct client *client = launcher->clients[i];
    if (client && fds[1 + i].revents & (POLLIN | POLLHUP | POLLERR)) read_client(launcher, client);
    if (client && !client->dead) write_client(client);
  }
  if (fds[0].revents) accept_client(launcher);
  sweep_clients(launcher);
}

/* The lock, not the socket file, says whether a launcher lives: it goes with the process, however that ends. */
static int lock_socket(const char *path, struct error *err) {
  char lock_path[sizeof((struct sockaddr_un *)0)->sun_path + 8];
  snprintf(lock_path, sizeof lock_path, "%s.lock", path);
  autoclose int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return fail(err, errno, "open %s", lock_path);
  if (flock(fd, LOCK_EX | LOCK_NB) < 0) return fail(err, errno, "a launcher runs already on %s", path);
  return keep_descriptor(&fd);
}

static int listen_on(const char *path, struct error *err) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return fail(err, ENAMETOOLONG, "launcher socket %s", path);
  strcpy(address.sun_path, path);
  if (lock_socket(path, err) < 0) return -1;
  autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail(err, errno, "make the launcher socket");
  unlink(path);
  umask(0177);
  int bound = bind(fd, (struct sockaddr *)&address, sizeof address);
  umask(022);
  if (bound < 0 || listen(fd, BACKLOG) < 0) return fail(err, errno, "listen on %s", path);
  return keep_descriptor(&fd);
}

int run_launcher(const char *socket_path, struct error *err) {
  static struct launcher launcher;
  signal(SIGPIPE, SIG_IGN);
  /* Shims are never waited for: they report by themselves. */
  signal(SIGCHLD, SIG_IGN);
  launcher.listener = listen_on(socket_path, err);
  if (launcher.listener < 0) return -1;
  autoclose int hurry = hurry_joins();
  while (!launcher.leaving || has_answers(&launcher)) serve_once(&launcher);
  unlink(socket_path);
  return 0;
}

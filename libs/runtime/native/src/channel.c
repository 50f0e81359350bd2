#include "channel.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

struct packet {
  int message;
  /* With HOOKED. */
  pid_t pid;
  struct error error;
};

enum { PLAIN_BYTES = offsetof(struct packet, error) };

static int send_packet(int channel, const struct packet *packet, size_t length, int fd) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct iovec data = {(void *)(uintptr_t)packet, length};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
  if (fd >= 0) {
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  return sendmsg(channel, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

int channel_send(int channel, enum channel_message message, int fd) {
  struct packet packet = {.message = message};
  return send_packet(channel, &packet, PLAIN_BYTES, fd);
}

int channel_send_error(int channel, const struct error *error) {
  struct packet packet = {CHANNEL_ERROR, 0, *error};
  return send_packet(channel, &packet, sizeof packet, -1);
}

int channel_send_hooked(int channel, pid_t pid) {
  struct packet packet = {.message = CHANNEL_HOOKED, .pid = pid};
  return send_packet(channel, &packet, PLAIN_BYTES, -1);
}

static int receive(int channel, struct packet *packet, int *fd, struct error *error) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec data = {packet, sizeof *packet};
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t length;
  /*
   * A peer that ended with messages unread leaves a reset behind, which the kernel tells before the last words that are
   * still in the queue: those come with the next call.
   */
  bool reset = false;
  do {
    length = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    if (length >= 0 || (errno != EINTR && (errno != ECONNRESET || reset))) break;
    reset = errno == ECONNRESET;
  } while (true);
  if (length < 0) return -1;
  if (length == 0) return CHANNEL_END;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  *fd = -1;
  if (header && header->cmsg_type == SCM_RIGHTS) memcpy(fd, CMSG_DATA(header), sizeof *fd);
  if (packet->message == CHANNEL_ERROR) {
    *error = packet->error;
    error->step[sizeof error->step - 1] = 0;
  }
  return packet->message;
}

int channel_receive(int channel, int *fd, struct error *error) {
  struct packet packet = {0};
  return receive(channel, &packet, fd, error);
}

pid_t channel_await_hooked(int channel, struct error *error) {
  struct packet packet = {0};
  int fd = -1;
  if (receive(channel, &packet, &fd, error) == CHANNEL_HOOKED) return packet.pid;
  return fail(error, EPIPE, "the keeper is gone");
}

#include "console.h"

#include "../cleanup.h"
#include "../kernel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>

enum { COPY_BYTES = 16384, EXIT_SIGNAL_BASE = 128 };

static sigset_t held;

int send_console(const char *socket_path, int master, struct error *err) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char name[] = "/dev/ptmx";
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct iovec data = {name, sizeof name - 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  if (strlen(socket_path) >= sizeof address.sun_path) return fail(err, ENAMETOOLONG, "console socket %s", socket_path);
  strcpy(address.sun_path, socket_path);
  autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    return fail(err, errno, "connect to console socket %s", socket_path);
  }
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof master);
  memcpy(CMSG_DATA(header), &master, sizeof master);
  if (sendmsg(fd, &message, MSG_NOSIGNAL) < 0) return fail(err, errno, "send the terminal to %s", socket_path);
  return 0;
}

void hold_signals(void) {
  sigfillset(&held);
  sigdelset(&held, SIGSEGV);
  sigdelset(&held, SIGABRT);
  sigprocmask(SIG_BLOCK, &held, NULL);
}

static void fit_terminal(int master) {
  struct winsize size;
  if (ioctl(0, TIOCGWINSZ, &size) == 0) ioctl(master, TIOCSWINSZ, &size);
}

static void pass_signal(int signals, const struct process *process) {
  struct signalfd_siginfo info;
  if (read(signals, &info, sizeof info) != sizeof info || info.ssi_signo == SIGCHLD) return;
  if (info.ssi_signo == SIGWINCH && process->tty) fit_terminal(process->out);
  else sys_pidfd_send_signal(process->pidfd, (int)info.ssi_signo);
}

/* Whether there may be more. */
static bool copy(int from, int to) {
  char data[COPY_BYTES];
  ssize_t length = read(from, data, sizeof data);
  if (length < 0) return errno == EAGAIN || errno == EINTR;
  for (ssize_t done = 0; done < length;) {
    ssize_t written = write(to, data + done, (size_t)(length - done));
    if (written < 0 && errno == EAGAIN) {
      struct pollfd room = {.fd = to, .events = POLLOUT};
      poll(&room, 1, -1);
    } else if (written < 0 && errno != EINTR) {
      return false;
    } else if (written > 0) {
      done += written;
    }
  }
  return length > 0;
}

static int reap(struct process *process) {
  siginfo_t info = {0};
  while (waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED) < 0 && errno == EINTR) continue;
  return info.si_code == CLD_EXITED ? info.si_status : EXIT_SIGNAL_BASE + info.si_status;
}

int wait_for(struct process *process) {
  struct termios before;
  bool raw = process->tty && tcgetattr(0, &before) == 0;
  autoclose int signals = signalfd(-1, &held, SFD_CLOEXEC | SFD_NONBLOCK);
  if (raw) {
    struct termios plain = before;
    cfmakeraw(&plain);
    tcsetattr(0, TCSANOW, &plain);
    fit_terminal(process->out);
  }
  struct pollfd fds[] = {
      {.fd = process->pidfd, .events = POLLIN},
      {.fd = signals, .events = POLLIN},
      {.fd = process->tty ? process->out : -1, .events = POLLIN},
      {.fd = process->tty ? 0 : -1, .events = POLLIN},
  };
  while (!fds[0].revents) {
    if (poll(fds, sizeof fds / sizeof *fds, -1) < 0) continue;
    if (fds[1].revents) pass_signal(signals, process);
    if (fds[2].revents && !copy(process->out, 1)) fds[2].fd = -1;
    if (fds[3].revents && !copy(0, process->in)) fds[3].fd = -1;
  }
  int code = reap(process);
  /* What it wrote last is in the terminal still; a read says EIO, or would wait, at the end. */
  struct pollfd rest = {.fd = process->tty ? process->out : -1, .events = POLLIN};
  while (process->tty && poll(&rest, 1, 0) > 0 && rest.revents & POLLIN && copy(process->out, 1)) continue;
  if (raw) tcsetattr(0, TCSANOW, &before);
  return code;
}

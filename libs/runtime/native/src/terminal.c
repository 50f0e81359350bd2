#include "terminal.h"

#include "cleanup.h"
#include "kernel.h"
#include "paths.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

enum { PTMX_MAJOR = 5, PTMX_MINOR = 2 };

int find_devpts(int root) {
  autoclose int fd = resolve_in_root(root, "dev/pts");
  struct statfs filesystem;
  if (fd < 0 || fstatfs(fd, &filesystem) < 0 || filesystem.f_type != DEVPTS_SUPER_MAGIC) return -1;
  return keep_descriptor(&fd);
}

int resize_terminal(int master, int64_t rows, int64_t columns) {
  struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
  return ioctl(master, TIOCSWINSZ, &size);
}

int make_terminal(int devpts, int64_t rows, int64_t columns, int *master, int *slave, struct error *err) {
  if (devpts < 0) return fail(err, ENODEV, "make a terminal: the container has no devpts on /dev/pts");
  autoclose int fd = sys_openat2(devpts, "ptmx", O_RDWR | O_NOCTTY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) < 0) return fail(err, errno, "make a terminal");
  if (status.st_rdev != makedev(PTMX_MAJOR, PTMX_MINOR)) return fail(err, 0, "make a terminal: ptmx is another device");
  int unlock = 0;
  if (ioctl(fd, TIOCSPTLCK, &unlock) < 0) return fail(err, errno, "unlock the terminal");
  int peer = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (peer < 0) return fail(err, errno, "open the terminal");
  if (rows > 0 && columns > 0) resize_terminal(fd, rows, columns);
  *master = keep_descriptor(&fd);
  *slave = peer;
  return 0;
}

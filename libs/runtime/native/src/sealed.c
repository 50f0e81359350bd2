#include "sealed.h"

#include "cleanup.h"
#include "kernel.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

enum { SEALS = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

static int open_memory_file(void) {
  int fd = memfd_create("enxame-launcher", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  /* Kernels before 6.3 do not know the last flag, and need none. */
  if (fd < 0 && errno == EINVAL) fd = memfd_create("enxame-launcher", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  return fd;
}

int become_sealed(char **argv, struct error *err) {
  autoclose int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (self < 0 || fstat(self, &status) < 0) return fail(err, errno, "open this program");
  int seals = fcntl(self, F_GET_SEALS);
  if (seals >= 0 && (seals & SEALS) == SEALS) return 0;
  autoclose int copy = open_memory_file();
  if (copy < 0) return fail(err, errno, "make a memory file");
  for (off_t left = status.st_size; left > 0;) {
    ssize_t sent = sendfile(copy, self, NULL, (size_t)left);
    if (sent <= 0) return fail(err, sent < 0 ? errno : EIO, "copy this program");
    left -= sent;
  }
  if (fcntl(copy, F_ADD_SEALS, SEALS) < 0) return fail(err, errno, "seal the copy of this program");
  execveat(copy, "", argv, environ, AT_EMPTY_PATH);
  return fail(err, errno, "run the copy of this program");
}

int fill_stdio(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= 2);
  return fd < 0 ? -1 : close(fd);
}

#include "answers.h"
#include "cleanup.h"
#include "kernel.h"
#include "launcher.h"
#include "title.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

enum { SEALS = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, EXIT_USAGE = 2 };

static int open_memory_file(void) {
  int fd = memfd_create("enxame-launcher", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  /* Kernels before 6.3 do not know the last flag, and need none. */
  if (fd < 0 && errno == EINVAL) fd = memfd_create("enxame-launcher", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  return fd;
}

/*
 * A process that enters a container shows its program there as /proc/self/exe; a container must not be able to change
 * it on the node (CVE-2019-5736). So the launcher runs from a copy in memory that nobody can ever write.
 */
static int become_sealed(char **argv, struct error *err) {
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

/* Descriptors 0 to 2 must be taken: a later pipe with such a number would be mixed up with stdio. */
static int fill_stdio(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= 2);
  return fd < 0 ? -1 : close(fd);
}

int main(int argc, char **argv) {
  struct error error = {0};
  if (argc != 2) {
    fprintf(stderr, "usage: enxame-launcher SOCKET\n");
    return EXIT_USAGE;
  }
  if (fill_stdio() == 0 && become_sealed(argv, &error) == 0) {
    sys_close_range(3, ~0U, 0);
    char *socket_path = strdup(argv[1]);
    init_title(argc, argv);
    set_title("enxame-launcher", socket_path ? socket_path : "");
    if (chdir("/") == 0 && socket_path && run_launcher(socket_path, &error) == 0) return 0;
  }
  char words[512];
  describe_error(&error, words, sizeof words);
  fprintf(stderr, "enxame-launcher: %s\n", words);
  return 1;
}

#include "record.h"

#include "../cleanup.h"
#include "../kernel.h"
#include "../paths.h"
#include "cgroup_files.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { ID_LENGTH_MAX = 255, PLAN_BYTES_MAX = 16 << 20 };

const char *const status_names[] = {"creating", "created", "running", "paused", "stopped"};
static const char *const files[] = {"plan", "pid", "start"};

int check_id(const char *id, struct error *err) {
  size_t length = strlen(id);
  bool good = length > 0 && length <= ID_LENGTH_MAX && strcmp(id, ".") && strcmp(id, "..");
  for (size_t i = 0; good && i < length; i++) good = isalnum((unsigned char)id[i]) || strchr("_+-.", id[i]);
  return good ? 0 : fail(err, 0, "container id \"%.100s\" must be of letters, digits and _+-.", id);
}

static int open_folder(const char *root, const char *id) {
  autoclose int parent = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  return parent < 0 ? -1 : openat(parent, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int make_record(const char *root, const char *id, struct record *record, struct error *err) {
  *record = (struct record){.folder = -1, .id = strdup(id)};
  if (check_id(id, err) < 0 || make_directory(root, err) < 0) return -1;
  autoclose int parent = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (parent < 0) return fail(err, errno, "open %s", root);
  if (mkdirat(parent, id, 0711) < 0) {
    if (errno == EEXIST) return fail(err, 0, "container %s exists already", id);
    return fail(err, errno, "make %s/%s", root, id);
  }
  record->folder = openat(parent, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  return record->folder >= 0 ? 0 : fail(err, errno, "open %s/%s", root, id);
}

static int write_whole(int folder, const char *name, const void *data, size_t length) {
  autoclose int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  const char *at = data;
  while (fd >= 0 && length > 0) {
    ssize_t written = write(fd, at, length);
    if (written <= 0) return -1;
    at += written;
    length -= (size_t)written;
  }
  return fd < 0 ? -1 : 0;
}

static int decode(struct record *record, struct error *err) {
  struct reader reader = {record->bytes.data + record->bytes.start, record->bytes.data + record->bytes.end, false};
  return decode_plan(&record->plan, &reader, err);
}

int write_plan(struct record *record, struct buffer *bytes, struct error *err) {
  record->bytes = *bytes;
  *bytes = (struct buffer){0};
  if (write_whole(record->folder, "plan", record->bytes.data + record->bytes.start, buffer_length(&record->bytes)) < 0) {
    return fail(err, errno, "write the plan of %s", record->id);
  }
  return decode(record, err);
}

/* State letter and time of birth of a process: fields 3 and 22 of /proc/PID/stat. */
static bool read_stat(pid_t pid, char *state, unsigned long long *born) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (length <= 0) return false;
  text[length] = 0;
  /* The program's name stands in parentheses and may hold some itself. */
  const char *at = strrchr(text, ')');
  return at && sscanf(at, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", state, born) == 2;
}

int write_pid(struct record *record, pid_t pid, struct error *err) {
  char text[64], state = 0;
  if (!read_stat(pid, &state, &record->born)) return fail(err, ESRCH, "look at process %d", pid);
  record->pid = pid;
  int length = snprintf(text, sizeof text, "%d %llu\n", pid, record->born);
  if (write_whole(record->folder, "pid.new", text, (size_t)length) < 0 ||
      renameat(record->folder, "pid.new", record->folder, "pid") < 0) {
    return fail(err, errno, "write the pid of %s", record->id);
  }
  return 0;
}

static int read_plan(struct record *record, struct error *err) {
  autoclose int fd = openat(record->folder, "plan", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) < 0) return fail(err, errno, "read the plan of %s", record->id);
  if (status.st_size > PLAN_BYTES_MAX) return fail(err, EFBIG, "read the plan of %s", record->id);
  uint8_t *room = buffer_reserve(&record->bytes, (size_t)status.st_size);
  if (!room) return fail(err, ENOMEM, "read the plan of %s", record->id);
  ssize_t length = read(fd, room, (size_t)status.st_size);
  if (length != status.st_size) return fail(err, length < 0 ? errno : EIO, "read the plan of %s", record->id);
  record->bytes.end += (size_t)length;
  return decode(record, err);
}

static void read_pid(struct record *record) {
  char text[64];
  autoclose int fd = openat(record->folder, "pid", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (length <= 0) return;
  text[length] = 0;
  if (sscanf(text, "%d %llu", &record->pid, &record->born) != 2) record->pid = 0;
}

int load_record(const char *root, const char *id, struct record *record, struct error *err) {
  *record = (struct record){.folder = -1, .id = strdup(id)};
  if (check_id(id, err) < 0) return -1;
  record->folder = open_folder(root, id);
  if (record->folder < 0 && errno == ENOENT) return fail(err, 0, "container %s does not exist", id);
  if (record->folder < 0) return fail(err, errno, "open %s/%s", root, id);
  read_pid(record);
  return read_plan(record, err);
}

static bool is_alive(const struct record *record) {
  char state = 0;
  unsigned long long born = 0;
  return record->pid > 0 && read_stat(record->pid, &state, &born) && born == record->born && state != 'Z' && state != 'X';
}

enum status status_of(const struct record *record) {
  if (record->pid == 0) return STATUS_CREATING;
  if (!is_alive(record)) return STATUS_STOPPED;
  if (faccessat(record->folder, "start", F_OK, AT_SYMLINK_NOFOLLOW) == 0) return STATUS_CREATED;
  return is_frozen(&record->plan) ? STATUS_PAUSED : STATUS_RUNNING;
}

int open_first_process(const struct record *record) {
  autoclose int pidfd = record->pid > 0 ? (int)syscall(SYS_pidfd_open, record->pid, 0) : -1;
  /* Looked at after it was opened: what is open cannot become another process. */
  return pidfd >= 0 && is_alive(record) ? keep_descriptor(&pidfd) : -1;
}

int remove_record(const char *root, struct record *record, struct error *err) {
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    if (unlinkat(record->folder, files[i], 0) < 0 && errno != ENOENT) return fail(err, errno, "remove %s of %s", files[i], record->id);
  }
  unlinkat(record->folder, "pid.new", 0);
  autoclose int parent = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (parent < 0 || unlinkat(parent, record->id, AT_REMOVEDIR) < 0) return fail(err, errno, "remove %s/%s", root, record->id);
  return 0;
}

void close_record(struct record *record) {
  free_plan(&record->plan);
  buffer_free(&record->bytes);
  close_descriptor(&record->folder);
  free(record->id);
  record->id = NULL;
}

void set_start_address(const struct record *record, struct sockaddr_un *address) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/start", record->folder);
}

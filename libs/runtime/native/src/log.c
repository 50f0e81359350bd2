#include "log.h"

#include "cleanup.h"
#include "json.h"
#include "kernel.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { FILE_BYTES_MIN = 4096, FILES_MAX = 1000, TIME_BYTES = 48 };

static int open_file(struct log *log) {
  log->fd = open(log->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
  struct stat status;
  if (log->fd < 0 || fstat(log->fd, &status) < 0) return -1;
  log->size = (uint64_t)status.st_size;
  return 0;
}

/* A keeper that was killed while it wrote may have left half a record: it gets a line of its own. */
static void end_torn_record(struct log *log) {
  char last = '\n';
  if (log->size == 0 || pread(log->fd, &last, 1, (off_t)log->size - 1) != 1 || last == '\n') return;
  if (write(log->fd, "\n", 1) == 1) log->size++;
}

int open_log(struct log *log, const struct plan *plan, struct error *err) {
  const struct operation *wanted = find_operation(plan, OP_LOG);
  *log = (struct log){.fd = -1};
  if (!wanted) return 0;
  if (strlen(wanted->log.path) + 16 > PATH_MAX) return fail(err, ENAMETOOLONG, "log %.100s", wanted->log.path);
  log->path = strdup(wanted->log.path);
  if (!log->path) return fail(err, ENOMEM, "open the log");
  int64_t bytes = wanted->log.file_bytes_max, files = wanted->log.files_max;
  log->file_bytes_max = bytes < FILE_BYTES_MIN ? FILE_BYTES_MIN : (uint64_t)bytes;
  log->files_max = files < 1 ? 1 : files > FILES_MAX ? FILES_MAX : (unsigned)files;
  if (open_file(log) < 0) return fail(err, errno, "open log %s", log->path);
  end_torn_record(log);
  return 0;
}

static void rename_file(const struct log *log, unsigned from, unsigned to) {
  char old_path[PATH_MAX], new_path[PATH_MAX];
  snprintf(new_path, sizeof new_path, "%s.%u", log->path, to);
  if (from == 0) snprintf(old_path, sizeof old_path, "%s", log->path);
  else snprintf(old_path, sizeof old_path, "%s.%u", log->path, from);
  rename(old_path, new_path);
}

static void rotate(struct log *log) {
  if (log->files_max == 1) {
    if (ftruncate(log->fd, 0) == 0) log->size = 0;
    return;
  }
  for (unsigned number = log->files_max - 1; number > 0; number--) rename_file(log, number - 1, number);
  close_descriptor(&log->fd);
  open_file(log);
}

static void write_pending(struct log *log, size_t length) {
  const uint8_t *data = log->pending.data + log->pending.start;
  if (log->fd < 0) open_file(log);
  size_t done = 0;
  while (log->fd >= 0 && done < length) {
    ssize_t written = write(log->fd, data + done, length - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    done += (size_t)written;
  }
  if (done < length) {
    /* The disk is full: whole records stay, of the last one nothing does. */
    const uint8_t *newline = done > 0 ? memrchr(data, '\n', done) : NULL;
    done = newline ? (size_t)(newline - data) + 1 : 0;
    if (log->fd >= 0 && ftruncate(log->fd, (off_t)(log->size + done)) < 0) close_descriptor(&log->fd);
  }
  log->size += done;
}

static void format_time(char text[TIME_BYTES]) {
  struct timespec now;
  struct tm fields;
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &fields);
  size_t length = strftime(text, TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &fields);
  snprintf(text + length, TIME_BYTES - length, ".%09ldZ", now.tv_nsec);
}

static void append_record(struct log *log, enum log_stream stream, const uint8_t *line, size_t length) {
  static const char *const names[] = {"stdout", "stderr"};
  char time_text[TIME_BYTES], tail[TIME_BYTES + 40];
  size_t before = buffer_length(&log->pending);
  format_time(time_text);
  int tail_length = snprintf(tail, sizeof tail, "\",\"stream\":\"%s\",\"time\":\"%s\"}\n", names[stream], time_text);
  if (!buffer_append(&log->pending, "{\"log\":\"", 8) || !append_json(&log->pending, line, length) ||
      !buffer_append(&log->pending, tail, (size_t)tail_length)) {
    log->pending.end = log->pending.start + before;
    return;
  }
  if (log->size + buffer_length(&log->pending) <= log->file_bytes_max || log->size + before == 0) return;
  if (before > 0) write_pending(log, before);
  log->pending.start += before;
  rotate(log);
}

static void flush(struct log *log) {
  size_t length = buffer_length(&log->pending);
  if (length == 0) return;
  write_pending(log, length);
  buffer_consume(&log->pending, length);
}

void log_output(struct log *log, enum log_stream stream, const uint8_t *data, size_t length) {
  if (!log->path) return;
  struct buffer *line = &log->lines[stream];
  while (length > 0) {
    const uint8_t *newline = memchr(data, '\n', length);
    size_t take = newline ? (size_t)(newline - data) + 1 : length;
    size_t room = LINE_BYTES_MAX - buffer_length(line);
    bool cut = take > room;
    if (cut) take = room;
    if (!buffer_append(line, data, take)) return;
    data += take;
    length -= take;
    if (!cut && !newline) break;
    size_t whole = cut ? whole_characters(line->data + line->start, buffer_length(line)) : buffer_length(line);
    append_record(log, stream, line->data + line->start, whole);
    buffer_consume(line, whole);
  }
  flush(log);
}

void finish_log(struct log *log) {
  if (!log->path) return;
  for (int stream = 0; stream < 2; stream++) {
    struct buffer *line = &log->lines[stream];
    if (buffer_length(line) > 0) append_record(log, stream, line->data + line->start, buffer_length(line));
    buffer_free(line);
  }
  flush(log);
  close_descriptor(&log->fd);
}

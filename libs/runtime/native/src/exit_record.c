#include "exit_record.h"

#include "cleanup.h"
#include "json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static bool append_text(struct buffer *text, const char *more) {
  return buffer_append(text, more, strlen(more));
}

static bool encode(struct buffer *text, const struct exit_record *record) {
  char number[200];
  snprintf(number, sizeof number, "{\"exitCode\":%d,\"oomKilled\":%s,\"finishedAtMs\":%lld", record->exit_code,
           record->oom_killed ? "true" : "false", (long long)record->finished_ms);
  if (!append_text(text, number)) return false;
  snprintf(number, sizeof number, ",\"signal\":%d", record->signal);
  if (record->signal && !append_text(text, number)) return false;
  if (*record->error) {
    if (!append_text(text, ",\"error\":\"")) return false;
    if (!append_json(text, (const uint8_t *)record->error, strlen(record->error)) || !append_text(text, "\"")) return false;
  }
  return append_text(text, "}\n");
}

int write_exit_record(const char *path, const struct exit_record *record) {
  char temporary[PATH_MAX];
  struct buffer text = {0};
  if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary) {
    errno = ENAMETOOLONG;
    return -1;
  }
  if (!encode(&text, record)) {
    buffer_free(&text);
    errno = ENOMEM;
    return -1;
  }
  autoclose int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ssize_t written = fd < 0 ? -1 : write(fd, text.data + text.start, buffer_length(&text));
  bool whole = written >= 0 && (size_t)written == buffer_length(&text);
  if (written >= 0 && !whole) errno = ENOSPC;
  buffer_free(&text);
  if (!whole) return -1;
  return rename(temporary, path);
}

/*
 * The container's log in Docker's json-file format, one object a line:
 *   {"log":"text\n","stream":"stdout","time":"2026-01-31T12:00:00.123456789Z"}
 * A line over LINE_BYTES_MAX comes in parts, all but the last without "\n". Full files become PATH.1, PATH.2, ...
 */
#ifndef ENXAME_LOG_H
#define ENXAME_LOG_H

#include "plan.h"

enum { LINE_BYTES_MAX = 16384 };

enum log_stream { LOG_STDOUT = 0, LOG_STDERR = 1 };

struct log {
  char *path;
  int fd;
  uint64_t size;
  uint64_t file_bytes_max;
  unsigned files_max;
  /* The line each stream is in. */
  struct buffer lines[2];
  /* Encoded, not yet written. */
  struct buffer pending;
};

/* Without a log operation nothing is kept, and every call below does nothing. */
int open_log(struct log *log, const struct plan *plan, struct error *err);
/* Never fails: what a full disk cannot take is lost, the container goes on, and no half record is left. */
void log_output(struct log *log, enum log_stream stream, const uint8_t *data, size_t length);
/* The unfinished lines too. */
void finish_log(struct log *log);

#endif

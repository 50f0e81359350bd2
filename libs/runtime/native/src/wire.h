/*
 * Frames of the launcher's and the shims' sockets. All numbers are little endian.
 *
 *   0        4       6       8
 *   | length | type  | zero  | payload: `length` bytes
 *
 * A string is u32 length, bytes, and a NUL that is not counted, so that C may point into the frame.
 */
#ifndef ENXAME_WIRE_H
#define ENXAME_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAME_HEADER_BYTES = 8, FRAME_BYTES_MAX = 4 << 20, PROTOCOL_VERSION = 1 };

enum frame_type {
  /* To the launcher; each begins with a u32 request id that the answer repeats. */
  FRAME_HELLO = 1,
  FRAME_LAUNCH = 2,
  FRAME_SHUTDOWN = 3,
  FRAME_REMOVE = 4,
  /* To a shim. */
  FRAME_STATUS = 16,
  FRAME_START = 17,
  FRAME_SIGNAL = 18,
  FRAME_RESIZE = 19,
  FRAME_WAIT = 20,
  FRAME_ATTACH = 21,
  FRAME_EXEC = 22,
  FRAME_STDIN = 23,
  FRAME_STDIN_END = 24,
  /* Answers. */
  FRAME_OK = 32,
  FRAME_FAILED = 33,
  FRAME_STARTED = 34,
  FRAME_STATE = 35,
  FRAME_STDOUT = 36,
  FRAME_STDERR = 37,
  FRAME_EXIT = 38,
};

/* Reads a payload. After a read past the end `bad` is set and every value is 0 or "". */
struct reader {
  const uint8_t *at;
  const uint8_t *end;
  bool bad;
};

uint16_t read_u16(struct reader *reader);
uint32_t read_u32(struct reader *reader);
uint64_t read_u64(struct reader *reader);
/* Without a NUL inside: kernel interfaces would cut it there. */
const char *read_string(struct reader *reader);
const uint8_t *read_bytes(struct reader *reader, uint32_t *length);

/* Bytes [start, end) of an allocation that grows. Empty costs nothing. */
struct buffer {
  uint8_t *data;
  size_t start;
  size_t end;
  size_t capacity;
};

static inline size_t buffer_length(const struct buffer *buffer) {
  return buffer->end - buffer->start;
}

/* Room for `count` more bytes, or NULL when there is no memory. The caller moves `end`. */
uint8_t *buffer_reserve(struct buffer *buffer, size_t count);
bool buffer_append(struct buffer *buffer, const void *data, size_t count);
void buffer_consume(struct buffer *buffer, size_t count);
void buffer_free(struct buffer *buffer);

bool append_u32(struct buffer *buffer, uint32_t value);
bool append_u64(struct buffer *buffer, uint64_t value);
bool append_string(struct buffer *buffer, const char *text);
/* A whole frame. */
bool append_frame(struct buffer *buffer, enum frame_type type, const void *payload, size_t length);

enum frame_state { FRAME_PARTIAL, FRAME_COMPLETE, FRAME_TOO_LONG };

/* Looks at the frame at the start of `buffer` without consuming it. */
enum frame_state peek_frame(const struct buffer *buffer, uint16_t *type, struct reader *payload, size_t *total);

#endif

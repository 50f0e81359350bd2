#include "wire.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t *take(struct reader *reader, size_t count) {
  if (reader->bad || (size_t)(reader->end - reader->at) < count) {
    reader->bad = true;
    return NULL;
  }
  const uint8_t *at = reader->at;
  reader->at += count;
  return at;
}

uint16_t read_u16(struct reader *reader) {
  const uint8_t *at = take(reader, 2);
  return at ? (uint16_t)(at[0] | at[1] << 8) : 0;
}

uint32_t read_u32(struct reader *reader) {
  const uint8_t *at = take(reader, 4);
  return at ? (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24 : 0;
}

uint64_t read_u64(struct reader *reader) {
  uint64_t low = read_u32(reader);
  return low | (uint64_t)read_u32(reader) << 32;
}

const uint8_t *read_bytes(struct reader *reader, uint32_t *length) {
  *length = read_u32(reader);
  const uint8_t *at = take(reader, (size_t)*length + 1);
  if (at && at[*length] == 0) return at;
  reader->bad = true;
  *length = 0;
  return (const uint8_t *)"";
}

const char *read_string(struct reader *reader) {
  uint32_t length = 0;
  const uint8_t *at = read_bytes(reader, &length);
  if (memchr(at, 0, length)) {
    reader->bad = true;
    return "";
  }
  return (const char *)at;
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t count) {
  if (buffer->start > 0 && buffer->start == buffer->end) buffer->start = buffer->end = 0;
  if (buffer->capacity - buffer->end >= count) return buffer->data + buffer->end;
  if (buffer->start > 0) {
    memmove(buffer->data, buffer->data + buffer->start, buffer_length(buffer));
    buffer->end -= buffer->start;
    buffer->start = 0;
    if (buffer->capacity - buffer->end >= count) return buffer->data + buffer->end;
  }
  size_t capacity = buffer->capacity ? buffer->capacity : 256;
  while (capacity - buffer->end < count) capacity *= 2;
  uint8_t *data = realloc(buffer->data, capacity);
  if (!data) return NULL;
  buffer->data = data;
  buffer->capacity = capacity;
  return data + buffer->end;
}

bool buffer_append(struct buffer *buffer, const void *data, size_t count) {
  uint8_t *room = buffer_reserve(buffer, count);
  if (!room) return false;
  memcpy(room, data, count);
  buffer->end += count;
  return true;
}

/* An idle connection holds no memory: what is empty is given back. */
void buffer_consume(struct buffer *buffer, size_t count) {
  buffer->start += count;
  if (buffer->start == buffer->end) buffer_free(buffer);
}

void buffer_free(struct buffer *buffer) {
  free(buffer->data);
  *buffer = (struct buffer){0};
}

bool append_u32(struct buffer *buffer, uint32_t value) {
  uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)};
  return buffer_append(buffer, bytes, sizeof bytes);
}

bool append_u64(struct buffer *buffer, uint64_t value) {
  return append_u32(buffer, (uint32_t)value) && append_u32(buffer, (uint32_t)(value >> 32));
}

bool append_string(struct buffer *buffer, const char *text) {
  size_t length = strlen(text);
  return append_u32(buffer, (uint32_t)length) && buffer_append(buffer, text, length + 1);
}

bool append_frame(struct buffer *buffer, enum frame_type type, const void *payload, size_t length) {
  if (!buffer_reserve(buffer, FRAME_HEADER_BYTES + length)) return false;
  return append_u32(buffer, (uint32_t)length) && append_u32(buffer, (uint32_t)type) &&
         (length == 0 || buffer_append(buffer, payload, length));
}

enum frame_state peek_frame(const struct buffer *buffer, uint16_t *type, struct reader *payload, size_t *total) {
  size_t length = buffer_length(buffer);
  if (length < FRAME_HEADER_BYTES) return FRAME_PARTIAL;
  struct reader header = {buffer->data + buffer->start, buffer->data + buffer->start + FRAME_HEADER_BYTES, false};
  uint32_t payload_bytes = read_u32(&header);
  *type = read_u16(&header);
  if (payload_bytes > FRAME_BYTES_MAX) return FRAME_TOO_LONG;
  *total = FRAME_HEADER_BYTES + (size_t)payload_bytes;
  if (length < *total) return FRAME_PARTIAL;
  *payload = (struct reader){header.end, header.end + payload_bytes, false};
  return FRAME_COMPLETE;
}

#include "json.h"

#include <stdio.h>
#include <string.h>

enum { ESCAPED_BYTES_MAX = 6, CHARACTER_BYTES_MAX = 4 };

/* Length of the well-formed character at `text`, 0 when there is none (RFC 3629: no surrogates, nothing overlong). */
static size_t character_length(const uint8_t *text, size_t length) {
  uint8_t first = text[0];
  if (first < 0x80) return 1;
  size_t count = first >= 0xc2 && first <= 0xdf ? 2 : first >= 0xe0 && first <= 0xef ? 3 : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
  if (count == 0 || count > length) return 0;
  uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (text[1] < low || text[1] > high) return 0;
  for (size_t i = 2; i < count; i++) {
    if (text[i] < 0x80 || text[i] > 0xbf) return 0;
  }
  return count;
}

size_t whole_characters(const uint8_t *text, size_t length) {
  for (size_t back = 1; back < CHARACTER_BYTES_MAX && back <= length; back++) {
    uint8_t byte = text[length - back];
    if ((byte & 0xc0) == 0x80) continue;
    size_t needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needs > back ? length - back : length;
  }
  return length;
}

static size_t escape(char *out, uint8_t byte) {
  switch (byte) {
    case '"':
    case '\\':
      out[0] = '\\';
      out[1] = (char)byte;
      return 2;
    case '\n':
      memcpy(out, "\\n", 2);
      return 2;
    case '\r':
      memcpy(out, "\\r", 2);
      return 2;
    case '\t':
      memcpy(out, "\\t", 2);
      return 2;
    default:
      if (byte >= 0x20 && byte != 0x7f) {
        out[0] = (char)byte;
        return 1;
      }
      return (size_t)snprintf(out, ESCAPED_BYTES_MAX + 1, "\\u%04x", byte);
  }
}

bool append_json(struct buffer *buffer, const uint8_t *text, size_t length) {
  static const char replacement[] = "\\ufffd";
  char *out = (char *)buffer_reserve(buffer, length * ESCAPED_BYTES_MAX + 1);
  if (!out) return false;
  size_t written = 0;
  for (size_t i = 0; i < length;) {
    size_t count = character_length(text + i, length - i);
    if (count == 0) {
      memcpy(out + written, replacement, sizeof replacement - 1);
      written += sizeof replacement - 1;
      i++;
    } else if (count == 1) {
      written += escape(out + written, text[i++]);
    } else {
      memcpy(out + written, text + i, count);
      written += count;
      i += count;
    }
  }
  buffer->end += written;
  return true;
}

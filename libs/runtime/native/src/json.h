#ifndef ENXAME_JSON_H
#define ENXAME_JSON_H

#include "wire.h"

/* How many of the `length` bytes do not end inside a UTF-8 character. */
size_t whole_characters(const uint8_t *text, size_t length);
/* Appends the inside of a JSON string; bytes that are no UTF-8 become U+FFFD, as Docker's log does it. */
bool append_json(struct buffer *buffer, const uint8_t *text, size_t length);

#endif

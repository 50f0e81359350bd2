/*
 * Where the archive's bytes come from: stdin, or a file that somebody else still writes. Such a file is descriptor 3;
 * a byte on stdin says that it has grown, a `.` as the last one that it is whole. Stdin's end without that is failure.
 */
#pragma once
#include <stddef.h>

void source_grows(void);
/* At most `room` bytes, fewer when fewer are there; 0 at the end. */
size_t source_read(void *to, size_t room);

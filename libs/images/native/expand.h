/* The archive as plain bytes, whether it is plain, gzip or zstd: its first bytes say which, media types often lie. */
#pragma once
#include <stddef.h>

void expand_open(void);
/* As many bytes as there are, at most `room`; 0 at the end. */
size_t expand_read(unsigned char *to, size_t room);

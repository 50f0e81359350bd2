#include "unpack.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

static char buffer[256 << 10];
static size_t position, filled;

/* False at the end of the input. */
static bool fill(void) {
	for (;;) {
		ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
		if (got < 0 && errno == EINTR) continue;
		if (got < 0) fail_system("cannot read the archive");
		position = 0;
		filled = (size_t)got;
		return got > 0;
	}
}

bool input_read(void *to, size_t length) {
	size_t done = 0;
	while (done < length) {
		if (position == filled && !fill()) {
			if (done == 0) return false;
			fail_archive("the archive ends in the middle of an entry");
		}
		size_t bytes = filled - position < length - done ? filled - position : length - done;
		memcpy((char *)to + done, buffer + position, bytes);
		position += bytes;
		done += bytes;
	}
	return true;
}

void input_skip(int64_t length) {
	while (length > 0) {
		if (position == filled && !fill()) fail_archive("the archive ends in the middle of an entry");
		int64_t bytes = (int64_t)(filled - position) < length ? (int64_t)(filled - position) : length;
		position += (size_t)bytes;
		length -= bytes;
	}
}

void input_copy(int fd, int64_t length, const char *name) {
	while (length > 0) {
		if (position == filled && !fill()) fail_archive("the archive ends in the middle of \"%s\"", name);
		int64_t bytes = (int64_t)(filled - position) < length ? (int64_t)(filled - position) : length;
		ssize_t written = write(fd, buffer + position, (size_t)bytes);
		if (written < 0 && errno == EINTR) continue;
		if (written < 0) fail_system("cannot write \"%s\"", name);
		position += (size_t)written;
		length -= written;
	}
}

void input_drain(void) {
	while (fill()) continue;
}

#include "pack.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

static char buffer[256 << 10];
static size_t filled;

void output_flush(void) {
	size_t done = 0;
	while (done < filled) {
		ssize_t written = write(STDOUT_FILENO, buffer + done, filled - done);
		if (written < 0 && errno == EINTR) continue;
		if (written < 0) fail_system("cannot write the archive");
		done += (size_t)written;
	}
	filled = 0;
}

void output_write(const void *bytes, size_t length) {
	for (size_t done = 0; done < length;) {
		if (filled == sizeof buffer) output_flush();
		size_t part = sizeof buffer - filled < length - done ? sizeof buffer - filled : length - done;
		memcpy(buffer + filled, (const char *)bytes + done, part);
		filled += part;
		done += part;
	}
}

void output_zeros(size_t length) {
	static const char zeros[block_bytes];
	for (; length > sizeof zeros; length -= sizeof zeros) output_write(zeros, sizeof zeros);
	output_write(zeros, length);
}

void output_file(int fd, int64_t length, const char *name) {
	while (length > 0) {
		if (filled == sizeof buffer) output_flush();
		size_t room = sizeof buffer - filled;
		size_t part = (int64_t)room < length ? room : (size_t)length;
		ssize_t got = read(fd, buffer + filled, part);
		if (got < 0 && errno == EINTR) continue;
		if (got < 0) fail_system("cannot read \"%s\"", name);
		if (got == 0) {
			memset(buffer + filled, 0, part);
			got = (ssize_t)part;
		}
		filled += (size_t)got;
		length -= got;
	}
}

/*
 * The archive as plain bytes: a thread of its own reads, decompresses and hashes ahead while the main one writes files.
 *
 *   source.c -> expand.c -> sha256 -> ring of pieces -> input_read() and friends
 */
#include "unpack.h"
#include "expand.h"
#include "sha256.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum {
	piece_bytes = 256 << 10,
	pieces = 8,
};

static struct {
	unsigned char bytes[piece_bytes];
	size_t length;
} ring[pieces];
/* Pieces that were ever put in and taken out; the difference is what the ring holds. */
static size_t put_count, taken_count;
static bool ended;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static pthread_t reader;
static struct sha256 hash;
static int64_t bytes_left;

/* The piece that is being read by the main thread. */
static const unsigned char *piece;
static size_t position, filled;

static void *read_ahead(void *unused) {
	(void)unused;
	for (;;) {
		pthread_mutex_lock(&lock);
		while (put_count - taken_count == pieces) pthread_cond_wait(&changed, &lock);
		size_t slot = put_count % pieces;
		pthread_mutex_unlock(&lock);

		size_t length = expand_read(ring[slot].bytes, piece_bytes);
		sha256_add(&hash, ring[slot].bytes, length);
		if ((int64_t)length > bytes_left) fail_archive("it unpacks to more bytes than are allowed");
		bytes_left -= (int64_t)length;

		pthread_mutex_lock(&lock);
		ring[slot].length = length;
		if (length) put_count++;
		else ended = true;
		pthread_cond_signal(&changed);
		pthread_mutex_unlock(&lock);
		if (!length) return NULL;
	}
}

void input_open(int64_t bytes_max) {
	bytes_left = bytes_max;
	sha256_begin(&hash);
	expand_open();
	if (pthread_create(&reader, NULL, read_ahead, NULL) != 0) fail_system("cannot start a thread");
}

/* False at the end of the input. */
static bool fill(void) {
	pthread_mutex_lock(&lock);
	if (piece) taken_count++;
	piece = NULL;
	pthread_cond_signal(&changed);
	while (put_count == taken_count && !ended) pthread_cond_wait(&changed, &lock);
	bool more = put_count != taken_count;
	if (more) piece = ring[taken_count % pieces].bytes;
	filled = more ? ring[taken_count % pieces].length : 0;
	position = 0;
	pthread_mutex_unlock(&lock);
	return more;
}

size_t input_read_some(void *to, size_t length) {
	size_t done = 0;
	while (done < length) {
		if (position == filled && !fill()) break;
		size_t bytes = filled - position < length - done ? filled - position : length - done;
		memcpy((char *)to + done, piece + position, bytes);
		position += bytes;
		done += bytes;
	}
	return done;
}

bool input_read(void *to, size_t length) {
	size_t done = input_read_some(to, length);
	if (done != length && done != 0) fail_archive("the archive ends in the middle of an entry");
	return done == length;
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
		ssize_t written = write(fd, piece + position, (size_t)bytes);
		if (written < 0 && errno == EINTR) continue;
		if (written < 0) fail_system("cannot write \"%s\"", name);
		position += (size_t)written;
		length -= written;
	}
}

void input_finish(char digest[65]) {
	while (fill()) continue;
	pthread_join(reader, NULL);
	sha256_end(&hash, digest);
}

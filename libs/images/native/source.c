#include "source.h"
#include "unpack.h"
#include <errno.h>
#include <unistd.h>

enum {
	/* Where the caller opened the growing file. */
	growing_fileno = 3,
	/* On stdin, after any number of other bytes: what the file has now is all. */
	all_is_there = '.',
};

static int archive = STDIN_FILENO;
static bool growing;

void source_grows(void) {
	archive = growing_fileno;
	growing = true;
}

/* Waits for word that the file has grown. Words are dropped unread only after the file was read to its end. */
static void await_word(void) {
	char words[4096];
	ssize_t got = read(STDIN_FILENO, words, sizeof words);
	if (got < 0 && errno == EINTR) return;
	if (got < 0) fail_system("cannot hear how the archive grows");
	if (got == 0) fail_archive("it did not arrive whole");
	if (words[got - 1] == all_is_there) growing = false;
}

size_t source_read(void *to, size_t room) {
	for (;;) {
		/* Asked before the file is read: what it grows by meanwhile is read in the next round. */
		bool whole = !growing;
		ssize_t got = read(archive, to, room);
		if (got < 0 && errno == EINTR) continue;
		if (got < 0) fail_system("cannot read the archive");
		if (got > 0 || whole) return (size_t)got;
		await_word();
	}
}

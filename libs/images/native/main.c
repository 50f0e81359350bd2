#define _GNU_SOURCE
#include "pack.h"
#include "source.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
/* The leak check needs /proc, which chroot leaves behind. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
	return "detect_leaks=0";
}
#endif

/* Names in messages come from the archive: control characters would forge log lines. */
static void print_message(const char *format, va_list arguments, const char *reason) {
	char line[1024];
	vsnprintf(line, sizeof line, format, arguments);
	for (char *at = line; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f) *at = '?';
	fprintf(stderr, "%s%s%s\n", line, reason ? ": " : "", reason ? reason : "");
}

void fail_archive(const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	print_message(format, arguments, NULL);
	va_end(arguments);
	exit(exit_bad_archive);
}

void fail_system(const char *format, ...) {
	int error = errno;
	va_list arguments;
	va_start(arguments, format);
	print_message(format, arguments, strerror(error));
	va_end(arguments);
	exit(error == ENOSPC || error == EDQUOT ? exit_no_space : exit_system);
}

static int unpack_layer(const char *folder, const char *bytes_max) {
	static struct entry entry;
	long long entries = 0, bytes = 0;
	char digest[65];
	int64_t limit = parse_decimal(bytes_max, bytes_max + strlen(bytes_max), "the limit of bytes");
	tree_open(folder);
	input_open(limit);
	while (tar_next(&entry)) {
		if (++entries > entries_max) fail_archive("the layer has more than %d entries", entries_max);
		if (entry.type == '0') bytes += entry.size;
		tree_write(&entry);
	}
	input_finish(digest);
	tree_finish();
	printf("%lld %lld %s\n", entries, bytes, digest);
	return 0;
}

/* Everything of the folder's file system is on the disk when this returns. */
static int sync_folder(const char *path) {
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0 || syncfs(folder) < 0) fail_system("cannot write \"%s\" to the disk", path);
	close(folder);
	return 0;
}

int main(int argc, char **argv) {
	/* Nobody waits for the result of an orphan, and its successor cleans up after it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	umask(0);
	bool growing = argc == 4 && strcmp(argv[1], "growing") == 0;
	/* What whoever started the agent left open is none of ours; a file that grows is descriptor 3. */
	syscall(SYS_close_range, growing ? 4 : 3, ~0U, 0);
	if (argc == 4 && strcmp(argv[1], "layer") == 0) return unpack_layer(argv[2], argv[3]);
	if (growing) {
		source_grows();
		return unpack_layer(argv[2], argv[3]);
	}
	if (argc == 3 && strcmp(argv[1], "sync") == 0) return sync_folder(argv[2]);
	if (argc == 3 && strcmp(argv[1], "remove") == 0) return remove_folder(argv[2]);
	if (argc == 3 && strcmp(argv[1], "pack") == 0) return pack_layer(argv[2]);
	int paths = 2;
	while (paths < argc && strcmp(argv[paths], "--") != 0) paths++;
	if (paths > 2 && paths + 2 == argc && strcmp(argv[1], "tree") == 0) return pack_tree(argv + 2, paths - 2, argv[paths + 1]);
	if (paths > 2 && paths + 1 < argc && strcmp(argv[1], "lookup") == 0) return lookup_paths(argv + 2, paths - 2, argv + paths + 1, argc - paths - 1);
	fprintf(stderr, "usage: enxame-unpack remove|pack|sync FOLDER\n       enxame-unpack layer|growing FOLDER BYTES\n       enxame-unpack tree|lookup LAYER... -- PATH...\n");
	return exit_usage;
}

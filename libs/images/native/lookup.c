#define _GNU_SOURCE
#include "pack.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool look(int root, const char *path, struct stat *status) {
	struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	int fd = (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return false;
	if (fd < 0 || fstat(fd, status) < 0) fail_system("cannot look at \"%s\"", path);
	close(fd);
	return true;
}

static void tell(const char *path, const struct stat *status) {
	char type = S_ISDIR(status->st_mode) ? 'd' : S_ISREG(status->st_mode) ? 'f' : 'o';
	printf("%c %o %u %u %lld %s", type, status->st_mode & 07777, status->st_uid, status->st_gid, (long long)status->st_mtime, path);
	putchar(0);
}

/* For each path: a record for every name on the resolved way that exists, then one `> RESOLVED`. */
int lookup_paths(char **layers, int count, char **paths, int path_count) {
	int root = merged_open(layers, count);
	for (int i = 0; i < path_count; i++) {
		char resolved[path_bytes_max], part[path_bytes_max];
		struct stat status;
		merged_resolve(root, paths[i], resolved);
		for (size_t at = 0; at < strlen(resolved); at++) {
			size_t length = at + strcspn(resolved + at, "/");
			memcpy(part, resolved, length);
			part[length] = 0;
			if (!look(root, part, &status)) break;
			tell(part, &status);
			at = length;
		}
		printf("> %s", resolved);
		putchar(0);
	}
	return 0;
}

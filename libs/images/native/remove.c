#define _GNU_SOURCE
#include "unpack.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned moved_count;

static bool is_dots(const char *name) {
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/*
 * Unlinks the files of one folder and moves its folders up into `trash`: the tree gets flat instead of the stack
 * getting deep, and no path ever gets long. Returns whether there was anything.
 */
static bool flatten(int folder, int trash) {
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	if (!list) fail_system("cannot list a folder");
	bool found = false;
	for (struct dirent *item; (item = readdir(list));) {
		if (is_dots(item->d_name)) continue;
		found = true;
		if (unlinkat(folder, item->d_name, 0) == 0) continue;
		if (errno != EISDIR) fail_system("cannot remove \"%s\"", item->d_name);
		if (unlinkat(folder, item->d_name, AT_REMOVEDIR) == 0) continue;
		if (errno != ENOTEMPTY && errno != EEXIST) fail_system("cannot remove \"%s\"", item->d_name);
		/* A folder of the trash itself is taken apart where it is. */
		if (folder == trash) {
			int inner = openat(folder, item->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (inner < 0) fail_system("cannot open \"%s\"", item->d_name);
			flatten(inner, trash);
			close(inner);
			if (unlinkat(folder, item->d_name, AT_REMOVEDIR) < 0) fail_system("cannot remove \"%s\"", item->d_name);
			continue;
		}
		for (;;) {
			char name[32];
			snprintf(name, sizeof name, "moved-%u", moved_count++);
			if (renameat2(folder, item->d_name, trash, name, RENAME_NOREPLACE) == 0) break;
			if (errno != EEXIST) fail_system("cannot move \"%s\"", item->d_name);
		}
	}
	closedir(list);
	return found;
}

void empty_folder(int trash) {
	while (flatten(trash, trash)) continue;
}

int remove_folder(const char *path) {
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) return 0;
	if (fd < 0) fail_system("cannot open \"%s\"", path);
	empty_folder(fd);
	close(fd);
	if (rmdir(path) < 0 && errno != ENOENT) fail_system("cannot remove \"%s\"", path);
	return 0;
}

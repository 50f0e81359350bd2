#define _GNU_SOURCE
#include "pack.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	links_max = 40,
	options_bytes_max = 4095,
};

int merged_open(char **layers, int count) {
	if (count == 1) {
		int fd = open(layers[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0) fail_system("cannot open the layer \"%s\"", layers[0]);
		return fd;
	}
	/* The mount is seen by this process alone and ends with it. Layers by descriptor keep the text under one page. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) fail_system("cannot leave the mount namespace");
	char options[options_bytes_max + 1] = "ro,index=off,metacopy=off,redirect_dir=off,lowerdir=";
	size_t length = strlen(options);
	for (int i = 0; i < count; i++) {
		int fd = open(layers[i], O_PATH | O_DIRECTORY);
		if (fd < 0) fail_system("cannot open the layer \"%s\"", layers[i]);
		length += (size_t)snprintf(options + length, sizeof options - length, "%s/proc/self/fd/%d", i ? ":" : "", fd);
		if (length >= sizeof options) fail_archive("there are too many layers: %d", count);
	}
	if (mount("overlay", layers[0], "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, options) < 0) fail_system("cannot merge the layers");
	int root = open(layers[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0) fail_system("cannot open the merged layers");
	return root;
}

/* Puts `link` in front of what is still to be walked. */
static void prepend(char *rest, const char *link) {
	char joined[path_bytes_max];
	int length = snprintf(joined, sizeof joined, "%s/%s", link, rest);
	if (length < 0 || (size_t)length >= sizeof joined) fail_archive("a link's target is too long");
	memcpy(rest, joined, (size_t)length + 1);
}

static void drop_last(char *path) {
	char *slash = strrchr(path, '/');
	if (slash) *slash = 0;
	else *path = 0;
}

static ssize_t read_link(int root, const char *path, char *target) {
	struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
	if (fd < 0) return -1;
	ssize_t length = readlinkat(fd, "", target, path_bytes_max - 1);
	int error = errno;
	close(fd);
	/* ENOENT here means that it is no link. */
	errno = length < 0 ? (error == ENOENT ? EINVAL : error) : 0;
	return length;
}

int merged_resolve(int root, const char *path, char resolved[path_bytes_max]) {
	char rest[path_bytes_max], target[path_bytes_max];
	int links = 0;
	bool missing = false;
	if (strlen(path) >= sizeof rest) fail_archive("a path is too long");
	strcpy(rest, path);
	*resolved = 0;
	while (*rest) {
		char name[path_bytes_max];
		size_t skip = strspn(rest, "/"), length = strcspn(rest + skip, "/");
		memcpy(name, rest + skip, length);
		name[length] = 0;
		memmove(rest, rest + skip + length, strlen(rest + skip + length) + 1);
		if (!length || strcmp(name, ".") == 0) continue;
		if (strcmp(name, "..") == 0) {
			drop_last(resolved);
			continue;
		}
		size_t before = strlen(resolved);
		if (before + 1 + length >= path_bytes_max) fail_archive("a path is too long");
		if (before) resolved[before] = '/';
		memcpy(resolved + before + (before ? 1 : 0), name, length + 1);
		if (missing) continue;
		ssize_t link = read_link(root, resolved, target);
		if (link < 0 && (errno == ENOENT || errno == ENOTDIR)) missing = true;
		else if (link < 0 && errno != EINVAL) fail_system("cannot look at \"%s\"", resolved);
		if (link < 0) continue;
		target[link] = 0;
		if (++links > links_max) fail_archive("\"%s\" leads in circles", path);
		resolved[before] = 0;
		if (*target == '/') *resolved = 0;
		prepend(rest, target);
	}
	return missing ? -1 : 0;
}

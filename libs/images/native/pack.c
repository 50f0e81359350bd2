#define _GNU_SOURCE
#include "pack.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Files with several names: the first one carries the content. */
struct linked_file {
	dev_t device;
	ino_t inode;
	char *name;
};
static struct linked_file *linked_files;
static size_t linked_count, linked_room;

static bool layer_mode;
/* The member's name as it grows and shrinks with the walk. */
static char path[path_bytes_max];

static int by_text(const void *a, const void *b) {
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char **names_of(int folder, size_t *count) {
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	if (!list) fail_system("cannot list \"%s\"", path);
	char **names = NULL;
	size_t room = 0;
	*count = 0;
	errno = 0;
	for (struct dirent *item; (item = readdir(list));) {
		if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0) continue;
		if (*count == room) names = realloc(names, sizeof *names * (room = room ? room * 2 : 16));
		if (!names || !(names[(*count)++] = strdup(item->d_name))) fail_system("out of memory");
	}
	if (errno) fail_system("cannot list \"%s\"", path);
	closedir(list);
	if (*count) qsort(names, *count, sizeof *names, by_text);
	return names;
}

static size_t slot_of(const struct stat *status) {
	size_t slot = (size_t)(status->st_ino * 0x9e3779b97f4a7c15ULL ^ status->st_dev) & (linked_room - 1);
	while (linked_files[slot].name && (linked_files[slot].inode != status->st_ino || linked_files[slot].device != status->st_dev)) slot = (slot + 1) & (linked_room - 1);
	return slot;
}

static void grow_linked(void) {
	struct linked_file *before = linked_files;
	size_t room = linked_room;
	linked_room = room ? room * 2 : 256;
	linked_files = calloc(linked_room, sizeof *linked_files);
	if (!linked_files) fail_system("out of memory");
	for (size_t i = 0; i < room; i++) {
		if (!before[i].name) continue;
		struct stat status = { .st_dev = before[i].device, .st_ino = before[i].inode };
		linked_files[slot_of(&status)] = before[i];
	}
	free(before);
}

/* The name under which the same file has been written, or NULL: then it is remembered. */
static const char *name_of_same(const struct stat *status) {
	if (status->st_nlink < 2) return NULL;
	if (linked_count * 2 >= linked_room) grow_linked();
	struct linked_file *file = &linked_files[slot_of(status)];
	if (file->name) return file->name;
	*file = (struct linked_file){ status->st_dev, status->st_ino, strdup(path) };
	if (!file->name) fail_system("out of memory");
	linked_count++;
	return NULL;
}

static __attribute__((noinline)) void write_file(int folder, const char *name) {
	struct stat status;
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0) fail_system("cannot open \"%s\"", path);
	struct member member = { .name = path, .status = &status };
	const char *same = name_of_same(&status);
	if (same) {
		member.type = '1';
		member.link = same;
		member_write(&member);
	} else if (S_ISREG(status.st_mode)) {
		member.type = '0';
		member.size = status.st_size;
		member_read_xattrs(&member, fd);
		member_write(&member);
		output_file(fd, status.st_size, path);
		output_zeros(-(uint64_t)status.st_size & (block_bytes - 1));
	}
	close(fd);
}

static __attribute__((noinline)) void write_link(int folder, const char *name, const struct stat *status) {
	static char target[path_bytes_max];
	ssize_t length = readlinkat(folder, name, target, sizeof target - 1);
	if (length < 0) fail_system("cannot read the link \"%s\"", path);
	target[length] = 0;
	member_write(&(struct member){ .type = '2', .name = path, .link = target, .status = status });
}

static __attribute__((noinline)) void write_special(const struct stat *status, char type) {
	member_write(&(struct member){ .type = type, .name = path, .status = status });
}

static __attribute__((noinline)) void write_whiteout(const char *folder_end, const char *hidden) {
	struct stat status = { .st_mode = 0600 };
	static char kept[path_bytes_max];
	size_t start = (size_t)(folder_end - path);
	strcpy(kept, path);
	if (start + strlen(".wh.") + strlen(hidden) >= sizeof path) fail_archive("a name is too long: \"%s\"", path);
	strcpy(stpcpy(path + start, ".wh."), hidden);
	member_write(&(struct member){ .type = '0', .name = path, .status = &status });
	strcpy(path, kept);
}

static bool is_opaque(int folder) {
	char value[2];
	return fgetxattr(folder, "trusted.overlay.opaque", value, sizeof value) == 1 && value[0] == 'y';
}

/* Places that every container has for what the node mounts there: they are no change of the image. */
static bool is_mount_place(const char *name, const struct stat *status) {
	static const char *const files[] = { "etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console", ".dockerenv" };
	static const char *const folders[] = { "dev", "proc", "sys", "dev/pts", "dev/shm", "dev/mqueue" };
	if (S_ISREG(status->st_mode) && status->st_size == 0) {
		for (size_t i = 0; i < sizeof files / sizeof *files; i++)
			if (strcmp(name, files[i]) == 0) return true;
	}
	/* Made for the files in it, where the image has none; one with other rights is somebody's work. */
	if (strcmp(name, "etc") == 0) return status->st_mode == (S_IFDIR | 0755) && status->st_uid == 0 && status->st_gid == 0;
	if (S_ISDIR(status->st_mode)) {
		for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
			if (strcmp(name, folders[i]) == 0) return true;
	}
	return false;
}

/* Out of line, as all that is big: what is on the stack counts once per level of the tree. */
static __attribute__((noinline)) void write_folder_header(int fd, const struct stat *status) {
	struct member member = { .type = '5', .name = path, .status = status };
	member_read_xattrs(&member, fd);
	member_write(&member);
}

static void write_folder_content(int folder);

static void write_folder(int parent, const char *name, bool only_if_filled) {
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;
	if (fd < 0 || fstat(fd, &status) < 0) fail_system("cannot open the folder \"%s\"", path);
	if (only_if_filled) {
		size_t count;
		char **names = names_of(fd, &count);
		bool filled = false;
		size_t length = strlen(path);
		for (size_t i = 0; i < count; i++) {
			struct stat inner;
			if (length + 1 + strlen(names[i]) >= sizeof path) fail_archive("a name is too long: \"%s\"", path);
			path[length] = '/';
			strcpy(path + length + 1, names[i]);
			if (fstatat(fd, names[i], &inner, AT_SYMLINK_NOFOLLOW) < 0 || !is_mount_place(path, &inner)) filled = true;
			path[length] = 0;
			free(names[i]);
		}
		free(names);
		if (!filled) {
			close(fd);
			return;
		}
	}
	size_t length = strlen(path);
	if (length + 2 > sizeof path) fail_archive("a name is too long: \"%s\"", path);
	strcpy(path + length, "/");
	write_folder_header(fd, &status);
	if (layer_mode && is_opaque(fd)) write_whiteout(path + length + 1, ".wh..opq");
	write_folder_content(fd);
	path[length] = 0;
	close(fd);
}

/* `path` ends where the names of the folder begin. */
static void write_one(int folder, const char *name) {
	size_t start = strlen(path);
	struct stat status;
	if (start + strlen(name) >= sizeof path) fail_archive("a name is too long: \"%s%s\"", path, name);
	strcpy(path + start, name);
	if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
		/* A program that still runs has removed it. */
		if (errno != ENOENT) fail_system("cannot look at \"%s\"", path);
	} else if (layer_mode && !S_ISDIR(status.st_mode) && is_mount_place(path, &status)) {
		/* Not the image's. */
	} else if (S_ISDIR(status.st_mode)) {
		write_folder(folder, name, layer_mode && is_mount_place(path, &status));
	} else if (S_ISREG(status.st_mode)) {
		write_file(folder, name);
	} else if (S_ISLNK(status.st_mode)) {
		write_link(folder, name, &status);
	} else if (S_ISCHR(status.st_mode) && status.st_rdev == makedev(0, 0)) {
		if (layer_mode) write_whiteout(path + start, name);
	} else if (!S_ISSOCK(status.st_mode)) {
		char type = S_ISCHR(status.st_mode) ? '3' : S_ISBLK(status.st_mode) ? '4' : '6';
		write_special(&status, type);
	}
	path[start] = 0;
}

static void write_folder_content(int folder) {
	size_t count;
	char **names = names_of(folder, &count);
	for (size_t i = 0; i < count; i++) {
		write_one(folder, names[i]);
		free(names[i]);
	}
	free(names);
}

/* One descriptor per level of the tree, and a path has at most half as many levels as bytes. */
static void raise_descriptor_limit(void) {
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void finish(void) {
	output_zeros(2 * block_bytes);
	output_flush();
}

int pack_layer(const char *folder) {
	raise_descriptor_limit();
	int root = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (root < 0) fail_system("cannot open the folder \"%s\"", folder);
	layer_mode = true;
	write_folder_content(root);
	finish();
	return 0;
}

int pack_tree(char **layers, int count, const char *wanted) {
	raise_descriptor_limit();
	char resolved[path_bytes_max];
	int root = merged_open(layers, count);
	if (merged_resolve(root, wanted, resolved) < 0) fail_archive("\"%s\" does not exist", wanted);
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS };
	int folder = (int)syscall(SYS_openat2, root, *resolved ? resolved : ".", &how, sizeof how);
	if (folder >= 0) {
		write_folder_content(folder);
	} else if (errno == ENOTDIR) {
		char *slash = strrchr(resolved, '/');
		if (slash) *slash = 0;
		folder = (int)syscall(SYS_openat2, root, slash ? resolved : ".", &how, sizeof how);
		if (folder < 0) fail_system("cannot open the folder of \"%s\"", wanted);
		write_one(folder, slash ? slash + 1 : resolved);
	} else {
		fail_system("cannot open \"%s\"", wanted);
	}
	finish();
	return 0;
}

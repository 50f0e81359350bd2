#define _GNU_SOURCE
#include "unpack.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static int root = -1, trash = -1;
static unsigned trash_count;

/* The folder of the last entry: archives list a folder's files one after another. */
static int last_parent = -1;
static char last_parent_path[path_bytes_max];
/* Its group is ours: then so is what is made in it, with and without a set-group-id bit. */
static bool last_parent_is_ours;

struct folder_time {
	char *path;
	struct timespec mtime;
};
static struct folder_time *folder_times;
static size_t folder_time_count, remembered_bytes;

/*
 * Tells the file system that the trees in this folder have nothing to do with each other. ext4 then begins them far
 * from each other, so that layers which are unpacked at once do not wait for the same group's lock. Others may refuse.
 */
static void spread_trees(int folder) {
	int flags;
	if (ioctl(folder, FS_IOC_GETFLAGS, &flags) < 0) return;
	flags |= FS_TOPDIR_FL;
	(void)ioctl(folder, FS_IOC_SETFLAGS, &flags);
}

void tree_open(const char *folder) {
	int base = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (base < 0) fail_system("cannot open the folder \"%s\"", folder);
	spread_trees(base);
	if (mkdirat(base, "fs", 0755) < 0 || mkdirat(base, "trash", 0700) < 0) fail_system("cannot make folders in \"%s\"", folder);
	root = openat(base, "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	trash = openat(base, "trash", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	close(base);
	if (root < 0 || trash < 0 || fchdir(root) < 0 || chroot(".") < 0) fail_system("cannot enter the folder \"%s\"", folder);
}

static int open_in_root(const char *path, uint64_t flags) {
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	for (;;) {
		int fd = (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
		/* EAGAIN: a rename elsewhere in the file system raced with `..`. */
		if (fd >= 0 || errno != EAGAIN) return fd;
	}
}

static void forget_parent(void) {
	if (last_parent >= 0) close(last_parent);
	last_parent = -1;
}

static bool is_whiteout(const struct stat *status) {
	return S_ISCHR(status->st_mode) && status->st_rdev == makedev(0, 0);
}

/* Hides what the layers below have in this folder. */
static void make_opaque(int parent, const char *name) {
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0) fail_system("cannot make \"%s\" opaque", name);
	close(fd);
}

/*
 * Opens the folder `path`, making what is missing with Docker's mode for unnamed parents. Links on the way are
 * followed, but never out of the root. `path` is changed and put back.
 */
static int open_folder(char *path) {
	int fd = open_in_root(path, O_PATH | O_DIRECTORY);
	if (fd >= 0) return fd;
	if ((errno != ENOENT && errno != ENOTDIR) || !*path) fail_system("cannot open the folder \"%s\"", path);
	char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char none[] = "";
	if (slash) *slash = 0;
	int parent = open_folder(slash ? path : none);
	struct stat status;
	bool hidden = fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && is_whiteout(&status);
	if (hidden && unlinkat(parent, name, 0) < 0) fail_system("cannot replace \"%s\"", name);
	if (mkdirat(parent, name, 0755) < 0) {
		if (errno == EEXIST) fail_archive("\"%s\" is used as a folder but is none", name);
		fail_system("cannot make the folder \"%s\"", name);
	}
	if (hidden) make_opaque(parent, name);
	fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) fail_system("cannot open the folder \"%s\"", name);
	close(parent);
	if (slash) *slash = '/';
	return fd;
}

/* The folder that holds `path`, open until the next call; `*name` is the last part of `path`. */
static int open_parent(char *path, const char **name) {
	char *slash = strrchr(path, '/');
	size_t length = slash ? (size_t)(slash - path) : 0;
	*name = slash ? slash + 1 : path;
	if (last_parent >= 0 && strlen(last_parent_path) == length && memcmp(last_parent_path, path, length) == 0) return last_parent;
	forget_parent();
	memcpy(last_parent_path, path, length);
	last_parent_path[length] = 0;
	last_parent = open_folder(last_parent_path);
	struct stat status;
	if (fstat(last_parent, &status) < 0) fail_system("cannot look at \"%s\"", last_parent_path);
	last_parent_is_ours = status.st_gid == getegid();
	return last_parent;
}

/* Removes what is at `name`. A folder goes to the trash, since it may be deeper than the stack. */
static void remove_existing(int parent, const char *name, bool is_folder) {
	char trash_name[32];
	if (!is_folder) {
		if (unlinkat(parent, name, 0) < 0) fail_system("cannot replace \"%s\"", name);
		return;
	}
	snprintf(trash_name, sizeof trash_name, "replaced-%u", trash_count++);
	if (renameat(parent, name, trash, trash_name) < 0) fail_system("cannot replace \"%s\"", name);
}

/*
 * Makes room for an entry: what an earlier entry of the same layer put there is replaced, but a folder stays when a
 * folder comes. Returns what was there as far as it matters to the newcomer.
 */
static enum { was_nothing, was_folder, was_whiteout } make_room(int parent, const char *name, bool for_folder) {
	struct stat status;
	if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT) return was_nothing;
		fail_system("cannot look at \"%s\"", name);
	}
	bool is_folder = S_ISDIR(status.st_mode);
	if (is_folder && for_folder) return was_folder;
	remove_existing(parent, name, is_folder);
	return is_whiteout(&status) ? was_whiteout : was_nothing;
}

/*
 * Only what an image can rightly say: file capabilities and the user's own attributes. `trusted.overlay.*` would let
 * an archive redirect a folder, labels of the host's security module are not the image's to set.
 */
static bool is_allowed_xattr(const char *name) {
	if (strcmp(name, "security.capability") == 0) return true;
	return strncmp(name, "user.", 5) == 0 && strncmp(name, "user.overlay.", 13) != 0;
}

static void set_xattrs(int fd, const struct entry *entry) {
	for (int i = 0; i < entry->xattr_count; i++) {
		const struct xattr *xattr = &entry->xattrs[i];
		if (!is_allowed_xattr(xattr->name)) continue;
		if (fsetxattr(fd, xattr->name, xattr->value, xattr->length, 0) == 0) continue;
		/* A file system without attributes of that kind still takes the file; lost space and bad values do not pass. */
		if (errno != ENOTSUP) fail_system("cannot set the attribute \"%.255s\" of \"%s\"", xattr->name, entry->name);
	}
}

/* chown first: it clears set-user-id bits and file capabilities. */
static void set_metadata(int fd, const struct entry *entry, bool has_owner, bool has_mode) {
	if (!has_owner && fchown(fd, entry->uid, entry->gid) < 0) fail_system("cannot set the owner of \"%s\"", entry->name);
	if (!has_mode && fchmod(fd, entry->mode) < 0) fail_system("cannot set the mode of \"%s\"", entry->name);
	set_xattrs(fd, entry);
}

static void set_times(int fd, const struct timespec *mtime, const char *name) {
	struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, *mtime };
	if (futimens(fd, times) < 0) fail_system("cannot set the time of \"%s\"", name);
}

/* Times of folders change as files come: they are set at the end. */
static void remember_time(const struct entry *entry) {
	remembered_bytes += sizeof *folder_times + strlen(entry->name) + 32;
	if (remembered_bytes > remembered_bytes_max) fail_archive("the layer has too many folders");
	if ((folder_time_count & (folder_time_count - 1)) == 0) {
		folder_times = realloc(folder_times, sizeof *folder_times * (folder_time_count ? folder_time_count * 2 : 1));
		if (!folder_times) fail_system("out of memory");
	}
	char *path = strdup(entry->name);
	if (!path) fail_system("out of memory");
	folder_times[folder_time_count++] = (struct folder_time){ path, entry->mtime };
}

static void write_folder(struct entry *entry) {
	int fd;
	if (!*entry->name) {
		fd = open_in_root("", O_RDONLY | O_DIRECTORY);
		forget_parent();
	} else {
		const char *name;
		int parent = open_parent(entry->name, &name);
		int before = make_room(parent, name, true);
		if (before != was_folder && mkdirat(parent, name, 0755) < 0) fail_system("cannot make the folder \"%s\"", entry->name);
		if (before == was_whiteout) make_opaque(parent, name);
		fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0) fail_system("cannot open the folder \"%s\"", entry->name);
	set_metadata(fd, entry, false, false);
	close(fd);
	remember_time(entry);
	tar_skip_content(entry);
}

/*
 * Most files come with a new name, a plain mode and root for an owner: for them there is no look before and no change
 * after.
 */
static void write_file(struct entry *entry, int parent, const char *name) {
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	bool plain = (entry->mode & ~0777) == 0;
	mode_t mode = plain ? entry->mode : 0600;
	int fd = openat(parent, name, flags, mode);
	if (fd < 0 && errno == EEXIST) {
		make_room(parent, name, false);
		fd = openat(parent, name, flags, mode);
	}
	if (fd < 0) fail_system("cannot make \"%s\"", entry->name);
	tar_write_content(entry, fd);
	bool owned = entry->uid == geteuid() && entry->gid == getegid() && last_parent_is_ours;
	set_metadata(fd, entry, owned, plain);
	set_times(fd, &entry->mtime, entry->name);
	if (close(fd) < 0) fail_system("cannot write \"%s\"", entry->name);
}

static void write_symlink(struct entry *entry, int parent, const char *name) {
	struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, entry->mtime };
	if (!*entry->link) fail_archive("the link \"%s\" has no target", entry->name);
	if (symlinkat(entry->link, parent, name) < 0) fail_system("cannot make the link \"%s\"", entry->name);
	if (fchownat(parent, name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0) fail_system("cannot set the owner of \"%s\"", entry->name);
	if (utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0) fail_system("cannot set the time of \"%s\"", entry->name);
}

static void write_special(struct entry *entry, int parent, const char *name) {
	struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, entry->mtime };
	mode_t type = entry->type == '3' ? S_IFCHR : entry->type == '4' ? S_IFBLK : S_IFIFO;
	dev_t device = entry->type == '6' ? 0 : makedev(entry->major, entry->minor);
	/* It would be read as a whiteout, and a whiteout has its own way to be said. */
	if (type == S_IFCHR && device == makedev(0, 0)) fail_archive("\"%s\" is the device 0:0, which a layer cannot hold", entry->name);
	if (mknodat(parent, name, type | entry->mode, device) < 0) fail_system("cannot make the device \"%s\"", entry->name);
	if (fchownat(parent, name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0) fail_system("cannot set the owner of \"%s\"", entry->name);
	if (utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0) fail_system("cannot set the time of \"%s\"", entry->name);
}

/* The target is a name in the same layer. The link itself is linked when it is one: nothing is followed. */
static void write_hard_link(struct entry *entry) {
	const char *name;
	char *slash;
	tar_clean_path(entry->link);
	if (!*entry->link) fail_archive("the link \"%s\" has no target", entry->name);
	if (strcmp(entry->link, entry->name) == 0) fail_archive("\"%s\" is a link to itself", entry->name);
	int parent = open_parent(entry->name, &name);
	slash = strrchr(entry->link, '/');
	if (slash) *slash = 0;
	int target_parent = open_in_root(slash ? entry->link : "", O_PATH | O_DIRECTORY);
	const char *target = slash ? slash + 1 : entry->link;
	struct stat target_status, status;
	if (target_parent < 0 || fstatat(target_parent, target, &target_status, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) fail_system("cannot look at the target of the link \"%s\"", entry->name);
		fail_archive("the link \"%s\" names a file that is not in the layer", entry->name);
	}
	if (S_ISDIR(target_status.st_mode)) fail_archive("the link \"%s\" names a folder", entry->name);
	if (is_whiteout(&target_status)) fail_archive("the link \"%s\" names a removed file", entry->name);
	/* The same file by another way: removing it to make room would lose it. */
	bool same = fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_ino == target_status.st_ino && status.st_dev == target_status.st_dev;
	if (!same) {
		make_room(parent, name, false);
		if (linkat(target_parent, target, parent, name, 0) < 0) fail_system("cannot make the link \"%s\"", entry->name);
	}
	close(target_parent);
	tar_skip_content(entry);
}

/* `.wh.NAME` hides NAME of the layers below, never what this layer itself has there. */
static void write_whiteout(struct entry *entry, int parent, const char *hidden) {
	struct stat status;
	if (!*hidden || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0) fail_archive("\"%s\" hides no name", entry->name);
	if (fstatat(parent, hidden, &status, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISDIR(status.st_mode)) make_opaque(parent, hidden);
		return;
	}
	if (mknodat(parent, hidden, S_IFCHR, makedev(0, 0)) < 0) fail_system("cannot hide \"%s\"", entry->name);
}

void tree_write(struct entry *entry) {
	static const char whiteout[] = ".wh.", metadata[] = ".wh..wh.", opaque[] = ".wh..wh..opq";
	const char *name;
	if (entry->type == '5') {
		write_folder(entry);
		return;
	}
	if (!*entry->name) fail_archive("the root of the image is not a folder");
	int parent = open_parent(entry->name, &name);
	if (strcmp(name, opaque) == 0) {
		make_opaque(parent, ".");
		tar_skip_content(entry);
	} else if (strncmp(name, metadata, sizeof metadata - 1) == 0) {
		/* aufs kept its own books under such names; they mean nothing here. */
		tar_skip_content(entry);
	} else if (strncmp(name, whiteout, sizeof whiteout - 1) == 0) {
		write_whiteout(entry, parent, name + sizeof whiteout - 1);
		tar_skip_content(entry);
	} else if (entry->type == '1') {
		write_hard_link(entry);
	} else if (entry->type == '0') {
		write_file(entry, parent, name);
	} else {
		make_room(parent, name, false);
		if (entry->type == '2') write_symlink(entry, parent, name);
		else write_special(entry, parent, name);
	}
}

void tree_finish(void) {
	/* Backwards, so that the last entry of a name wins and children come before their parents. */
	for (size_t i = folder_time_count; i-- > 0;) {
		struct folder_time *folder = &folder_times[i];
		int fd = open_in_root(folder->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
		/* A later entry may have replaced the folder. */
		if (fd < 0) continue;
		set_times(fd, &folder->mtime, folder->path);
		close(fd);
		free(folder->path);
	}
	free(folder_times);
	forget_parent();
	empty_folder(trash);
}

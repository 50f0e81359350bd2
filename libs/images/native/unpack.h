/*
 * enxame-unpack: writes one image layer (a tar stream on stdin) into a folder, as overlayfs wants it.
 *
 *   enxame-unpack layer FOLDER BYTES   reads a tar of at most BYTES plain bytes, perhaps compressed by gzip or zstd,
 *                                      from stdin into FOLDER/fs; FOLDER/trash is scratch space
 *   enxame-unpack growing FOLDER BYTES  the same from a file that still grows: see source.h
 *   enxame-unpack remove FOLDER   removes a folder, however deep its tree is
 *   enxame-unpack sync FOLDER     waits until everything on its file system is on the disk
 *   enxame-unpack pack FOLDER     writes the upper folder of an overlay as a layer to stdout
 *   enxame-unpack tree LAYER... -- PATH      writes what a container would see at PATH as a tar to stdout
 *   enxame-unpack lookup LAYER... -- PATH... tells where paths lead in what a container would see
 *
 * The archive is hostile until proven otherwise. Whatever it says, nothing outside FOLDER is reached:
 *   - the program is confined by chroot to FOLDER/fs before it reads the first byte;
 *   - the folder of an entry is opened by openat2(RESOLVE_IN_ROOT), the entry itself is made by *at() calls that do
 *     not follow links and that fail when something is there (O_EXCL, mknodat, symlinkat, linkat);
 *   - extended attributes that overlayfs reads are made by this program only, never taken from the archive.
 *
 * Output of `layer`: on success one line `ENTRIES BYTES SHA256`, the digest of the plain tar. On failure one sentence on stderr and one of the exit codes below.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>
#include <time.h>

enum {
	exit_bad_archive = 1,
	exit_usage = 2,
	/* The disk is full, or a quota is reached. */
	exit_no_space = 3,
	exit_system = 4,

	block_bytes = 512,
	path_bytes_max = 4096,
	/* Go's archive/tar has the same limit for pax and GNU long name headers. */
	special_bytes_max = 1 << 20,
	xattrs_max = 128,
	sparse_chunks_max = 1 << 16,
	entries_max = 4 * 1000 * 1000,
	/* Folder times are set at the end; this is what may be remembered until then. */
	remembered_bytes_max = 256 << 20,
};

/* An archive that says something impossible. */
noreturn void fail_archive(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A system call that failed: adds errno's words. */
noreturn void fail_system(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* input.c: stdin, decompressed, by a thread that reads ahead. */
/* `bytes_max`: of plain bytes; a small compressed file can unpack to fill any disk. */
void input_open(int64_t bytes_max);
/* Reads exactly `length` bytes. False at the end of the input when nothing was read; fails in the middle. */
bool input_read(void *to, size_t length);
/* As many of them as there are before the end. */
size_t input_read_some(void *to, size_t length);
void input_skip(int64_t length);
/* Writes the next `length` bytes to `fd`. */
void input_copy(int fd, int64_t length, const char *name);
/* Reads to the end, since all of it counts for the digest: 64 hexadecimal digits of SHA-256. */
void input_finish(char digest[65]);

struct xattr {
	const char *name;
	const char *value;
	size_t length;
};

struct sparse_chunk {
	int64_t offset, length;
};

/* One member of the archive, with every extension applied. */
struct entry {
	/* '0' file, '1' hard link, '2' symbolic link, '3' character, '4' block device, '5' folder, '6' fifo. */
	char type;
	/* Relative, without `.` and `..`; empty for the root itself. */
	char name[path_bytes_max];
	char link[path_bytes_max];
	mode_t mode;
	uid_t uid;
	gid_t gid;
	struct timespec mtime;
	unsigned major, minor;
	/* Bytes of content in the archive. */
	int64_t size;
	struct xattr xattrs[xattrs_max];
	int xattr_count;
	/* A sparse file is `real_size` long and has content in its chunks only. */
	bool sparse;
	int64_t real_size;
	struct sparse_chunk *chunks;
	int chunk_count;
};

/* tar.c: the next member, or false at the end. The content is to be consumed by tar_content() or tar_skip(). */
bool tar_next(struct entry *entry);
void tar_write_content(struct entry *entry, int fd);
void tar_skip_content(struct entry *entry);
/* Makes a path relative and free of `.`, `..` and double slashes. Fails when it leaves the root. */
void tar_clean_path(char *path);

/* pax.c: what the extended headers in front of a member say about it. */
struct pax {
	char *data;
	size_t length;
	const char *path, *linkpath;
	int64_t size, uid, gid;
	bool has_size, has_uid, has_gid, has_mtime;
	struct timespec mtime;
	struct xattr xattrs[xattrs_max];
	int xattr_count;
	const char *sparse_name, *sparse_map;
	int64_t sparse_real_size;
	int sparse_major, sparse_minor;
	bool is_sparse;
	struct sparse_chunk *chunks;
	int chunk_count;
	int64_t pending_offset;
};
void pax_parse(struct pax *pax, char *data, size_t length);
void pax_clear(struct pax *pax);
/* Adds to a chunk list; refuses overlaps, disorder and too many. */
void sparse_add(struct sparse_chunk **chunks, int *count, int64_t offset, int64_t length);
int64_t parse_decimal(const char *text, const char *end, const char *what);

/* tree.c: the folder being written. */
void tree_open(const char *folder);
void tree_write(struct entry *entry);
/* Sets the folders' times. */
void tree_finish(void);

/* remove.c */
/* Empties the folder `trash`, in constant memory and with few descriptors whatever the depth. */
void empty_folder(int trash);
int remove_folder(const char *path);

/*
 * The other direction: a folder tree as a tar stream on stdout, always the same bytes for the same tree (names sorted,
 * whole seconds, no user names). What cannot be in a layer (sockets) is left out.
 */
#pragma once
#include "unpack.h"
#include <sys/stat.h>

/* output.c: stdout, buffered. */
void output_write(const void *bytes, size_t length);
/* Copies `length` bytes of `fd`; a file that got shorter meanwhile is filled up with zero bytes. */
void output_file(int fd, int64_t length, const char *name);
void output_zeros(size_t length);
void output_flush(void);

struct member {
	/* As in `struct entry`. */
	char type;
	const char *name;
	const char *link;
	const struct stat *status;
	/* Bytes that follow the header. */
	int64_t size;
	struct xattr xattrs[xattrs_max];
	int xattr_count;
};

/* member.c: the header of one member, with an extended one in front when a ustar header cannot say it. */
void member_write(const struct member *member);
/* What the file's own attributes are, as far as a layer carries them. They stay valid until the next call. */
void member_read_xattrs(struct member *member, int fd);

/* merged.c */
/* Opens the layers, topmost first, as the one tree that a container sees. Read-only. */
int merged_open(char **layers, int count);
/*
 * Where `path` leads inside the tree, every link resolved and none of them out of it; written to `resolved` (without
 * a slash in front). Returns 0, or -1 when a folder on the way is missing: `resolved` is then what it would be.
 */
int merged_resolve(int root, const char *path, char resolved[path_bytes_max]);

/* pack.c */
/* The upper folder of an overlay as a layer: device 0:0 and the opaque attribute become whiteouts. */
int pack_layer(const char *folder);
/* A path of merged layers: one file under its own name, or what is in a folder. */
int pack_tree(char **layers, int count, const char *path);

/* lookup.c: tells for each path where it leads and what its folders are. */
int lookup_paths(char **layers, int count, char **paths, int path_count);

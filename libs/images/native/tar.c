/* Reads ustar, pax and GNU archives: POSIX.1-2008 pax, "Basic Tar Format" and "GNU Extensions" of the GNU manual. */
#include "unpack.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
	char type;
	char linkname[100], magic[6], version[2], uname[32], gname[32], major[8], minor[8];
	union {
		char prefix[155];
		/* Old GNU headers put these where ustar has the prefix. */
		struct {
			char atime[12], ctime[12], offset[12], longnames[4], unused;
			struct { char offset[12], length[12]; } sparse[4];
			char is_extended, real_size[12];
		} gnu;
	};
	char padding[12];
};
_Static_assert(sizeof(struct header) == block_bytes, "a tar header is one block");

struct gnu_sparse_block {
	struct { char offset[12], length[12]; } sparse[21];
	char is_extended, padding[7];
};
_Static_assert(sizeof(struct gnu_sparse_block) == block_bytes, "a sparse extension is one block");

/* Octal text, or with the first bit set a big-endian two's complement number. */
static int64_t parse_number(const char *field, size_t length, const char *what) {
	const unsigned char *at = (const unsigned char *)field;
	if (*at & 0x80) {
		bool negative = *at & 0x40;
		uint64_t value = negative ? ~0ULL : 0;
		for (size_t i = 0; i < length; i++) {
			unsigned byte = i ? at[i] : (negative ? at[i] : at[i] & 0x7fu);
			/* All bytes above the low eight must be sign. */
			if (length - i > 8 && byte != (negative ? 0xffu : 0u)) fail_archive("%s is too large", what);
			value = value << 8 | byte;
		}
		return (int64_t)value;
	}
	const unsigned char *end = at + length;
	int64_t value = 0;
	while (at < end && (*at == ' ' || *at == 0)) at++;
	for (; at < end && *at >= '0' && *at <= '7'; at++) value = value << 3 | (*at - '0');
	while (at < end && (*at == ' ' || *at == 0)) at++;
	if (at < end) fail_archive("%s is not a number", what);
	return value;
}

static int64_t parse_size(const char *field, size_t length) {
	int64_t size = parse_number(field, length, "a file size");
	if (size < 0 || size > INT64_MAX / 4) fail_archive("a file size is out of range");
	return size;
}

static bool is_zero(const char *block) {
	for (int i = 0; i < block_bytes; i++)
		if (block[i]) return false;
	return true;
}

static void check_header(const struct header *header) {
	const unsigned char *bytes = (const unsigned char *)header;
	const size_t from = offsetof(struct header, checksum), to = from + sizeof header->checksum;
	int64_t sum = 0, signed_sum = 0;
	for (size_t i = 0; i < block_bytes; i++) {
		unsigned char byte = i >= from && i < to ? ' ' : bytes[i];
		sum += byte;
		signed_sum += (signed char)byte;
	}
	int64_t written = parse_number(header->checksum, sizeof header->checksum, "a header's checksum");
	/* Some old programs summed signed bytes. */
	if (written != sum && written != signed_sum) fail_archive("a header's checksum is wrong: this is not a tar archive");
}

static int64_t padding_of(int64_t size) {
	return -size & (block_bytes - 1);
}

/* The content of a header that describes the next one. Ends with a zero byte that does not count. */
static char *read_special(int64_t size) {
	if (size > special_bytes_max) fail_archive("an extended header has %lld bytes, at most %d are allowed", (long long)size, special_bytes_max);
	char *data = malloc((size_t)size + 1);
	if (!data) fail_system("out of memory");
	if (size && !input_read(data, (size_t)size)) fail_archive("the archive ends in the middle of an entry");
	data[size] = 0;
	input_skip(padding_of(size));
	return data;
}

void tar_clean_path(char *path) {
	char *to = path;
	for (const char *at = path; *at;) {
		while (*at == '/') at++;
		size_t length = strcspn(at, "/");
		if (length == 0 || (length == 1 && at[0] == '.')) {
			at += length;
			continue;
		}
		if (length == 2 && at[0] == '.' && at[1] == '.') {
			if (to == path) fail_archive("an entry's name leaves the image: it begins with \"..\"");
			while (to > path && *--to != '/') continue;
		} else {
			if (to > path) *to++ = '/';
			memmove(to, at, length);
			to += length;
		}
		at += length;
	}
	*to = 0;
}

static void set_path(char *to, const char *from, const char *what) {
	size_t length = strlen(from);
	if (length >= path_bytes_max) fail_archive("%s has %zu bytes, at most %d are allowed", what, length, path_bytes_max - 1);
	memcpy(to, from, length + 1);
}

/* Headers in front of a member that say what it is really called. */
struct special {
	char *long_name, *long_link;
	struct pax pax;
};

static void special_clear(struct special *special) {
	free(special->long_name);
	free(special->long_link);
	special->long_name = special->long_link = NULL;
	pax_clear(&special->pax);
}

static void read_names(struct entry *entry, const struct header *header, const struct special *special) {
	char name[sizeof header->prefix + 1 + sizeof header->name + 1];
	char link[sizeof header->linkname + 1];
	bool ustar = memcmp(header->magic, "ustar\0" "00", 8) == 0;
	int prefix = ustar ? (int)strnlen(header->prefix, sizeof header->prefix) : 0;
	int length = (int)strnlen(header->name, sizeof header->name);
	memcpy(name, header->prefix, (size_t)prefix);
	if (prefix) name[prefix++] = '/';
	memcpy(name + prefix, header->name, (size_t)length);
	name[prefix + length] = 0;
	size_t link_length = strnlen(header->linkname, sizeof header->linkname);
	memcpy(link, header->linkname, link_length);
	link[link_length] = 0;

	const struct pax *pax = &special->pax;
	const char *best = pax->sparse_name ? pax->sparse_name : pax->path ? pax->path : special->long_name ? special->long_name : name;
	set_path(entry->name, best, "an entry's name");
	set_path(entry->link, pax->linkpath ? pax->linkpath : special->long_link ? special->long_link : link, "a link's target");
}

static void read_numbers(struct entry *entry, const struct header *header, const struct pax *pax) {
	int64_t uid = pax->has_uid ? pax->uid : parse_number(header->uid, sizeof header->uid, "a user id");
	int64_t gid = pax->has_gid ? pax->gid : parse_number(header->gid, sizeof header->gid, "a group id");
	/* 2^32 - 1 means "leave it" to chown. */
	if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX) fail_archive("the owner of \"%s\" is out of range", entry->name);
	entry->uid = (uid_t)uid;
	entry->gid = (gid_t)gid;
	entry->mode = (mode_t)parse_number(header->mode, sizeof header->mode, "a mode") & 07777;
	entry->mtime = pax->has_mtime ? pax->mtime : (struct timespec){ .tv_sec = parse_number(header->mtime, sizeof header->mtime, "a modification time") };
	if (entry->type == '3' || entry->type == '4') {
		int64_t major = parse_number(header->major, sizeof header->major, "a device number");
		int64_t minor = parse_number(header->minor, sizeof header->minor, "a device number");
		if (major < 0 || major > 4095 || minor < 0 || minor > 0xfffff) fail_archive("the device number of \"%s\" is out of range", entry->name);
		entry->major = (unsigned)major;
		entry->minor = (unsigned)minor;
	}
}

static void read_gnu_sparse(struct entry *entry, const struct header *header) {
	struct gnu_sparse_block block;
	entry->sparse = true;
	entry->real_size = parse_size(header->gnu.real_size, sizeof header->gnu.real_size);
	for (int i = 0; i < 4 && header->gnu.sparse[i].offset[0]; i++)
		sparse_add(&entry->chunks, &entry->chunk_count, parse_size(header->gnu.sparse[i].offset, 12),
		           parse_size(header->gnu.sparse[i].length, 12));
	for (bool more = header->gnu.is_extended; more; more = block.is_extended) {
		if (!input_read(&block, sizeof block)) fail_archive("the archive ends in the middle of an entry");
		for (int i = 0; i < 21 && block.sparse[i].offset[0]; i++)
			sparse_add(&entry->chunks, &entry->chunk_count, parse_size(block.sparse[i].offset, 12),
			           parse_size(block.sparse[i].length, 12));
		if (entry->chunk_count == 0) fail_archive("a sparse file's map is empty");
	}
}

/* Format 1.0: the map stands in front of the content, one number a line, filled up to whole blocks. */
static int64_t read_map_line(char *block, size_t *at, int64_t *consumed) {
	int64_t value = 0;
	for (int digits = 0;; digits++) {
		if (*at == block_bytes) {
			if (!input_read(block, block_bytes)) fail_archive("the archive ends in the middle of an entry");
			*consumed += block_bytes;
			*at = 0;
		}
		char byte = block[(*at)++];
		if (byte == '\n' && digits) return value;
		if (byte < '0' || byte > '9' || digits > 18) fail_archive("a sparse file's map is not a number");
		value = value * 10 + (byte - '0');
	}
}

static void read_sparse_content_map(struct entry *entry) {
	char block[block_bytes];
	size_t at = block_bytes;
	int64_t consumed = 0;
	int64_t count = read_map_line(block, &at, &consumed);
	for (int64_t i = 0; i < count; i++) {
		int64_t offset = read_map_line(block, &at, &consumed);
		sparse_add(&entry->chunks, &entry->chunk_count, offset, read_map_line(block, &at, &consumed));
	}
	if (consumed > entry->size) fail_archive("a sparse file's map is longer than its entry");
	entry->size -= consumed;
}

static void read_sparse(struct entry *entry, const struct header *header, struct pax *pax) {
	if (header->type == 'S') {
		read_gnu_sparse(entry, header);
	} else if (pax->is_sparse) {
		entry->sparse = true;
		entry->real_size = pax->sparse_real_size;
		entry->chunks = pax->chunks;
		entry->chunk_count = pax->chunk_count;
		pax->chunks = NULL;
		if (pax->sparse_major == 1) read_sparse_content_map(entry);
	}
	if (!entry->sparse) return;
	int64_t content = 0;
	for (int i = 0; i < entry->chunk_count; i++) {
		content += entry->chunks[i].length;
		if (entry->chunks[i].offset + entry->chunks[i].length > entry->real_size) fail_archive("a sparse file's map is longer than the file");
		if (content > entry->size) break;
	}
	if (content != entry->size) fail_archive("a sparse file's map does not fit its content");
}

static void describe(struct entry *entry, const struct header *header, struct special *special) {
	struct pax *pax = &special->pax;
	free(entry->chunks);
	entry->chunks = NULL;
	entry->chunk_count = 0;
	entry->sparse = false;
	entry->type = header->type;
	read_names(entry, header, special);
	entry->size = pax->has_size ? pax->size : parse_size(header->size, sizeof header->size);
	size_t length = strlen(entry->name);
	switch (entry->type) {
	case 0:
	case '0':
	case '7':
	case 'S':
		/* Before ustar a folder was a file whose name ends in a slash. */
		entry->type = length && entry->name[length - 1] == '/' ? '5' : '0';
		break;
	case '1':
	case '2':
	case '3':
	case '4':
	case '5':
	case '6':
		break;
	default:
		fail_archive("\"%s\" is of type '%c', which a layer cannot hold", entry->name, entry->type < ' ' ? '?' : entry->type);
	}
	tar_clean_path(entry->name);
	read_numbers(entry, header, pax);
	if (entry->type == '0') {
		read_sparse(entry, header, pax);
	} else if (entry->type != '5' && entry->type != '1') {
		/* Links and devices have no content, whatever the size field says (Go's reader does the same). */
		entry->size = 0;
	}
	memcpy(entry->xattrs, pax->xattrs, sizeof *pax->xattrs * (size_t)pax->xattr_count);
	entry->xattr_count = pax->xattr_count;
}

bool tar_next(struct entry *entry) {
	/* Lives until the next call: the entry's attributes point into it. */
	static struct special special;
	struct header header;
	special_clear(&special);
	for (;;) {
		if (!input_read(&header, sizeof header)) return false;
		if (is_zero((const char *)&header)) return false;
		check_header(&header);
		int64_t size = parse_size(header.size, sizeof header.size);
		switch (header.type) {
		case 'L':
			free(special.long_name);
			special.long_name = read_special(size);
			break;
		case 'K':
			free(special.long_link);
			special.long_link = read_special(size);
			break;
		case 'x':
			pax_clear(&special.pax);
			pax_parse(&special.pax, read_special(size), (size_t)size);
			break;
		case 'g':
			/* Global headers hold comments (git's commit id); Docker skips them, too. */
			free(read_special(size));
			break;
		case 'V':
			input_skip(size + padding_of(size));
			break;
		default:
			describe(entry, &header, &special);
			return true;
		}
	}
}

/* Some programs (umoci's insert) end without the last file's padding; Go's reader, and so Docker, takes that for the end. */
static void skip_padding(int64_t size) {
	unsigned char padding[block_bytes];
	input_read_some(padding, (size_t)padding_of(size));
}

void tar_write_content(struct entry *entry, int fd) {
	if (!entry->sparse) {
		input_copy(fd, entry->size, entry->name);
	} else {
		for (int i = 0; i < entry->chunk_count; i++) {
			if (lseek(fd, entry->chunks[i].offset, SEEK_SET) < 0) fail_system("cannot write \"%s\"", entry->name);
			input_copy(fd, entry->chunks[i].length, entry->name);
		}
		if (ftruncate(fd, entry->real_size) < 0) fail_system("cannot write \"%s\"", entry->name);
	}
	skip_padding(entry->size);
}

void tar_skip_content(struct entry *entry) {
	input_skip(entry->size);
	skip_padding(entry->size);
}

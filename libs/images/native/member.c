#define _GNU_SOURCE
#include "pack.h"
#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

enum {
	octal7_max = 07777777,
	records_bytes_max = special_bytes_max,
};
static const int64_t octal11_max = 077777777777;

/* Records of the extended header that is being made. */
static char records[records_bytes_max];
static size_t records_length;

/* `LENGTH KEY=VALUE\n`, where the length counts its own digits. */
static void add_record(const char *key, const void *value, size_t length) {
	char digits[24];
	size_t rest = 1 + strlen(key) + 1 + length + 1;
	size_t total = rest + 1;
	while (rest + (size_t)snprintf(digits, sizeof digits, "%zu", total) != total) total++;
	if (records_length + total > sizeof records) fail_archive("a file's attributes are over %d bytes", records_bytes_max);
	records_length += (size_t)sprintf(records + records_length, "%s %s=", digits, key);
	memcpy(records + records_length, value, length);
	records_length += length;
	records[records_length++] = '\n';
}

static void add_number(const char *key, int64_t value) {
	char text[24];
	add_record(key, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)value));
}

static void put_octal(char *field, size_t length, int64_t value, int64_t most) {
	if (value < 0 || value > most) value = 0;
	snprintf(field, length, "%0*llo", (int)length - 1, (unsigned long long)value);
}

static void put_text(char *field, size_t length, const char *text) {
	size_t bytes = strlen(text);
	memcpy(field, text, bytes < length ? bytes : length);
}

static void write_header(char type, const char *name, const char *link, const struct stat *status, int64_t size) {
	char block[block_bytes] = { 0 };
	put_text(block, 100, name);
	put_octal(block + 100, 8, status->st_mode & 07777, octal7_max);
	put_octal(block + 108, 8, status->st_uid, octal7_max);
	put_octal(block + 116, 8, status->st_gid, octal7_max);
	put_octal(block + 124, 12, size, octal11_max);
	put_octal(block + 136, 12, status->st_mtime, octal11_max);
	block[156] = type;
	put_text(block + 157, 100, link);
	memcpy(block + 257, "ustar\0" "00", 8);
	bool is_device = type == '3' || type == '4';
	put_octal(block + 329, 8, is_device ? major(status->st_rdev) : 0, octal7_max);
	put_octal(block + 337, 8, is_device ? minor(status->st_rdev) : 0, octal7_max);
	memset(block + 148, ' ', 8);
	unsigned sum = 0;
	for (int i = 0; i < block_bytes; i++) sum += (unsigned char)block[i];
	snprintf(block + 148, 8, "%06o", sum);
	output_write(block, sizeof block);
}

void member_write(const struct member *member) {
	const struct stat *status = member->status;
	const char *link = member->link ? member->link : "";
	records_length = 0;
	if (strlen(member->name) > 100) add_record("path", member->name, strlen(member->name));
	if (strlen(link) > 100) add_record("linkpath", link, strlen(link));
	if (member->size > octal11_max) add_number("size", member->size);
	if (status->st_uid > octal7_max) add_number("uid", status->st_uid);
	if (status->st_gid > octal7_max) add_number("gid", status->st_gid);
	if (status->st_mtime < 0 || status->st_mtime > octal11_max) add_number("mtime", status->st_mtime);
	for (int i = 0; i < member->xattr_count; i++) {
		char key[XATTR_NAME_MAX + 32];
		snprintf(key, sizeof key, "SCHILY.xattr.%s", member->xattrs[i].name);
		add_record(key, member->xattrs[i].value, member->xattrs[i].length);
	}
	if (records_length > 0) {
		struct stat plain = { .st_mode = 0644, .st_mtime = 0 };
		write_header('x', "pax", "", &plain, (int64_t)records_length);
		output_write(records, records_length);
		output_zeros(-records_length & (block_bytes - 1));
	}
	write_header(member->type, member->name, link, status, member->size);
}

static bool is_carried(const char *name) {
	if (strcmp(name, "security.capability") == 0) return true;
	return strncmp(name, "user.", 5) == 0 && strncmp(name, "user.overlay.", 13) != 0;
}

static int by_name(const void *a, const void *b) {
	return strcmp(((const struct xattr *)a)->name, ((const struct xattr *)b)->name);
}

void member_read_xattrs(struct member *member, int fd) {
	static char names[XATTR_LIST_MAX], values[records_bytes_max];
	size_t used = 0;
	member->xattr_count = 0;
	ssize_t length = flistxattr(fd, names, sizeof names);
	if (length < 0 && errno == ENOTSUP) return;
	if (length < 0) fail_system("cannot list the attributes of \"%s\"", member->name);
	for (const char *name = names; name < names + length; name += strlen(name) + 1) {
		if (!is_carried(name)) continue;
		if (member->xattr_count == xattrs_max) fail_archive("\"%s\" has more than %d extended attributes", member->name, xattrs_max);
		ssize_t got = fgetxattr(fd, name, values + used, sizeof values - used);
		if (got < 0 && errno == ENODATA) continue;
		if (got < 0) fail_system("cannot read the attribute \"%.255s\" of \"%s\"", name, member->name);
		member->xattrs[member->xattr_count++] = (struct xattr){ name, values + used, (size_t)got };
		used += (size_t)got;
	}
	qsort(member->xattrs, (size_t)member->xattr_count, sizeof *member->xattrs, by_name);
}

#include "unpack.h"
#include <stdlib.h>
#include <string.h>

int64_t parse_decimal(const char *text, const char *end, const char *what) {
	int64_t value = 0;
	if (text == end) fail_archive("%s is empty", what);
	for (; text < end; text++) {
		if (*text < '0' || *text > '9') fail_archive("%s is not a number", what);
		if (value > (INT64_MAX >> 4) / 10) fail_archive("%s is too large", what);
		value = value * 10 + (*text - '0');
	}
	return value;
}

/* `seconds[.fraction]`, perhaps negative; digits beyond nanoseconds are dropped. */
static struct timespec parse_time(const char *text, const char *end) {
	bool negative = text < end && *text == '-';
	if (negative) text++;
	const char *point = memchr(text, '.', (size_t)(end - text));
	struct timespec time = { .tv_sec = parse_decimal(text, point ? point : end, "a modification time") };
	long unit = 100000000;
	for (const char *digit = point ? point + 1 : end; digit < end; digit++, unit /= 10) {
		if (*digit < '0' || *digit > '9') fail_archive("a modification time is not a number");
		time.tv_nsec += (*digit - '0') * unit;
	}
	if (negative) {
		time.tv_sec = -time.tv_sec;
		if (time.tv_nsec) {
			time.tv_sec--;
			time.tv_nsec = 1000000000 - time.tv_nsec;
		}
	}
	return time;
}

void sparse_add(struct sparse_chunk **chunks, int *count, int64_t offset, int64_t length) {
	if (*count >= sparse_chunks_max) fail_archive("a sparse file has more than %d parts", sparse_chunks_max);
	if (offset < 0 || length < 0 || offset > INT64_MAX / 4 || length > INT64_MAX / 4)
		fail_archive("a sparse file's map is out of range");
	if (*count > 0) {
		struct sparse_chunk *before = &(*chunks)[*count - 1];
		if (offset < before->offset + before->length) fail_archive("a sparse file's map is out of order");
	}
	if ((*count & (*count - 1)) == 0) {
		*chunks = realloc(*chunks, sizeof **chunks * (size_t)(*count ? *count * 2 : 1));
		if (!*chunks) fail_system("out of memory");
	}
	(*chunks)[(*count)++] = (struct sparse_chunk){ offset, length };
}

/* Format 0.1: `offset,length,offset,length,...` */
static void parse_sparse_map(struct pax *pax, const char *text, const char *end) {
	while (text < end) {
		const char *comma = memchr(text, ',', (size_t)(end - text));
		if (!comma) fail_archive("a sparse file's map is cut");
		int64_t offset = parse_decimal(text, comma, "a sparse file's map");
		const char *next = memchr(comma + 1, ',', (size_t)(end - comma - 1));
		int64_t length = parse_decimal(comma + 1, next ? next : end, "a sparse file's map");
		sparse_add(&pax->chunks, &pax->chunk_count, offset, length);
		text = next ? next + 1 : end;
	}
}

static bool is(const char *key, const char *name) {
	return strcmp(key, name) == 0;
}

static void apply(struct pax *pax, const char *key, const char *value, const char *end) {
	static const char xattr_prefix[] = "SCHILY.xattr.";
	if (is(key, "path") || is(key, "linkpath") || is(key, "GNU.sparse.name")) {
		if (memchr(value, 0, (size_t)(end - value))) fail_archive("a name holds a zero byte");
		if (is(key, "path")) pax->path = value;
		else if (is(key, "linkpath")) pax->linkpath = value;
		else pax->sparse_name = value;
	} else if (is(key, "size")) {
		pax->size = parse_decimal(value, end, "a file size");
		pax->has_size = true;
	} else if (is(key, "uid")) {
		pax->uid = parse_decimal(value, end, "a user id");
		pax->has_uid = true;
	} else if (is(key, "gid")) {
		pax->gid = parse_decimal(value, end, "a group id");
		pax->has_gid = true;
	} else if (is(key, "mtime")) {
		pax->mtime = parse_time(value, end);
		pax->has_mtime = true;
	} else if (strncmp(key, xattr_prefix, sizeof xattr_prefix - 1) == 0) {
		if (pax->xattr_count == xattrs_max) fail_archive("a file has more than %d extended attributes", xattrs_max);
		pax->xattrs[pax->xattr_count++] =
			(struct xattr){ key + sizeof xattr_prefix - 1, value, (size_t)(end - value) };
	} else if (strncmp(key, "GNU.sparse.", 11) == 0) {
		const char *part = key + 11;
		pax->is_sparse = true;
		if (is(part, "major")) pax->sparse_major = (int)(parse_decimal(value, end, "a sparse version") & 0xff);
		else if (is(part, "minor")) pax->sparse_minor = (int)(parse_decimal(value, end, "a sparse version") & 0xff);
		else if (is(part, "realsize") || is(part, "size")) pax->sparse_real_size = parse_decimal(value, end, "a file size");
		else if (is(part, "map")) parse_sparse_map(pax, value, end);
		else if (is(part, "offset")) pax->pending_offset = parse_decimal(value, end, "a sparse file's map");
		else if (is(part, "numbytes"))
			sparse_add(&pax->chunks, &pax->chunk_count, pax->pending_offset, parse_decimal(value, end, "a sparse file's map"));
	}
}

/* Records of the form `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record. Takes over `data`. */
void pax_parse(struct pax *pax, char *data, size_t length) {
	pax->data = data;
	pax->length = length;
	char *at = data, *data_end = data + length;
	while (at < data_end && *at) {
		char *space = memchr(at, ' ', (size_t)(data_end - at));
		if (!space) fail_archive("an extended header has no length");
		int64_t record = parse_decimal(at, space, "an extended header's length");
		if (record < space - at + 3 || record > data_end - at) fail_archive("an extended header's length is wrong");
		char *end = at + record - 1;
		char *equals = memchr(space + 1, '=', (size_t)(end - space - 1));
		if (!equals || *end != '\n') fail_archive("an extended header is malformed");
		*equals = 0;
		/* Values become strings; those that may hold zero bytes carry their length, too. */
		*end = 0;
		if (strlen(space + 1) != (size_t)(equals - space - 1)) fail_archive("an extended header is malformed");
		apply(pax, space + 1, equals + 1, end);
		at = end + 1;
	}
}

void pax_clear(struct pax *pax) {
	free(pax->data);
	free(pax->chunks);
	memset(pax, 0, sizeof *pax);
}

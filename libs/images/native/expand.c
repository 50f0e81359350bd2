#include "expand.h"
#include "source.h"
#include "unpack.h"
#include <isa-l/igzip_lib.h>
#include <string.h>
#include <zstd.h>

enum {
	/* A frame that wants more memory than this is none that anybody made in earnest. */
	zstd_window_log_max = 27,
};

static unsigned char buffer[256 << 10];
static size_t position, filled;
static size_t (*read_plain)(unsigned char *to, size_t room);

static struct inflate_state gzip;
static ZSTD_DCtx *zstd;
/* The last call filled all the room it had: more may come without further input. */
static bool pending;
/* Between two gzip members or zstd frames: the only place where the input may end. */
static bool between = true;

static bool refill(void) {
	position = 0;
	filled = source_read(buffer, sizeof buffer);
	return filled > 0;
}

static bool has_input(void) {
	return position < filled || refill();
}

static size_t read_stored(unsigned char *to, size_t room) {
	if (!has_input()) return 0;
	size_t length = filled - position < room ? filled - position : room;
	memcpy(to, buffer + position, length);
	position += length;
	return length;
}

static void begin_member(void) {
	isal_inflate_init(&gzip);
	gzip.crc_flag = ISAL_GZIP;
	between = false;
}

static size_t read_gzip(unsigned char *to, size_t room) {
	gzip.next_out = to;
	gzip.avail_out = (uint32_t)room;
	while (gzip.avail_out == room) {
		if (between) {
			/* What follows the last member and is none (tape padding) does not count. */
			if (!has_input() || buffer[position] != 0x1f) {
				while (has_input()) position = filled;
				return 0;
			}
			begin_member();
			gzip.next_out = to;
			gzip.avail_out = (uint32_t)room;
		}
		if (!pending && !has_input()) fail_archive("it is damaged: the gzip data ends too early");
		gzip.next_in = buffer + position;
		gzip.avail_in = (uint32_t)(filled - position);
		int result = isal_inflate(&gzip);
		if (result != ISAL_DECOMP_OK && result != ISAL_END_INPUT) fail_archive("it is damaged: not valid gzip");
		position = filled - gzip.avail_in;
		pending = gzip.avail_out == 0;
		if (gzip.block_state == ISAL_BLOCK_FINISH) {
			between = true;
			pending = false;
		}
	}
	return room - gzip.avail_out;
}

static size_t read_zstd(unsigned char *to, size_t room) {
	ZSTD_outBuffer output = { to, room, 0 };
	while (output.pos == 0) {
		if (!pending && position == filled && !refill()) {
			if (!between) fail_archive("it is damaged: the zstd data ends too early");
			return 0;
		}
		ZSTD_inBuffer input = { buffer, filled, position };
		size_t result = ZSTD_decompressStream(zstd, &output, &input);
		if (ZSTD_isError(result)) fail_archive("it is damaged: not valid zstd");
		position = input.pos;
		between = result == 0;
		pending = output.pos == room && !between;
	}
	return output.pos;
}

void expand_open(void) {
	static const unsigned char gzip_magic[] = { 0x1f, 0x8b }, zstd_magic[] = { 0x28, 0xb5, 0x2f, 0xfd };
	read_plain = read_stored;
	/* A pipe may give the first bytes one by one. */
	while (filled < sizeof zstd_magic) {
		size_t got = source_read(buffer + filled, sizeof buffer - filled);
		if (got == 0) break;
		filled += got;
	}
	if (filled >= sizeof gzip_magic && memcmp(buffer, gzip_magic, sizeof gzip_magic) == 0) read_plain = read_gzip;
	if (filled >= sizeof zstd_magic && memcmp(buffer, zstd_magic, sizeof zstd_magic) == 0) {
		zstd = ZSTD_createDCtx();
		if (!zstd || ZSTD_isError(ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, zstd_window_log_max))) fail_system("out of memory");
		read_plain = read_zstd;
	}
}

size_t expand_read(unsigned char *to, size_t room) {
	return read_plain(to, room);
}

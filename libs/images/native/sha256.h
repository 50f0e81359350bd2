/* FIPS 180-4 SHA-256, with the processor's own instructions where it has them. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct sha256 {
	uint32_t state[8];
	uint64_t length;
	unsigned char block[64];
	size_t filled;
};

void sha256_begin(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *bytes, size_t length);
/* 64 hexadecimal digits and a zero byte. */
void sha256_end(struct sha256 *hash, char digest[65]);

#include "sha256.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t round_constants[64] __attribute__((aligned(16))) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t value, int bits) {
	return value >> bits | value << (32 - bits);
}

static void blocks_plain(uint32_t state[8], const unsigned char *at, size_t count) {
	for (; count; count--, at += 64) {
		uint32_t w[64], s[8];
		for (int i = 0; i < 16; i++) w[i] = (uint32_t)at[i * 4] << 24 | (uint32_t)at[i * 4 + 1] << 16 | (uint32_t)at[i * 4 + 2] << 8 | at[i * 4 + 3];
		for (int i = 16; i < 64; i++) {
			uint32_t a = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
			uint32_t b = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
			w[i] = w[i - 16] + a + w[i - 7] + b;
		}
		memcpy(s, state, sizeof s);
		for (int i = 0; i < 64; i++) {
			uint32_t e = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25);
			uint32_t a = rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22);
			uint32_t first = s[7] + e + ((s[4] & s[5]) ^ (~s[4] & s[6])) + round_constants[i] + w[i];
			uint32_t second = a + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
			memmove(s + 1, s, sizeof *s * 7);
			s[4] += first;
			s[0] = first + second;
		}
		for (int i = 0; i < 8; i++) state[i] += s[i];
	}
}

#if defined(__x86_64__)
/* Four rounds an instruction pair: Intel SHA Extensions, order of the registers as in Intel's white paper of 2013. */
__attribute__((target("sha,sse4.1,ssse3"))) static void blocks_fast(uint32_t state[8], const unsigned char *at, size_t count) {
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bULL, 0x0405060700010203ULL);
	__m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
	__m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
	__m128i abef = _mm_alignr_epi8(low, high, 8);
	__m128i cdgh = _mm_blend_epi16(high, low, 0xf0);
	for (; count; count--, at += 64) {
		__m128i abef_before = abef, cdgh_before = cdgh, words[4];
#pragma GCC unroll 4
		for (int i = 0; i < 4; i++) words[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(at + i * 16)), swap);
		/* Written out by the compiler, the words stay in registers: a fifth faster. */
#pragma GCC unroll 16
		for (int i = 0; i < 16; i++) {
			__m128i word = words[i & 3];
			if (i >= 4) {
				/* The sixteen words before it make the next four. */
				__m128i middle = _mm_alignr_epi8(words[(i + 3) & 3], words[(i + 2) & 3], 4);
				word = _mm_add_epi32(_mm_sha256msg1_epu32(word, words[(i + 1) & 3]), middle);
				word = _mm_sha256msg2_epu32(word, words[(i + 3) & 3]);
				words[i & 3] = word;
			}
			__m128i sum = _mm_add_epi32(word, _mm_load_si128((const __m128i *)(round_constants + i * 4)));
			cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
			abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
		}
		abef = _mm_add_epi32(abef, abef_before);
		cdgh = _mm_add_epi32(cdgh, cdgh_before);
	}
	low = _mm_shuffle_epi32(abef, 0x1b);
	high = _mm_shuffle_epi32(cdgh, 0xb1);
	_mm_storeu_si128((__m128i *)state, _mm_blend_epi16(low, high, 0xf0));
	_mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(high, low, 8));
}

static bool has_instructions(void) {
	unsigned a, b, c, d;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}
#else
static void blocks_fast(uint32_t state[8], const unsigned char *at, size_t count) {
	blocks_plain(state, at, count);
}

static bool has_instructions(void) {
	return false;
}
#endif

static void add_blocks(struct sha256 *hash, const unsigned char *at, size_t count) {
	static int fast = -1;
	if (fast < 0) fast = has_instructions();
	if (fast) blocks_fast(hash->state, at, count);
	else blocks_plain(hash->state, at, count);
}

void sha256_begin(struct sha256 *hash) {
	static const uint32_t start[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	memset(hash, 0, sizeof *hash);
	memcpy(hash->state, start, sizeof start);
}

void sha256_add(struct sha256 *hash, const void *bytes, size_t length) {
	const unsigned char *at = bytes;
	hash->length += length;
	if (hash->filled) {
		size_t part = sizeof hash->block - hash->filled < length ? sizeof hash->block - hash->filled : length;
		memcpy(hash->block + hash->filled, at, part);
		hash->filled += part;
		at += part;
		length -= part;
		if (hash->filled < sizeof hash->block) return;
		add_blocks(hash, hash->block, 1);
		hash->filled = 0;
	}
	add_blocks(hash, at, length / 64);
	hash->filled = length % 64;
	memcpy(hash->block, at + length - hash->filled, hash->filled);
}

void sha256_end(struct sha256 *hash, char digest[65]) {
	uint64_t bits = hash->length * 8;
	unsigned char end[72] = { 0x80 };
	size_t zeros = (119 - hash->filled) % 64;
	for (int i = 0; i < 8; i++) end[1 + zeros + (size_t)i] = (unsigned char)(bits >> (56 - i * 8));
	sha256_add(hash, end, 1 + zeros + 8);
	for (int i = 0; i < 8; i++) sprintf(digest + i * 8, "%08x", hash->state[i]);
}

/* Base64, as RFC 4648 has it: where the CPU shuffles bytes 12 at a time, as in W. Mula and D. Lemire,
 * Faster Base64 Encoding and Decoding Using AVX2 Instructions, ACM TWEB 12 (3), 2018. */
#include <stddef.h>
#include <stdint.h>

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#ifdef __x86_64__
#include <immintrin.h>

/* Returns how many bytes it has taken; 16 may be read for 12. */
__attribute__((target("ssse3"))) static size_t base64_by_shuffling(char *to,
								   const unsigned char *from,
								   size_t count)
{
	const __m128i spread = _mm_set_epi8(10, 11, 9, 10, 7, 8, 6, 7, 4, 5, 3, 4, 1, 2, 0, 1);
	/* From a digit's value to its character: of 0..25, of 52 and each behind it, of 26..51. */
	const __m128i shifts = _mm_setr_epi8('a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
					     '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
					     '+' - 62, '/' - 63, 'A', 0, 0);
	size_t done = 0;

	for (; count - done >= 16; done += 12, to += 16) {
		__m128i in = _mm_loadu_si128((const __m128i *)(from + done)), high, low, kind;

		in = _mm_shuffle_epi8(in, spread);
		high = _mm_mulhi_epu16(_mm_and_si128(in, _mm_set1_epi32(0x0fc0fc00)),
				       _mm_set1_epi32(0x04000040));
		low = _mm_mullo_epi16(_mm_and_si128(in, _mm_set1_epi32(0x003f03f0)),
				      _mm_set1_epi32(0x01000010));
		in = _mm_or_si128(high, low);
		kind = _mm_subs_epu8(in, _mm_set1_epi8(51));
		kind = _mm_or_si128(kind, _mm_and_si128(_mm_cmpgt_epi8(_mm_set1_epi8(26), in),
							_mm_set1_epi8(13)));
		in = _mm_add_epi8(in, _mm_shuffle_epi8(shifts, kind));
		_mm_storeu_si128((__m128i *)to, in);
	}
	return done;
}
#endif

static size_t base64_length(size_t count)
{
	return (count + 2) / 3 * 4;
}

/* Writes base64_length() characters. */
static void base64(char *to, const unsigned char *from, size_t count)
{
	size_t done = 0;

#ifdef __x86_64__
	if (count >= 16 && __builtin_cpu_supports("ssse3"))
		done = base64_by_shuffling(to, from, count);
#endif
	for (to += base64_length(done), from += done, count -= done; count; to += 4) {
		size_t nr = count < 3 ? count : 3;
		uint32_t bits = from[0] << 16 | (nr > 1 ? from[1] << 8 : 0) | (nr > 2 ? from[2] : 0);

		for (size_t i = 0; i < 4; i++)
			to[i] = i <= nr ? base64_digits[bits >> (18 - 6 * i) & 63] : '=';
		from += nr;
		count -= nr;
	}
}

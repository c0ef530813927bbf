/* Memory in page frames that are scattered over RAM (scullvfs/mm/scatterlist.py). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

enum { MM_PAGE_SIZE = 4096 };	/* of the emulated machine */
enum { SCULLVFS_MAX_REQUEST = 1 << 20 };	/* the kernel asks for 1 MiB at most */

struct scullvfs_sg {
	char *ram;
	const void *words;	/* one for each page */
	size_t width;		/* of a word: 4 or 8 bytes */
	uint64_t address_bits;	/* of a word: the physical address */
	size_t offset;		/* in the first page */
	size_t count;
};

static size_t nr_pages(const struct scullvfs_sg *sg)
{
	return (sg->offset + sg->count + MM_PAGE_SIZE - 1) / MM_PAGE_SIZE;
}

static uint64_t phys(const struct scullvfs_sg *sg, size_t n)
{
	uint64_t word = sg->width == 4 ? ((const uint32_t *)sg->words)[n]
				       : ((const uint64_t *)sg->words)[n];

	return word & sg->address_bits;
}

/* What there is of it in its n-th page. */
static struct iovec piece(const struct scullvfs_sg *sg, size_t n)
{
	size_t begin = n ? 0 : sg->offset;
	size_t end = sg->offset + sg->count - n * MM_PAGE_SIZE;

	return (struct iovec){
		.iov_base = sg->ram + phys(sg, n) + begin,
		.iov_len = (end < MM_PAGE_SIZE ? end : MM_PAGE_SIZE) - begin,
	};
}

static bool in_ram(const struct scullvfs_sg *sg, size_t ram_size, size_t words_size)
{
	if (sg->width != 4 && sg->width != 8)
		return false;
	if (sg->offset >= MM_PAGE_SIZE || sg->count > ram_size ||
	    nr_pages(sg) > words_size / sg->width)
		return false;
	for (size_t n = 0; n < nr_pages(sg); n++)
		if (phys(sg, n) >= ram_size || ram_size - phys(sg, n) < MM_PAGE_SIZE)
			return false;
	return true;
}

static void copy_from_buffer(const struct scullvfs_sg *sg, const char *buf)
{
	for (size_t n = 0; n < nr_pages(sg); n++) {
		struct iovec to = piece(sg, n);

		memcpy(to.iov_base, buf, to.iov_len);
		buf += to.iov_len;
	}
}

enum { SCULLVFS_MAX_IOV = SCULLVFS_MAX_REQUEST / MM_PAGE_SIZE + 1 };

/* Where all of it is; returns in how many pieces, 0 if they are too many. */
static size_t scullvfs_iov(const struct scullvfs_sg *sg, struct iovec iov[SCULLVFS_MAX_IOV])
{
	size_t nr = nr_pages(sg);

	if (nr > SCULLVFS_MAX_IOV)
		return 0;
	for (size_t n = 0; n < nr; n++)
		iov[n] = piece(sg, n);
	return nr;
}

/* What one pread(2) or pwrite(2) costs: `client FILE read|write|first BYTES CALLS SPAN`.
 *
 * `first` empties the file and then writes.
 *
 * Makes CALLS calls of BYTES each, one after the other through the first SPAN bytes of the file
 * and then from its start again, and prints the nanoseconds that a call took. A call that moves
 * less than BYTES is an error: its time would not be that of the others.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int argc, char *argv[])
{
	if (argc != 6)
		errx(2, "usage: client FILE read|write|first BYTES CALLS SPAN");

	int first = strcmp(argv[2], "first") == 0;
	int writes = first || strcmp(argv[2], "write") == 0;
	size_t bytes = strtoull(argv[3], NULL, 10);
	unsigned long calls = strtoul(argv[4], NULL, 10);
	off_t span = strtoll(argv[5], NULL, 10), at = 0;
	int fd = open(argv[1], O_RDWR);
	void *buffer;

	if (fd < 0)
		err(1, "%s", argv[1]);
	if (posix_memalign(&buffer, 4096, bytes) != 0)
		errx(1, "no memory");
	memset(buffer, 0xa5, bytes);
	if (first && ftruncate(fd, 0) != 0)
		err(1, "ftruncate %s", argv[1]);

	double start = now();

	for (unsigned long call = 0; call < calls; call++) {
		ssize_t moved = writes ? pwrite(fd, buffer, bytes, at) : pread(fd, buffer, bytes, at);

		if (moved < 0)
			err(1, "%s at %jd", argv[2], (intmax_t)at);
		if ((size_t)moved != bytes)
			errx(1, "%s at %jd: %zd bytes instead of %zu", argv[2], (intmax_t)at, moved, bytes);
		at += bytes;
		if (at + (off_t)bytes > span)
			at = 0;
	}
	printf("%.1f\n", (now() - start) / calls);
	return 0;
}

/* The loop's part without Python: waiting for a request, and receiving it; polling.py tells when
 * which part of it is used.
 *
 * fuse_session_receive_buf() arrives here, as fuse_session_new() in session.c, since
 * scullvfs_next() may have received already what pyfuse3 is to process.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdbool.h>
#include <time.h>
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

static uint64_t scullvfs_requests;	/* received until now */

enum scullvfs_outcome {
	SCULLVFS_OTHER,		/* something for pyfuse3: a request, or the end of the mount */
	SCULLVFS_TURN,		/* the time is over, and there may be more to do */
	SCULLVFS_IDLE,		/* nothing came */
	SCULLVFS_CLOSED,	/* the session is to end */
	SCULLVFS_READY,		/* a read or a write, for scullvfs_process() */
};

static struct {
	struct fuse_buf buf;
	int result;		/* of fuse_session_receive_buf() */
	bool full;		/* it is left for pyfuse3 */
} received;

static int64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Wait for a request: first without sleeping, then asleep.  A signal ends the wait, since
 * Python has to see it. */
static bool readable(int64_t now, int64_t spin_ns, int sleep_ms)
{
	struct pollfd fd = { .fd = fuse_session_fd(session), .events = POLLIN };
	int64_t end = now + spin_ns;
	int ready = 0;

	while (spin_ns && ready == 0 && nanoseconds() < end)
		ready = poll(&fd, 1, 0);
	if (ready == 0)
		ready = poll(&fd, 1, sleep_ms);
	return ready > 0;
}

static int receive(struct fuse_session *se, struct fuse_buf *buf)
{
	static int (*real)(struct fuse_session *, struct fuse_buf *);
	int result;

	if (!real)
		real = dlsym(RTLD_NEXT, "fuse_session_receive_buf");
	result = real(se, buf);
	scullvfs_current = NULL;	/* may be answered from now on */
	if (result > 0)
		scullvfs_requests++;
	return result;
}

static bool is_read_or_write(const struct fuse_buf *buf)
{
	const struct fuse_in_header *in = buf->mem;

	return !(buf->flags & FUSE_BUF_IS_FD) &&
	       (in->opcode == FUSE_READ || in->opcode == FUSE_WRITE);
}

/* A request that was there when poll(2) looked may be gone: its caller was killed meanwhile.
 * Then a read must not wait for the next one. */
static bool never_block(int fd)
{
	static int done = -1;
	int flags;

	if (fd == done)
		return true;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return false;	/* with an errno */
	done = fd;
	return true;
}

/* Wait for a request and receive it, until the time on CLOCK_MONOTONIC is `end`.  The session's
 * descriptor is one that does not block. */
static enum scullvfs_outcome scullvfs_next(int64_t end, int64_t spin_ns, int sleep_ms)
{
	int64_t now;

	while ((now = nanoseconds()) < end) {
		if (fuse_session_exited(session))
			return SCULLVFS_CLOSED;
		if (!readable(now, spin_ns, sleep_ms))
			return SCULLVFS_IDLE;
		received.result = receive(session, &received.buf);
		if (received.result == -EINTR || received.result == -EAGAIN)
			continue;
		if (received.result > 0 && is_read_or_write(&received.buf))
			return SCULLVFS_READY;
		received.full = true;
		return SCULLVFS_OTHER;
	}
	return SCULLVFS_TURN;
}

/* What has been received comes to the operations in session.c, and is answered. */
static void scullvfs_process(void)
{
	fuse_session_process_buf(session, &received.buf);
}

/* Called by pyfuse3. */
int fuse_session_receive_buf(struct fuse_session *se, struct fuse_buf *buf)
{
	struct fuse_buf mine = received.buf;
	int result;

	if (!received.full) {
		result = receive(se, buf);
		return result == -EAGAIN ? -EINTR : result;
	}
	received.full = false;
	received.buf = *buf;	/* its memory is used for the next request */
	*buf = mine;
	return received.result;
}

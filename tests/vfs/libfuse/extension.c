/* The extension without Python: in the place of module.c, what answers the requests says so.
 *
 * With NO_MEMORY defined libfuse has none for another option.
 */
#ifdef NO_MEMORY
#define _GNU_SOURCE
#include <stddef.h>
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
static int no_memory(struct fuse_args *args, const char *arg)
{
	(void)args, (void)arg;
	return -1;
}
#define fuse_opt_add_arg no_memory
#endif
#include "scatterlist.c"
#include "session.c"
#include "loop.c"

static void said(const char *what, uint64_t fh, size_t size, int64_t off)
{
	printf("%s fh %d: %zu at %lld\n", what, (int)fh, size, (long long)off);
	fflush(stdout);
}

static void scullvfs_read(fuse_req_t req, uint64_t fh, size_t size, int64_t off, bool page_cache,
			  int flags)
{
	(void)flags;
	said(page_cache ? "page cache" : "read", fh, size, off);
	fuse_reply_buf(req, "extension", 9);
}

static void scullvfs_write(fuse_req_t req, uint64_t fh, const char *buf, size_t size, int64_t off,
			   bool page_cache, int flags)
{
	(void)buf;
	said(page_cache ? "page cache's write" : (flags & O_ACCMODE) == O_RDWR ? "write" : "write, other flags", fh, size, off);
	fuse_reply_write(req, size);
}

static void scullvfs_ioctl(fuse_req_t req, uint64_t fh, unsigned int cmd, uintptr_t arg,
			   const void *in, size_t in_size, int flags)
{
	(void)in, (void)in_size, (void)flags;
	said("ioctl", fh, cmd, arg);
	fuse_reply_ioctl(req, 7, NULL, 0);
}

static void scullvfs_lseek(fuse_req_t req, uint64_t fh, int64_t off, int whence)
{
	said("lseek", fh, whence, off);
	fuse_reply_lseek(req, off + 1000);
}

static void scullvfs_fallocate(fuse_req_t req, uint64_t fh, int mode, int64_t off, int64_t length)
{
	(void)mode;
	said("fallocate", fh, length, off);
	fuse_reply_err(req, EXDEV);
}

static void scullvfs_poll(fuse_req_t req, uint64_t fh, struct fuse_pollhandle *handle)
{
	said("poll", fh, 0, handle != NULL);
	if (handle)
		fuse_pollhandle_destroy(handle);
	fuse_reply_poll(req, POLLPRI);
}

void serve(void);

/* As fuse/polling.py: until there is something for the server. */
void serve(void)
{
	enum scullvfs_outcome outcome;

	scullvfs_copy_file_range_errno = EDQUOT;
	if (!never_block(fuse_session_fd(session)))
		return;
	do {
		outcome = scullvfs_next(INT64_MAX, 0, 1000);
		if (outcome == SCULLVFS_READY)
			scullvfs_process();
	} while (outcome == SCULLVFS_IDLE || outcome == SCULLVFS_READY);
}

/* What else module.c uses. */
bool (*const check)(const struct scullvfs_sg *, size_t, size_t) = in_ram;
void (*const copy)(const struct scullvfs_sg *, const char *) = copy_from_buffer;
size_t (*const pieces)(const struct scullvfs_sg *, struct iovec *) = scullvfs_iov;

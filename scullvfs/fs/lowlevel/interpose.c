/* The low-level operations that pyfuse3 leaves out; __init__.py tells the story.
 *
 * pyfuse3 calls fuse_session_new() with its table of operations.  This library is loaded
 * before it, with RTLD_GLOBAL, so the call arrives here: the table is copied, what is
 * missing is filled in, and the real function is called with the copy.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

/* What pyfuse3 does not pass on of the request that it is serving. */
struct scullvfs_request {
	int flags;		/* of the open file as they are now, fcntl(F_SETFL) included; -1: unknown */
	bool page_cache;	/* it comes from the page cache and not from a system call */
};

static struct scullvfs_request scullvfs_request = { .flags = -1 };
static int scullvfs_copy_file_range_errno = EOPNOTSUPP;
static unsigned int scullvfs_max_write = 1 << 20;	/* bytes of a request, writes and reads */
static bool scullvfs_hooked;

/* In Python. */
static void scullvfs_ioctl(fuse_req_t req, uint64_t fh, unsigned int cmd, uintptr_t arg,
			   const void *in, size_t in_size);
static void scullvfs_lseek(fuse_req_t req, uint64_t fh, int64_t off, int whence);
static void scullvfs_fallocate(fuse_req_t req, uint64_t fh, int mode, int64_t off, int64_t length);

static struct fuse_lowlevel_ops pyfuse3;

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	if (pyfuse3.init)
		pyfuse3.init(userdata, conn);
	if (conn->max_write > scullvfs_max_write)
		conn->max_write = scullvfs_max_write;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	/* read(2) past the page cache bears its lock owner, filling the page cache does not
	 * (Linux: fs/fuse/file.c:fuse_send_read(), fuse_read_args_fill()). */
	scullvfs_request = (struct scullvfs_request){ fi->flags, fi->lock_owner == 0 };
	pyfuse3.read(req, ino, size, off, fi);
}

static void op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *bufv, off_t off,
			 struct fuse_file_info *fi)
{
	scullvfs_request = (struct scullvfs_request){ fi->flags, fi->writepage };
	pyfuse3.write_buf(req, ino, bufv, off, fi);
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
		     struct fuse_file_info *fi, unsigned int flags, const void *in_buf,
		     size_t in_bufsz, size_t out_bufsz)
{
	(void)ino, (void)out_bufsz;
	if (flags & FUSE_IOCTL_DIR)
		fuse_reply_err(req, ENOTTY);
	else
		scullvfs_ioctl(req, fi->fh, cmd, (uintptr_t)arg, in_buf, in_bufsz);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	(void)ino;
	scullvfs_lseek(req, fi->fh, off, whence);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t length,
			 struct fuse_file_info *fi)
{
	(void)ino;
	scullvfs_fallocate(req, fi->fh, mode, off, length);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			       struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			       struct fuse_file_info *fi_out, size_t len, int flags)
{
	(void)ino_in, (void)off_in, (void)fi_in, (void)ino_out, (void)off_out, (void)fi_out;
	(void)len, (void)flags;
	fuse_reply_err(req, scullvfs_copy_file_range_errno);
}

static const struct fuse_lowlevel_ops *completed(const struct fuse_lowlevel_ops *op, size_t size)
{
	static struct fuse_lowlevel_ops ops;

	if (op == &ops)		/* from libfuse 3.17 on one of the functions below calls the other */
		return op;
	memset(&ops, 0, sizeof ops);
	memcpy(&ops, op, size < sizeof ops ? size : sizeof ops);
	pyfuse3 = ops;
	ops.init = op_init;
	if (ops.read)
		ops.read = op_read;
	if (ops.write_buf)
		ops.write_buf = op_write_buf;
	if (!ops.ioctl)
		ops.ioctl = op_ioctl;
	if (!ops.lseek)
		ops.lseek = op_lseek;
	if (!ops.fallocate)
		ops.fallocate = op_fallocate;
	if (!ops.copy_file_range)
		ops.copy_file_range = op_copy_file_range;
	scullvfs_hooked = true;
	return &ops;
}

#undef fuse_session_new

/* libfuse up to 3.16, and programs that were built with its headers. */
struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
				      size_t op_size, void *userdata)
{
	struct fuse_session *(*real)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
				     void *) = dlsym(RTLD_NEXT, "fuse_session_new");

	return real ? real(args, completed(op, op_size), sizeof *op, userdata) : NULL;
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
/* From libfuse 3.17 on fuse_session_new() is an inline function that calls this one. */
struct fuse_session *fuse_session_new_versioned(struct fuse_args *args,
						const struct fuse_lowlevel_ops *op, size_t op_size,
						const struct libfuse_version *version,
						void *userdata)
{
	struct fuse_session *(*real)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
				     const struct libfuse_version *, void *) =
		dlsym(RTLD_NEXT, "fuse_session_new_versioned");

	return real ? real(args, completed(op, op_size), sizeof *op, version, userdata) : NULL;
}
#endif

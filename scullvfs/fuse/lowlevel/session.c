/* Between pyfuse3 and libfuse: the table of operations, and the session; __init__.py tells the
 * story.
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
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

static int scullvfs_copy_file_range_errno = EOPNOTSUPP;
static unsigned int scullvfs_max_write = 1 << 20;	/* bytes of a request, writes and reads */
static bool scullvfs_auto_inval_data = true;	/* drop cached pages when st_mtime changes */
static bool scullvfs_writeback;	/* write(2) ends in the page cache, which is written back later */
static bool scullvfs_hooked;

/* In module.c: requests for Python, each of which is answered there. */
static void scullvfs_read(fuse_req_t req, uint64_t fh, size_t size, int64_t off, bool page_cache,
			  int flags);
static void scullvfs_write(fuse_req_t req, uint64_t fh, const char *buf, size_t size, int64_t off,
			   bool page_cache, int flags);
static void scullvfs_ioctl(fuse_req_t req, uint64_t fh, unsigned int cmd, uintptr_t arg,
			   const void *in, size_t in_size, int flags);
static void scullvfs_lseek(fuse_req_t req, uint64_t fh, int64_t off, int whence);
static void scullvfs_fallocate(fuse_req_t req, uint64_t fh, int mode, int64_t off, int64_t length);
static void scullvfs_poll(fuse_req_t req, uint64_t fh, struct fuse_pollhandle *handle);

static struct fuse_lowlevel_ops pyfuse3;
static struct fuse_session *session;
/* What pyfuse3 has made a coroutine of; it begins before the next request is processed. */
static fuse_req_t scullvfs_current;

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	if (pyfuse3.init)
		pyfuse3.init(userdata, conn);
	if (conn->max_write > scullvfs_max_write)
		conn->max_write = scullvfs_max_write;
	conn->max_read = scullvfs_max_write;	/* as the mount has it, see add_max_read() */
	/* Of fills of the page cache the kernel sends no more than so many before one is answered;
	 * those of a device that takes its time must not hold up others'. */
	conn->max_background = UINT16_MAX;
	if (!scullvfs_auto_inval_data)
		conn->want &= ~(unsigned int)FUSE_CAP_AUTO_INVAL_DATA;
	if (scullvfs_writeback)
		conn->want |= conn->capable & FUSE_CAP_WRITEBACK_CACHE;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	scullvfs_current = req;
	pyfuse3.open(req, ino, fi);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	scullvfs_current = req;
	pyfuse3.setattr(req, ino, attr, to_set, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)ino;
	/* read(2) past the page cache bears its lock owner, filling the page cache does not
	 * (Linux: fs/fuse/file.c:fuse_send_read(), fuse_read_args_fill()). */
	scullvfs_read(req, fi->fh, size, off, fi->lock_owner == 0, fi->flags);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	(void)ino;
	/* The flags as they are now, fcntl(F_SETFL) included. */
	scullvfs_write(req, fi->fh, buf, size, off, fi->writepage, fi->flags);
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
		     struct fuse_file_info *fi, unsigned int flags, const void *in_buf,
		     size_t in_bufsz, size_t out_bufsz)
{
	(void)ino, (void)out_bufsz;
	if (flags & FUSE_IOCTL_DIR)
		fuse_reply_err(req, ENOTTY);
	else
		scullvfs_ioctl(req, fi->fh, cmd, (uintptr_t)arg, in_buf, in_bufsz, fi->flags);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	(void)ino;
	/* What is not written back yet, here is a hole; after this answer, the kernel does not ask
	 * again, and takes all of a file for data. */
	if (scullvfs_writeback)
		fuse_reply_err(req, ENOSYS);
	else
		scullvfs_lseek(req, fi->fh, off, whence);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t length,
			 struct fuse_file_info *fi)
{
	(void)ino;
	scullvfs_fallocate(req, fi->fh, mode, off, length);
}

static void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		    struct fuse_pollhandle *handle)
{
	(void)ino;
	scullvfs_poll(req, fi->fh, handle);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			       struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			       struct fuse_file_info *fi_out, size_t len, int flags)
{
	(void)ino_in, (void)off_in, (void)fi_in, (void)ino_out, (void)off_out, (void)fi_out;
	(void)len, (void)flags;
	fuse_reply_err(req, scullvfs_copy_file_range_errno);
}

enum { INO_BITS = 41 };	/* of a node id, as looks.py has it */

/* pyfuse3 calls it, and has one number only, the node's id, of which st_ino is a part. */
int fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *answer)
{
	static int (*real)(fuse_req_t, const struct fuse_entry_param *);
	struct fuse_entry_param entry = *answer;

	if (!real)
		real = dlsym(RTLD_NEXT, "fuse_reply_entry");
	entry.attr.st_ino &= ((uint64_t)1 << INO_BITS) - 1;
	return real ? real(req, &entry) : fuse_reply_err(req, ENOSYS);
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
	if (ops.open)
		ops.open = op_open;
	if (ops.setattr)
		ops.setattr = op_setattr;
	ops.read = op_read;
	ops.write = op_write;
	/* With it, libfuse would splice every request through a pipe: two more system calls. */
	ops.write_buf = NULL;
	if (!ops.ioctl)
		ops.ioctl = op_ioctl;
	if (!ops.lseek)
		ops.lseek = op_lseek;
	if (!ops.fallocate)
		ops.fallocate = op_fallocate;
	ops.poll = op_poll;	/* pyfuse3's answers ENOSYS */
	if (!ops.copy_file_range)
		ops.copy_file_range = op_copy_file_range;
	scullvfs_hooked = true;
	return &ops;
}

#undef fuse_session_new

/* How large reads may be the kernel takes from the options of the mount.  Where there is no memory
 * for them there is no session, and libfuse has said why. */
static bool add_max_read(struct fuse_args *to, const struct fuse_args *from)
{
	char option[32];
	bool there = false;	/* from libfuse 3.17 on, as in completed() */

	snprintf(option, sizeof option, "-omax_read=%u", scullvfs_max_write);
	for (int i = 0; i < from->argc; i++) {
		if (fuse_opt_add_arg(to, from->argv[i]) < 0)
			return false;
		there = there || !strcmp(from->argv[i], option);
	}
	return there || fuse_opt_add_arg(to, option) == 0;
}

/* libfuse up to 3.16, and programs that were built with its headers. */
struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
				      size_t op_size, void *userdata)
{
	struct fuse_session *(*real)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
				     void *) = dlsym(RTLD_NEXT, "fuse_session_new");
	struct fuse_args mine = FUSE_ARGS_INIT(0, NULL);

	session = real && add_max_read(&mine, args)
			  ? real(&mine, completed(op, op_size), sizeof *op, userdata)
			  : NULL;
	fuse_opt_free_args(&mine);
	return session;
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
/* From libfuse 3.17 on fuse_session_new() is an inline function that calls this one.  Headers
 * do not agree on whether the version is const, so it has a name of its own in C. */
struct fuse_session *new_versioned(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
				   size_t op_size, const void *version, void *userdata)
	__asm__("fuse_session_new_versioned");

struct fuse_session *new_versioned(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
				   size_t op_size, const void *version, void *userdata)
{
	struct fuse_session *(*real)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
				     const void *, void *) =
		dlsym(RTLD_NEXT, "fuse_session_new_versioned");
	struct fuse_args mine = FUSE_ARGS_INIT(0, NULL);

	session = real && add_max_read(&mine, args)
			  ? real(&mine, completed(op, op_size), sizeof *op, version, userdata)
			  : NULL;
	fuse_opt_free_args(&mine);
	return session;
}
#endif

/* The floor: a FUSE server that keeps no data, the least that any one costs.
 *
 * It has one file, `data`. A write is counted into the file's size and forgotten, a read gives
 * zeros up to that size, and truncation sets it. Reads and writes come directly from the caller
 * (no page cache), in one thread, as for a device of scullvfs; or with the page cache, `-o cached`,
 * as for a file, and written back later, `-o writeback`. So what scullvfs takes longer is its own
 * cost; what this takes is that of the kernel, of libfuse, and of copying.
 *
 *     cc -O2 -o floor floor.c $(pkg-config --cflags --libs fuse3)
 *     ./floor -f MOUNTPOINT
 *
 * SIGTERM, SIGINT and SIGHUP unmount and end it.
 */
#define FUSE_USE_VERSION 312

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA_INO (FUSE_ROOT_ID + 1)
#define LARGEST_READ (1 << 20) /* Linux: fs/fuse/fuse_i.h:FUSE_MAX_MAX_PAGES, 256 */

static struct {
	int cached, writeback;
} rules;
static const struct fuse_opt rule_options[] = {
	{ "cached", offsetof(__typeof__(rules), cached), 1 },
	{ "writeback", offsetof(__typeof__(rules), writeback), 1 },
	FUSE_OPT_END,
};

static off_t size;
static char zeros[LARGEST_READ];

static struct stat attributes(fuse_ino_t ino)
{
	struct stat st = { .st_ino = ino, .st_uid = getuid(), .st_gid = getgid() };

	if (ino == FUSE_ROOT_ID) {
		st.st_mode = S_IFDIR | 0700;
		st.st_nlink = 2;
	} else {
		st.st_mode = S_IFREG | 0600;
		st.st_nlink = 1;
		st.st_size = size;
	}
	return st;
}

static void floor_init(void *data, struct fuse_conn_info *connection)
{
	(void)data;
	if (rules.writeback)
		connection->want |= connection->capable & FUSE_CAP_WRITEBACK_CACHE;
}

/* Seconds for which attributes hold: none, as of a device, so that every open asks for them. */
static double timeout(void)
{
	return rules.cached || rules.writeback ? 3600 : 0;
}

static void floor_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = { .ino = DATA_INO, .attr_timeout = timeout() };

	if (parent == FUSE_ROOT_ID && strcmp(name, "data") == 0) {
		entry.attr = attributes(DATA_INO);
		fuse_reply_entry(req, &entry);
	} else {
		fuse_reply_err(req, ENOENT);
	}
}

static void floor_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st = attributes(ino);

	(void)fi;
	fuse_reply_attr(req, &st, timeout());
}

static void floor_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *new, int what,
			  struct fuse_file_info *fi)
{
	if (what & FUSE_SET_ATTR_SIZE)
		size = new->st_size;
	floor_getattr(req, ino, fi);
}

static void floor_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino != DATA_INO) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	if (fi->flags & O_TRUNC) /* libfuse has the kernel leave it to us */
		size = 0;
	fi->keep_cache = rules.cached || rules.writeback;
	fi->direct_io = !fi->keep_cache;
	fuse_reply_open(req, fi);
}

static void floor_read(fuse_req_t req, fuse_ino_t ino, size_t count, off_t at,
		       struct fuse_file_info *fi)
{
	(void)ino, (void)fi;
	if (at >= size)
		count = 0;
	else if (count > (size_t)(size - at))
		count = size - at;
	fuse_reply_buf(req, zeros, count < sizeof(zeros) ? count : sizeof(zeros));
}

static void floor_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t count, off_t at,
			struct fuse_file_info *fi)
{
	(void)ino, (void)data, (void)fi;
	if (at + (off_t)count > size)
		size = at + count;
	fuse_reply_write(req, count);
}

static const struct fuse_lowlevel_ops operations = {
	.init = floor_init,
	.lookup = floor_lookup,
	.getattr = floor_getattr,
	.setattr = floor_setattr,
	.open = floor_open,
	.read = floor_read,
	.write = floor_write,
};

static int serve(struct fuse_session *session, const char *mountpoint)
{
	int failed;

	if (fuse_set_signal_handlers(session) != 0)
		return -1;
	failed = fuse_session_mount(session, mountpoint);
	if (!failed) {
		failed = fuse_session_loop(session) < 0; /* above 0: the signal that ended it */
		fuse_session_unmount(session);
	}
	fuse_remove_signal_handlers(session);
	return failed;
}

int main(int argc, char *argv[])
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct fuse_cmdline_opts options;
	struct fuse_session *session;
	int failed = 1;

	if (fuse_opt_parse(&args, &rules, rule_options, NULL) != 0 ||
	    fuse_parse_cmdline(&args, &options) != 0 || options.mountpoint == NULL) {
		fprintf(stderr, "usage: %s -f [-o cached|writeback] MOUNTPOINT\n", argv[0]);
		return 2;
	}
	session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
	if (session != NULL) {
		failed = serve(session, options.mountpoint) != 0;
		fuse_session_destroy(session);
	}
	free(options.mountpoint);
	fuse_opt_free_args(&args);
	return failed;
}

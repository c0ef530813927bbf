/* A file system of one file, by the same calls of libfuse as pyfuse3 makes, in the same order; its
 * table has a read and a write_buf, but no ioctl, lseek, fallocate or copy_file_range.
 *
 *     server MOUNTPOINT
 *
 * With OLD defined it is a program that was built with the headers of libfuse 3.16 or earlier.
 */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_INO = 2, FILE_SIZE = 1 << 20 };

#ifdef OLD
struct fuse_session *session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
				 size_t op_size, void *userdata) __asm__("fuse_session_new");
#else
#define session_new fuse_session_new
#endif

/* In extension.c, where that is loaded; as fuse/polling.py calls it before it lets pyfuse3 read. */
void serve(void) __attribute__((weak));

static struct stat stat_of(fuse_ino_t ino)
{
	return (struct stat){
		.st_ino = ino,
		.st_mode = ino == FILE_INO ? S_IFREG | 0666 : S_IFDIR | 0755,
		.st_nlink = 1,
		.st_size = ino == FILE_INO ? FILE_SIZE : 0,
	};
}

static void lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = { .ino = FILE_INO, .attr = stat_of(FILE_INO) };

	if (parent == FUSE_ROOT_ID && !strcmp(name, "file"))
		fuse_reply_entry(req, &entry);
	else
		fuse_reply_err(req, ENOENT);
}

static void getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat attr = stat_of(ino);

	(void)fi;
	fuse_reply_attr(req, &attr, 1);
}

static void open_file(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->direct_io = 1;	/* each system call is a request */
	fi->fh = 33;
	fuse_reply_open(req, fi);
}

static void read_file(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	(void)ino, (void)size, (void)off, (void)fi;
	fuse_reply_buf(req, "server", 6);
}

static void write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *bufv, off_t off,
		      struct fuse_file_info *fi)
{
	(void)ino, (void)off, (void)fi;
	fuse_reply_write(req, fuse_buf_size(bufv));
}

int main(int argc, char *argv[])
{
	struct fuse_lowlevel_ops ops = {
		.lookup = lookup,
		.getattr = getattr,
		.open = open_file,
		.read = read_file,
		.write_buf = write_buf,
	};
	char *options[] = { argv[0], "-ofsname=server" };
	struct fuse_args args = FUSE_ARGS_INIT(2, options);
	struct fuse_session *se = argc == 2 ? session_new(&args, &ops, sizeof ops, NULL) : NULL;
	struct fuse_buf buf = { 0 };
	int size;

	if (!se || fuse_session_mount(se, argv[1]) != 0)
		return 1;
	while (!fuse_session_exited(se)) {
		if (serve)
			serve();
		size = fuse_session_receive_buf(se, &buf);
		if (size == -EINTR)
			continue;
		if (size <= 0)
			break;
		fuse_session_process_buf(se, &buf);
	}
	fuse_session_unmount(se);
	fuse_session_destroy(se);
	free(buf.mem);
	return 0;
}

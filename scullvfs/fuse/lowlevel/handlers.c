/* The handlers that serve_with() was given: how one is called, for whom, and what that costs.
 *
 * A part of module.c.  What a handler raises becomes an errno here, and nowhere else in C.
 */

enum {
	READ, WRITE, IOCTL, LSEEK, FALLOCATE,
	NR_COUNTED,		/* those before are */
	HOLD = NR_COUNTED, POLL, WRITE_PAGES,
	NR_HANDLERS,
	OF_PYFUSE3 = NR_HANDLERS,
};

static const char *const handler_names[NR_HANDLERS] = {
	"read", "write", "ioctl", "lseek", "fallocate", "hold", "poll", "write_pages",
};
static PyObject *handlers[NR_HANDLERS];
static PyObject *errno_of;	/* of an exception */
static PyObject *would_wait;	/* an exception: a request is to be answered later */

static struct {		/* of attributes */
	PyObject *current, *ram, *words, *address_bits, *offset, *count, *release;
} names;

static PyObject *raised(void)
{
#if PY_VERSION_HEX >= 0x030c0000
	return PyErr_GetRaisedException();
#else
	PyObject *type, *error, *traceback;

	PyErr_Fetch(&type, &error, &traceback);
	PyErr_NormalizeException(&type, &error, &traceback);
	if (traceback)
		PyException_SetTraceback(error, traceback);
	Py_XDECREF(type);
	Py_XDECREF(traceback);
	return error;
#endif
}

/* What fuse_reply_err() passes on. */
static bool is_errno(long value)
{
	return 0 < value && value < 1000;
}

/* Answer with the errno of the exception that has been raised. */
static void fail(fuse_req_t req)
{
	PyObject *error = raised();
	PyObject *number = PyObject_CallOneArg(errno_of, error);
	long value = number ? PyLong_AsLong(number) : -1;

	if (PyErr_Occurred())
		PyErr_WriteUnraisable(errno_of);
	if (!is_errno(value))	/* libfuse would make ERANGE of it, and success of 0 */
		value = EIO;
	Py_XDECREF(number);
	Py_DECREF(error);
	fuse_reply_err(req, value);
}

/* -- who calls (scullvfs/mm/sched.py) ------------------------------------------------------ */

static PyObject *running;	/* has the attribute that is set */
static PyObject *task_type;	/* makes a task of pid, uid and gid */

/* Those who have called, since the same ones call again and again. */
static struct caller {
	PyObject *task;
	pid_t pid;
	uid_t uid;
	gid_t gid;
} callers[16];

/* Say whose request it is: a thread as the daemon's pid namespace numbers it, 0 for the kernel's
 * own. */
static bool set_current(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct caller *caller = &callers[(unsigned int)ctx->pid % (sizeof callers / sizeof *callers)];

	if (!caller->task || caller->pid != ctx->pid || caller->uid != ctx->uid ||
	    caller->gid != ctx->gid) {
		PyObject *task = PyObject_CallFunction(task_type, "iII", (int)ctx->pid,
						       (unsigned int)ctx->uid,
						       (unsigned int)ctx->gid);

		if (!task)
			return false;
		Py_XSETREF(caller->task, task);
		caller->pid = ctx->pid;
		caller->uid = ctx->uid;
		caller->gid = ctx->gid;
	}
	return PyObject_SetAttr(running, names.current, caller->task) == 0;
}

/* Call a handler for a request with the `nr` arguments behind args[0], which is CPython's to use.
 * The arguments are given away; where one is NULL, an exception has been raised already. */
static PyObject *call(int handler, fuse_req_t req, PyObject *args[], size_t nr)
{
	PyObject *result = NULL;
	bool complete = true;

	for (size_t i = 1; i <= nr; i++)
		complete = complete && args[i];
	if (complete && set_current(req))
		result = PyObject_Vectorcall(handlers[handler], args + 1,
					     nr | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
	for (size_t i = 1; i <= nr; i++)
		Py_XDECREF(args[i]);
	return result;
}

/* -- what calls cost (scullvfs/fs/calls.py) ------------------------------------------------ */

enum { ROW_BITS = 16, OPEN_AND_TRUNCATE = 2 };	/* which Python counts */

struct counter {
	uint64_t calls, bytes, errors, nanoseconds;
};

typedef struct counter row[NR_COUNTED + OPEN_AND_TRUNCATE];

static Py_buffer counters;	/* rows */

/* A request that was begun at a time is answered: its file handle has the number of its row. */
static void counted(int handler, uint64_t fh, size_t bytes, bool failed, int64_t began)
{
	size_t number = fh & ((1 << ROW_BITS) - 1);
	row *rows = counters.buf;

	if (number < counters.len / sizeof(row)) {
		struct counter *counter = &rows[number][handler];

		counter->calls++;
		counter->bytes += bytes;
		counter->errors += failed;
		counter->nanoseconds += nanoseconds() - began;
	}
}

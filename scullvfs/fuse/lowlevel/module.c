/* The way into Python, and out of it: the extension module `_interpose`.
 *
 * The way of a read or a write, from the top down; each line is called by the one that stands
 * further out above it:
 *
 *     serve()                    module.c       called by polling.py
 *         scullvfs_next()        loop.c         without the GIL: wait, and receive; it returns what
 *                                               has come, and anything but such a request is
 *                                               the result of serve()
 *         scullvfs_process()     loop.c         with the GIL, as all that follows
 *             op_read()          session.c      libfuse calls it with the request taken apart
 *                 scullvfs_read()    module.c   the one way in: calls the handler, and answers
 *                     scullvfs_iov() scatterlist.c  where the bytes of the answer are
 *
 * Other requests are processed by pyfuse3, with the GIL, and those that session.c has taken from it
 * come the same way from op_ioctl() ... on.  A handler may leave its answer for later (request.c).
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "scatterlist.c"
#include "session.c"
#include "loop.c"
#include "handlers.c"

/* -- a Scatterlist (scullvfs/mm/scatterlist.py) -------------------------------------------- */

struct view {
	struct scullvfs_sg sg;
	Py_buffer ram, words;		/* what it points into */
};

static bool get_buffer(PyObject *object, PyObject *name, Py_buffer *buffer, int flags)
{
	PyObject *value = PyObject_GetAttr(object, name);
	int result = value ? PyObject_GetBuffer(value, buffer, flags) : -1;

	Py_XDECREF(value);
	return result == 0;
}

static bool get_number(PyObject *object, PyObject *name, uint64_t *number)
{
	PyObject *value = PyObject_GetAttr(object, name);

	*number = value ? PyLong_AsUnsignedLongLong(value) : 0;
	Py_XDECREF(value);
	return !PyErr_Occurred();
}

static void release(struct view *view)
{
	PyBuffer_Release(&view->words);
	PyBuffer_Release(&view->ram);
}

/* Fill `view` from a Scatterlist, or raise an exception.  Nothing but this looks at it as an
 * object: from here on it is addresses, so they had better be in RAM. */
static bool get_view(PyObject *object, struct view *view)
{
	uint64_t address_bits, offset, count;

	*view = (struct view){ 0 };
	/* One after the other: a look for an attribute may drop an exception that there is. */
	if (!get_buffer(object, names.ram, &view->ram, PyBUF_WRITABLE) ||
	    !get_buffer(object, names.words, &view->words, PyBUF_ND | PyBUF_FORMAT) ||
	    !get_number(object, names.address_bits, &address_bits) ||
	    !get_number(object, names.offset, &offset) ||
	    !get_number(object, names.count, &count))
		goto failed;
	view->sg = (struct scullvfs_sg){
		.ram = view->ram.buf,
		.words = view->words.buf,
		.width = view->words.itemsize,
		.address_bits = address_bits,
		.offset = offset,
		.count = count,
	};
	if (in_ram(&view->sg, view->ram.len, view->words.len))
		return true;
	PyErr_SetString(PyExc_ValueError, "a scatterlist that is not in RAM");
failed:
	release(view);
	return false;
}

/* -- requests: session.c calls these ----------------------------------------------------- */

/* Returns how many bytes that were, -1 with an exception. */
static Py_ssize_t reply_data(fuse_req_t req, PyObject *data)
{
	Py_ssize_t count;

	if (PyObject_CheckBuffer(data)) {
		Py_buffer buffer;

		if (PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE) < 0)
			return -1;
		count = buffer.len;
		fuse_reply_buf(req, buffer.buf, buffer.len);
		PyBuffer_Release(&buffer);
	} else {
		struct view view;
		struct iovec iov[SCULLVFS_MAX_IOV];
		size_t nr;

		if (!get_view(data, &view))
			return -1;
		count = view.sg.count;
		nr = scullvfs_iov(&view.sg, iov);
		if (nr)		/* the kernel of the host takes it from where it is */
			fuse_reply_iov(req, iov, nr);
		else
			fuse_reply_err(req, EIO);
		release(&view);
	}
	return count;
}

static Py_ssize_t reply_count(fuse_req_t req, PyObject *result)
{
	size_t count = PyLong_AsSize_t(result);

	if (count == (size_t)-1)
		return -1;
	fuse_reply_write(req, count);
	return count;
}

static Py_ssize_t reply_ioctl(fuse_req_t req, PyObject *result)
{
	int value;
	const char *out;
	Py_ssize_t size;

	if (!PyArg_ParseTuple(result, "iy#", &value, &out, &size))
		return -1;
	fuse_reply_ioctl(req, value, out, size);
	return 0;
}

static Py_ssize_t reply_place(fuse_req_t req, PyObject *result)
{
	long long place = PyLong_AsLongLong(result);

	if (PyErr_Occurred())
		return -1;
	fuse_reply_lseek(req, place);
	return 0;
}

static Py_ssize_t reply_done(fuse_req_t req, PyObject *result)
{
	(void)result;
	fuse_reply_err(req, 0);
	return 0;
}

/* Answers with what a handler has returned, as reply_data() does. */
static Py_ssize_t (*const reply[NR_COUNTED])(fuse_req_t, PyObject *) = {
	[READ] = reply_data,
	[WRITE] = reply_count,
	[IOCTL] = reply_ioctl,
	[LSEEK] = reply_place,
	[FALLOCATE] = reply_done,
};

#include "request.c"
#include "poll.c"

/* A handler has raised would_wait: another one holds the request. */
static void hold(fuse_req_t req, uint64_t fh, int handler, int flags)
{
	PyObject *error = raised();
	struct request *request = new_request(req, fh, handler);
	PyObject *args[] = {
		NULL,
		Py_XNewRef((PyObject *)request),
		error,
		PyLong_FromLong(flags),
	};

	begun(request, req, call(HOLD, req, args, 3));
}

/* A handler has been called and has returned, or has raised: answer, or have it held. */
static void answer(fuse_req_t req, uint64_t fh, int handler, PyObject *result, int64_t began,
		   int flags)
{
	Py_ssize_t count = result ? reply[handler](req, result) : -1;

	if (!result && PyErr_ExceptionMatches(would_wait)) {
		hold(req, fh, handler, flags);
		return;
	}
	counted(handler, fh, count < 0 ? 0 : count, count < 0, began);
	if (count < 0)
		fail(req);
	Py_XDECREF(result);
}

static void scullvfs_read(fuse_req_t req, uint64_t fh, size_t size, int64_t off, bool page_cache,
			  int flags)
{
	PyObject *args[] = {
		NULL,
		PyLong_FromUnsignedLongLong(fh),
		PyLong_FromLongLong(off),
		PyLong_FromSize_t(size),
		PyBool_FromLong(page_cache),
	};
	int64_t began = nanoseconds();

	answer(req, fh, READ, call(READ, req, args, 4), began, flags);
}

/* Release a memoryview of libfuse's memory: who has kept it gets a ValueError, not what comes to
 * lie there. */
static void take_back(PyObject *view)
{
	PyObject *result = PyObject_CallMethodNoArgs(view, names.release);

	if (!result)		/* a part of it is in use as a buffer */
		PyErr_WriteUnraisable(handlers[WRITE]);
	Py_XDECREF(result);
	Py_DECREF(view);
}

static void scullvfs_write(fuse_req_t req, uint64_t fh, const char *buf, size_t size, int64_t off,
			   bool page_cache, int flags)
{
	PyObject *data = PyMemoryView_FromMemory((char *)buf, size, PyBUF_READ);
	PyObject *args[] = {
		NULL,
		PyLong_FromUnsignedLongLong(fh),
		PyLong_FromLongLong(off),
		Py_XNewRef(data),
		PyLong_FromLong(flags),
	};
	int64_t began = nanoseconds();
	PyObject *result = call(page_cache ? WRITE_PAGES : WRITE, req, args, 4);

	answer(req, fh, WRITE, result, began, flags);
	if (data)
		take_back(data);
}

static void scullvfs_ioctl(fuse_req_t req, uint64_t fh, unsigned int cmd, uintptr_t arg,
			   const void *in, size_t in_size, int flags)
{
	PyObject *args[] = {
		NULL,
		PyLong_FromUnsignedLongLong(fh),
		PyLong_FromUnsignedLong(cmd),
		PyLong_FromUnsignedLongLong(arg),
		PyBytes_FromStringAndSize(in, in_size),
	};
	int64_t began = nanoseconds();

	answer(req, fh, IOCTL, call(IOCTL, req, args, 4), began, flags);
}

static void scullvfs_lseek(fuse_req_t req, uint64_t fh, int64_t off, int whence)
{
	struct request *request = new_request(req, fh, LSEEK);
	PyObject *args[] = {
		NULL,
		Py_XNewRef((PyObject *)request),
		PyLong_FromUnsignedLongLong(fh),
		PyLong_FromLongLong(off),
		PyLong_FromLong(whence),
	};

	begun(request, req, call(LSEEK, req, args, 4));
}

static void scullvfs_fallocate(fuse_req_t req, uint64_t fh, int mode, int64_t off, int64_t length)
{
	struct request *request = new_request(req, fh, FALLOCATE);
	PyObject *args[] = {
		NULL,
		Py_XNewRef((PyObject *)request),
		PyLong_FromUnsignedLongLong(fh),
		PyLong_FromLong(mode),
		PyLong_FromLongLong(off),
		PyLong_FromLongLong(length),
	};

	begun(request, req, call(FALLOCATE, req, args, 5));
}

static void scullvfs_poll(fuse_req_t req, uint64_t fh, struct fuse_pollhandle *handle)
{
	PyObject *args[] = {
		NULL,
		PyLong_FromUnsignedLongLong(fh),
		handle ? new_pollhandle(handle) : Py_NewRef(Py_None),
	};
	PyObject *result = call(POLL, req, args, 2);
	long events = result ? PyLong_AsLong(result) : -1;

	if (PyErr_Occurred())
		fail(req);
	else
		fuse_reply_poll(req, events);
	Py_XDECREF(result);
}

/* -- the module: __init__.py calls these, and has their documentation ----------------------- */

static PyObject *hooked(PyObject *module, PyObject *none)
{
	(void)module, (void)none;
	return PyBool_FromLong(scullvfs_hooked);
}

static PyObject *requests(PyObject *module, PyObject *none)
{
	(void)module, (void)none;
	return PyLong_FromUnsignedLongLong(scullvfs_requests);
}

static PyObject *serve_with(PyObject *module, PyObject *args)
{
	PyObject *object, *translate, *waits, *holder, *make_task, *numbers;
	Py_buffer table;
	int max_write, copy_file_range_errno, auto_inval_data, writeback;

	(void)module;
	if (!PyArg_ParseTuple(args, "OOOOOOiipp", &object, &translate, &waits, &holder, &make_task,
			      &numbers, &max_write, &copy_file_range_errno, &auto_inval_data, &writeback))
		return NULL;
	if (max_write < MM_PAGE_SIZE || max_write > SCULLVFS_MAX_REQUEST)
		return PyErr_Format(PyExc_ValueError, "requests of %d bytes: it has to be %d to %d",
				    max_write, MM_PAGE_SIZE, SCULLVFS_MAX_REQUEST);
	if (!is_errno(copy_file_range_errno))
		return PyErr_Format(PyExc_ValueError, "%d is no errno", copy_file_range_errno);
	if (PyObject_GetBuffer(numbers, &table, PyBUF_WRITABLE) < 0)
		return NULL;
	if (table.len % sizeof(row)) {
		PyBuffer_Release(&table);
		return PyErr_Format(PyExc_ValueError, "counters of %zd bytes", table.len);
	}
	PyBuffer_Release(&counters);
	counters = table;
	for (int i = 0; i < NR_HANDLERS; i++) {
		PyObject *handler = PyObject_GetAttrString(object, handler_names[i]);

		if (!handler)
			return NULL;
		Py_XSETREF(handlers[i], handler);
	}
	Py_XSETREF(errno_of, Py_NewRef(translate));
	Py_XSETREF(would_wait, Py_NewRef(waits));
	Py_XSETREF(running, Py_NewRef(holder));
	Py_XSETREF(task_type, Py_NewRef(make_task));
	scullvfs_max_write = max_write;
	scullvfs_copy_file_range_errno = copy_file_range_errno;
	scullvfs_auto_inval_data = auto_inval_data;
	scullvfs_writeback = writeback;
	Py_RETURN_NONE;
}

static PyObject *serve(PyObject *module, PyObject *args)
{
	long long end, spin_ns;
	int sleep_ms;
	enum scullvfs_outcome outcome;

	(void)module;
	if (!PyArg_ParseTuple(args, "LLi", &end, &spin_ns, &sleep_ms))
		return NULL;
	if (!never_block(fuse_session_fd(session)))
		return PyErr_SetFromErrno(PyExc_OSError);
	for (;;) {
		Py_BEGIN_ALLOW_THREADS
		outcome = scullvfs_next(end, spin_ns, sleep_ms);
		Py_END_ALLOW_THREADS
		if (outcome != SCULLVFS_READY)
			return PyLong_FromLong(outcome);
		scullvfs_process();
	}
}

static PyObject *sg_copy_from_buffer(PyObject *module, PyObject *args)
{
	PyObject *object;
	Py_buffer data;
	struct view view;

	(void)module;
	if (!PyArg_ParseTuple(args, "Oy*", &object, &data))
		return NULL;
	if (get_view(object, &view)) {
		if ((size_t)data.len < view.sg.count)
			PyErr_SetString(PyExc_ValueError, "not enough data for a scatterlist");
		else
			copy_from_buffer(&view.sg, data.buf);
		release(&view);
	}
	PyBuffer_Release(&data);
	if (PyErr_Occurred())
		return NULL;
	Py_RETURN_NONE;
}

#include "lines.c"

static PyMethodDef methods[] = {
	{ "hooked", hooked, METH_NOARGS, NULL },
	{ "requests", requests, METH_NOARGS, NULL },
	{ "request", current_request, METH_NOARGS, NULL },
	{ "serve_with", serve_with, METH_VARARGS, NULL },
	{ "serve", serve, METH_VARARGS, NULL },
	{ "sg_copy_from_buffer", sg_copy_from_buffer, METH_VARARGS, NULL },
	{ "write_lines", write_lines, METH_VARARGS, NULL },
	{ "sums_quickly", sums_quickly, METH_NOARGS, NULL },
	{ "sum_of", sum_of, METH_O, NULL },
	{ NULL, NULL, 0, NULL },
};

static struct PyModuleDef definition = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "_interpose",
	.m_size = -1,		/* there is one session in a process */
	.m_methods = methods,
};

PyMODINIT_FUNC PyInit__interpose(void)
{
	names.current = PyUnicode_InternFromString("current");
	names.ram = PyUnicode_InternFromString("ram");
	names.words = PyUnicode_InternFromString("words");
	names.address_bits = PyUnicode_InternFromString("address_bits");
	names.offset = PyUnicode_InternFromString("offset");
	names.count = PyUnicode_InternFromString("count");
	names.release = PyUnicode_InternFromString("release");
	crc32_init();
	if (PyErr_Occurred() || PyType_Ready(&request_type) < 0 ||
	    PyType_Ready(&pollhandle_type) < 0)
		return NULL;
	return PyModule_Create(&definition);
}

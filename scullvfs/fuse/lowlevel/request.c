/* A request that is answered later, as an object of Python (__init__.py: Request).
 *
 * A part of module.c.  libfuse keeps what it needs of a request until that is answered, so until
 * then, and no longer, an object may ask about it.
 */

struct request {
	PyObject_HEAD
	fuse_req_t req;		/* NULL once it is answered */
	int handler;		/* a counted one, or OF_PYFUSE3, which answers it then */
	uint64_t fh;
	int64_t began;		/* in nanoseconds */
	PyObject *wake;		/* is called when it is interrupted, or NULL */
};

static PyTypeObject request_type;

static struct request *new_request(fuse_req_t req, uint64_t fh, int handler)
{
	struct request *self = PyObject_New(struct request, &request_type);

	if (self) {
		self->req = req;
		self->handler = handler;
		self->fh = fh;
		self->began = nanoseconds();
		self->wake = NULL;
	}
	return self;
}

/* Whether it is to be answered here; if not, there is an exception. */
static bool pending(struct request *self)
{
	if (self->req && self->handler != OF_PYFUSE3)
		return true;
	PyErr_SetString(PyExc_ValueError, "it is answered, or pyfuse3 will");
	return false;
}

/* Count a pending request as answered with so many bytes; gives libfuse's, for the last time. */
static fuse_req_t take(struct request *self, size_t bytes, bool failed)
{
	fuse_req_t req = self->req;

	self->req = NULL;
	counted(self->handler, self->fh, bytes, failed, self->began);
	return req;
}

/* Its handler has been called: it is answered, or will be, or there is an exception to answer. */
static void begun(struct request *self, fuse_req_t req, PyObject *result)
{
	if (!result && self && !self->req) {	/* raised after the answer */
		PyErr_WriteUnraisable(errno_of);
	} else if (!result) {
		if (self)
			(void)take(self, 0, true);
		fail(req);
	}
	Py_XDECREF(result);
	Py_XDECREF((PyObject *)self);
}

static void request_dealloc(PyObject *object)
{
	struct request *self = (struct request *)object;

	if (self->req && self->handler != OF_PYFUSE3) {	/* forgotten: its caller must not wait */
		counted(self->handler, self->fh, 0, true, self->began);
		fuse_reply_err(self->req, EIO);
	}
	Py_XDECREF(self->wake);
	PyObject_Free(object);
}

static PyObject *request_interrupted(PyObject *object, PyObject *none)
{
	fuse_req_t req = ((struct request *)object)->req;

	(void)none;
	return PyBool_FromLong(req && (fuse_session_exited(session) || fuse_req_interrupted(req)));
}

/* libfuse calls it with the request, whose object lives as long as it is not answered. */
static void interrupted(fuse_req_t req, void *data)
{
	PyGILState_STATE state = PyGILState_Ensure();
	struct request *self = data;
	PyObject *result = PyObject_CallNoArgs(self->wake);

	(void)req;
	if (!result)
		PyErr_WriteUnraisable(self->wake);
	Py_XDECREF(result);
	PyGILState_Release(state);
}

static PyObject *request_on_interrupt(PyObject *object, PyObject *wake)
{
	struct request *self = (struct request *)object;

	if (!self->req)
		return PyErr_Format(PyExc_ValueError, "it is answered");
	Py_XSETREF(self->wake, Py_NewRef(wake));
	fuse_req_interrupt_func(self->req, interrupted, self);	/* now, if it is already */
	Py_RETURN_NONE;
}

static PyObject *request_reply(PyObject *object, PyObject *result)
{
	struct request *self = (struct request *)object;
	Py_ssize_t count;

	if (!pending(self))
		return NULL;
	count = reply[self->handler](self->req, result);
	if (count < 0)
		return NULL;
	(void)take(self, count, false);
	Py_RETURN_NONE;
}

static PyObject *request_fail(PyObject *object, PyObject *error)
{
	struct request *self = (struct request *)object;

	if (!pending(self))
		return NULL;
	PyErr_SetObject((PyObject *)Py_TYPE(error), error);
	fail(take(self, 0, true));
	Py_RETURN_NONE;
}

static PyObject *request_forget(PyObject *object, PyObject *none)
{
	struct request *self = (struct request *)object;

	(void)none;
	if (self->handler == OF_PYFUSE3) {
		if (self->req && self->wake)
			fuse_req_interrupt_func(self->req, NULL, NULL);
		self->req = NULL;
	}
	Py_RETURN_NONE;
}

static PyMethodDef request_methods[] = {
	{ "interrupted", request_interrupted, METH_NOARGS, NULL },
	{ "on_interrupt", request_on_interrupt, METH_O, NULL },
	{ "reply", request_reply, METH_O, NULL },
	{ "fail", request_fail, METH_O, NULL },
	{ "forget", request_forget, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyTypeObject request_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "scullvfs.fuse.lowlevel._interpose.Request",
	.tp_basicsize = sizeof(struct request),
	.tp_dealloc = request_dealloc,
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.tp_methods = request_methods,
};

/* The request of pyfuse3 whose handler is running. */
static PyObject *current_request(PyObject *module, PyObject *none)
{
	(void)module, (void)none;
	if (scullvfs_hooked && !scullvfs_current)
		return PyErr_Format(PyExc_ValueError, "no handler has just begun");
	return (PyObject *)new_request(scullvfs_current, 0, OF_PYFUSE3);
}

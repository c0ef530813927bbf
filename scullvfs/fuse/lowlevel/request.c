/* A request that is answered later, as an object of Python (__init__.py: Request).
 *
 * A part of module.c.  libfuse keeps what it needs of a request until that is answered, so until
 * then, and no longer, an object may ask about it.
 */

struct request {
	PyObject_HEAD
	fuse_req_t req;		/* NULL once it is answered */
	int handler;		/* LSEEK, FALLOCATE, or OF_PYFUSE3, which answers it then */
	uint64_t fh;
	int64_t began;		/* in nanoseconds */
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
	}
	return self;
}

/* The libfuse request that is to be answered now, or NULL with an exception. */
static fuse_req_t take(struct request *self, bool failed)
{
	fuse_req_t req = self->handler == OF_PYFUSE3 ? NULL : self->req;

	if (req) {
		self->req = NULL;
		counted(self->handler, self->fh, 0, failed, self->began);
	} else {
		PyErr_SetString(PyExc_ValueError, "it is answered, or pyfuse3 will");
	}
	return req;
}

/* Its handler has been called: it is answered, or will be, or there is an exception to answer. */
static void begun(struct request *self, fuse_req_t req, PyObject *result)
{
	if (!result && (!self || take(self, true)))
		fail(req);
	else if (!result)	/* raised after the answer */
		PyErr_WriteUnraisable(errno_of);
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
	PyObject_Free(object);
}

static PyObject *request_interrupted(PyObject *object, PyObject *none)
{
	fuse_req_t req = ((struct request *)object)->req;

	(void)none;
	return PyBool_FromLong(req && (fuse_session_exited(session) || fuse_req_interrupted(req)));
}

static PyObject *request_reply(PyObject *object, PyObject *result)
{
	struct request *self = (struct request *)object;
	long long place = self->handler == LSEEK ? PyLong_AsLongLong(result) : 0;
	fuse_req_t req = PyErr_Occurred() ? NULL : take(self, false);

	if (!req)
		return NULL;
	if (self->handler == LSEEK)
		fuse_reply_lseek(req, place);
	else
		fuse_reply_err(req, 0);
	Py_RETURN_NONE;
}

static PyObject *request_fail(PyObject *object, PyObject *error)
{
	fuse_req_t req = take((struct request *)object, true);

	if (!req)
		return NULL;
	PyErr_SetObject((PyObject *)Py_TYPE(error), error);
	fail(req);
	Py_RETURN_NONE;
}

static PyObject *request_forget(PyObject *object, PyObject *none)
{
	struct request *self = (struct request *)object;

	(void)none;
	if (self->handler == OF_PYFUSE3)
		self->req = NULL;
	Py_RETURN_NONE;
}

static PyMethodDef request_methods[] = {
	{ "interrupted", request_interrupted, METH_NOARGS, NULL },
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
	return (PyObject *)new_request(scullvfs_current, 0, OF_PYFUSE3);
}

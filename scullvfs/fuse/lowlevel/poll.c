/* Who polls a file, as an object of Python: called, it has him ask again (__init__.py: Handlers).
 *
 * A part of module.c.
 */

struct pollhandle {
	PyObject_HEAD
	struct fuse_pollhandle *handle;	/* NULL once he was told */
};

static PyTypeObject pollhandle_type;

/* Takes the handle. */
static PyObject *new_pollhandle(struct fuse_pollhandle *handle)
{
	struct pollhandle *self = PyObject_New(struct pollhandle, &pollhandle_type);

	if (self)
		self->handle = handle;
	else
		fuse_pollhandle_destroy(handle);
	return (PyObject *)self;
}

static void pollhandle_dealloc(PyObject *object)
{
	struct pollhandle *self = (struct pollhandle *)object;

	if (self->handle)
		fuse_pollhandle_destroy(self->handle);
	PyObject_Free(object);
}

static PyObject *pollhandle_call(PyObject *object, PyObject *args, PyObject *kwargs)
{
	struct pollhandle *self = (struct pollhandle *)object;
	struct fuse_pollhandle *handle = self->handle;

	(void)args, (void)kwargs;
	self->handle = NULL;
	if (handle) {
		fuse_lowlevel_notify_poll(handle);	/* it fails where he has gone meanwhile */
		fuse_pollhandle_destroy(handle);
	}
	Py_RETURN_NONE;
}

static PyTypeObject pollhandle_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "scullvfs.fuse.lowlevel._interpose.PollHandle",
	.tp_basicsize = sizeof(struct pollhandle),
	.tp_dealloc = pollhandle_dealloc,
	.tp_call = pollhandle_call,
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
};

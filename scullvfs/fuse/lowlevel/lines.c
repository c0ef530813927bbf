/* The lines of a recording (scullvfs/recording/lines.py): write_lines(), and the sums of data.
 *
 * A part of module.c.  What a line is made of is said there; here it is made, in a third of the time.
 */
#include "base64.c"
#include "crc32.c"

static struct {
	char *buf;
	size_t length, size;
} text;			/* kept for the next lines */

enum { TEXT_KEPT = 1 << 18 };

/* Where so many characters can be written, NULL with an exception. */
static char *room(size_t count)
{
	if (!text.buf || text.size - text.length < count) {
		size_t size = 2 * (text.length + count) + 256;
		char *buf = PyMem_Realloc(text.buf, size);

		if (!buf)
			return (char *)PyErr_NoMemory();
		text.buf = buf;
		text.size = size;
	}
	return text.buf + text.length;
}

static bool put(const char *characters, size_t count)
{
	char *to = room(count);

	if (to)
		memcpy(to, characters, count);
	text.length += to ? count : 0;
	return to;
}

static bool put_text(PyObject *value)
{
	Py_ssize_t count;
	const char *characters = PyUnicode_AsUTF8AndSize(value, &count);

	return characters && put(characters, count);
}

static bool put_number(PyObject *value)
{
	int overflow;
	long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
	char digits[20], *at = digits + sizeof digits;

	if (overflow || number < 0) {	/* which is rare */
		PyObject *words = PyObject_Str(value);
		bool done = words && put_text(words);

		Py_XDECREF(words);
		return done;
	}
	do
		*--at = '0' + number % 10;
	while (number /= 10);
	return put(at, digits + sizeof digits - at);
}

/* Of eight digits. */
static bool put_hexadecimal(uint32_t number)
{
	char digits[8];

	for (int i = 8; i--; number >>= 4)
		digits[i] = "0123456789abcdef"[number & 15];
	return put(digits, sizeof digits);
}

static bool put_data(PyObject *value)
{
	size_t count = PyBytes_GET_SIZE(value);
	char *to = room(base64_length(count));

	if (to)
		base64(to, (const unsigned char *)PyBytes_AS_STRING(value), count);
	text.length += to ? base64_length(count) : 0;
	return to;
}

static bool put_value(PyObject *value)
{
	if (PyLong_Check(value))
		return put_number(value);
	if (PyUnicode_Check(value))
		return put_text(value);
	if (PyBytes_Check(value))
		return put_data(value);
	PyErr_Format(PyExc_TypeError, "%s in a line", Py_TYPE(value)->tp_name);
	return false;
}

static bool put_sum(PyObject *value)
{
	unsigned long sum = PyLong_AsUnsignedLong(value);

	return !PyErr_Occurred() && put_hexadecimal(sum);
}

/* A form and its values: what stands in a line before its sum. */
static bool put_entry(PyObject *entry)
{
	Py_ssize_t nr = 1, count;
	const char *form, *end, *percent;

	if (!PyTuple_Check(entry) || !PyTuple_GET_SIZE(entry)) {
		PyErr_SetString(PyExc_TypeError, "a line is a tuple of a form and its values");
		return false;
	}
	form = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(entry, 0), &count);
	if (!form)
		return false;
	for (end = form + count; (percent = memchr(form, '%', end - form)); nr++) {
		bool hexadecimal = strncmp(percent, "%08x", 4) == 0;
		PyObject *value;

		if (nr >= PyTuple_GET_SIZE(entry) ||
		    (!hexadecimal && percent[1] != 'd' && percent[1] != 's'))
			break;
		value = PyTuple_GET_ITEM(entry, nr);
		if (!put(form, percent - form) ||
		    !(hexadecimal ? put_sum(value) : put_value(value)))
			return false;
		form = percent + (hexadecimal ? 4 : 2);
	}
	if (percent || nr < PyTuple_GET_SIZE(entry)) {
		PyErr_SetString(PyExc_ValueError, "a form that does not fit its values");
		return false;
	}
	return put(form, end - form);
}

static PyObject *write_lines(PyObject *module, PyObject *args)
{
	PyObject *entries, *lines = NULL;
	unsigned int sum;

	(void)module;
	if (!PyArg_ParseTuple(args, "O!I", &PyList_Type, &entries, &sum))
		return NULL;
	text.length = 0;
	for (Py_ssize_t i = 0; i < PyList_GET_SIZE(entries); i++) {
		size_t begin = text.length;

		if (!put_entry(PyList_GET_ITEM(entries, i)))
			goto failed;
		sum = scullvfs_crc32(sum, text.buf + begin, text.length - begin);
		if (!put(",\"sum\":\"", 8) || !put_hexadecimal(sum) || !put("\"}\n", 3))
			goto failed;
	}
	lines = Py_BuildValue("y#I", text.buf ? text.buf : "", (Py_ssize_t)text.length, sum);
failed:
	if (text.size > TEXT_KEPT) {
		PyMem_Free(text.buf);
		text.buf = NULL;
		text.size = 0;
	}
	return lines;
}

static PyObject *sums_quickly(PyObject *module, PyObject *none)
{
	(void)module, (void)none;
	return PyBool_FromLong(crc32_folds());
}

static PyObject *sum_of(PyObject *module, PyObject *data)
{
	uint32_t sum = 0;

	(void)module;
	if (PyObject_CheckBuffer(data)) {
		Py_buffer buffer;

		if (PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE) < 0)
			return NULL;
		sum = scullvfs_crc32(0, buffer.buf, buffer.len);
		PyBuffer_Release(&buffer);
	} else {
		struct view view;

		if (!get_view(data, &view))
			return NULL;
		for (size_t n = 0; n < nr_pages(&view.sg); n++) {
			struct iovec part = piece(&view.sg, n);

			sum = scullvfs_crc32(sum, part.iov_base, part.iov_len);
		}
		release(&view);
	}
	return PyLong_FromUnsignedLong(sum);
}

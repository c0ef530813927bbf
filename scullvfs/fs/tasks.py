"""`proc/TID/`: what is set of a single task, which is a thread of the host.

    proc/TID/make-it-fail    1: it fails where `task-filter` says so
    proc/TID/fail-nth        N: its N-th request from now on fails, whatever the knobs say
    proc/self                the process that is looking, and proc/thread-self its thread

There is a directory for each task that is alive, though only those are listed that have something
set.  Nothing is kept of them but that: nodes are made whenever somebody asks for one, and their
inode numbers say which they are.

    BASE | TID << 2 | 0 the directory, 1 make-it-fail, 2 fail-nth

Confessed: what is set is not inherited by a child (Linux copies make-it-fail), and only what is
asked of the machine counts, not what the host's kernel does for the task.

Linux: fs/proc/base.c:proc_fault_inject_write(), proc_fail_nth_write()
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Final

from scullvfs.mm import PAGE_SIZE, outside
from scullvfs.mm.access import Buffer
from scullvfs.mm.fault_tasks import FaultTasks
from scullvfs.mm.sched import Running, Task

from .kstrtox import kstrtoint, kstrtouint_from_user, strim
from .node import Directory, Node, Symlink, refused
from .shown import WritableFile

__all__ = ["ProcDirectory", "TaskLink"]

BASE: Final = 1 << 40
"""Above all numbers of other nodes."""
PID_MAX_LIMIT: Final = 1 << 22
"""Linux: include/linux/threads.h"""

NUMBER_SIZE: Final = 12
"""Bytes of `make-it-fail` that are looked at (Linux: fs/proc/base.c:PROC_NUMBUF)."""


class _TaskFile(WritableFile):
    """A file of a task."""

    def __init__(self, tid: int, tasks: FaultTasks, uid: int, gid: int) -> None:
        super().__init__(0o644, uid, gid, writable=True)
        self._tid = tid
        self._tasks = tasks

    @property
    def size(self) -> int:
        """Length of the text now."""
        return len(self.text())

    def text(self) -> str:
        """The number, and a newline.

        Raises:
            OSError: ESRCH, the task is no more.
        """
        self._look()
        return f"{self._number()}\n"

    def store(self, data: Buffer) -> int:
        """Set the number.

        Raises:
            OSError: ESRCH, the task is no more; EINVAL, ERANGE, no such number.
        """
        taken = self._set(bytes(data[:PAGE_SIZE]))
        self.modified()
        return len(data) if taken is None else taken

    def _look(self) -> None:
        if not outside.is_alive(self._tid):
            raise refused(errno.ESRCH)

    def _number(self) -> int:
        raise NotImplementedError

    def _set(self, text: bytes) -> int | None:
        """Returns how many bytes are taken, None for all."""
        raise NotImplementedError


class _MakeItFail(_TaskFile):
    def _number(self) -> int:
        return int(self._tid in self._tasks.make_it_fail)

    def _set(self, text: bytes) -> int | None:
        text = text[:NUMBER_SIZE]
        value = kstrtoint(strim(text))
        if value not in (0, 1):
            raise refused(errno.EINVAL)
        self._look()
        self._tasks.set_make_it_fail(self._tid, bool(value))
        return len(text)


class _FailNth(_TaskFile):
    def _number(self) -> int:
        return self._tasks.fail_nth.get(self._tid, 0)

    def _set(self, text: bytes) -> int | None:
        value = kstrtouint_from_user(text)
        self._look()
        self._tasks.set_fail_nth(self._tid, value)
        return None


FILES: Final[dict[str, tuple[int, type[_TaskFile]]]] = {
    "fail-nth": (2, _FailNth),
    "make-it-fail": (1, _MakeItFail),
}
"""Name -> lowest bits of the inode number, and what it is."""


class ProcDirectory(Directory):
    """The directory `proc`, with those of tasks among its names.

    Args:
        running: says who is looking.
    """

    def __init__(self, tasks: FaultTasks, running: Running, uid: int, gid: int) -> None:
        super().__init__(uid, gid)
        self._tasks = tasks
        self.adopt: Callable[[Node, int], None] = lambda node, ino: None
        """Given by the tree: makes a node one of its own, by its number."""
        self.add("self", TaskLink(running, uid, gid, lambda task: task.tgid))
        self.add("thread-self", TaskLink(running, uid, gid, lambda task: task.pid))

    def lookup(self, name: bytes) -> Node | None:
        """The node of a name, None if it is not there."""
        node = super().lookup(name)
        if node is None and name.isdigit() and len(name) <= 7 and not name.startswith(b"0"):
            return self._directory(int(name))
        return node

    def __iter__(self) -> Iterator[tuple[bytes, Node]]:
        """The names in it with their nodes, those of tasks last."""
        yield from super().__iter__()
        self._tasks.forget_dead()
        for tid in sorted(self._tasks.make_it_fail | self._tasks.fail_nth.keys()):
            node = self._directory(tid)
            if node is not None:
                yield str(tid).encode(), node

    def made(self, ino: int) -> Node | None:
        """The node of an inode number, made anew; None if it is none of a task."""
        tid, kind = divmod(ino - BASE, 4)
        directory = self._directory(tid) if ino > BASE else None
        if directory is None or not kind:
            return directory
        found = (node for node in directory.entries.values() if node.ino == ino)
        return next(found, None)

    def _directory(self, tid: int) -> Directory | None:
        """That of a task; None if there is none."""
        if tid > PID_MAX_LIMIT or not outside.is_alive(tid):
            return None
        files: dict[str, Node] = {
            name: kind(tid, self._tasks, self.uid, self.gid) for name, (_, kind) in FILES.items()
        }
        directory = Directory.of(files, self.uid, self.gid)
        directory.parent = self
        for node in (directory, *files.values()):
            node.entry_timeout = node.attr_timeout = 0
        self.adopt(directory, BASE | tid << 2)
        for name, node in files.items():
            self.adopt(node, BASE | tid << 2 | FILES[name][0])
        return directory


class TaskLink(Symlink):
    """A symbolic link to the directory of who follows it.

    Args:
        number: of which task.
    """

    attr_timeout = 0

    def __init__(self, running: Running, uid: int, gid: int, number: Callable[[Task], int]) -> None:
        super().__init__("", uid, gid)
        self._running = running
        self._number = number

    @property
    def target(self) -> bytes:
        """The name of the directory.

        Raises:
            OSError: ENOENT, it is not known here who that is.
        """
        task = self._running.current
        if not task.pid:
            raise refused(errno.ENOENT)
        return str(self._number(task)).encode()

    @property
    def size(self) -> int:
        """As of those in proc."""
        return 0

"""The adapter: pyfuse3 calls it, it asks the tree, and turns errors into errnos.

There is no other logic in here.  A request is answered in one go, so that no two of them mix, but
for what takes long, which is done in `slices`.  Only this module makes a `FUSEError`.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from functools import partial, wraps
from inspect import iscoroutinefunction, signature
from typing import Any, Final, NoReturn

import pyfuse3
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    FUSEError,
    InodeT,
    ModeT,
    ReaddirToken,
    RequestContext,
    SetattrFields,
    StatvfsData,
)

from scullvfs.fs.calls import Kind
from scullvfs.fs.devices import DeviceFile
from scullvfs.fs.file import File
from scullvfs.fs.node import NAME_MAX, Node
from scullvfs.fs.tree import Tree
from scullvfs.fs.vfs import Attributes, Vfs
from scullvfs.fs.waiting import WouldWait
from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.access import Buffer
from scullvfs.mm.sched import NOBODY, Running, Task
from scullvfs.mm.workqueue import Steps
from scullvfs.scull.family import SCULLV

from . import lowlevel
from .errors import errno_of
from .held import Held
from .looks import Looks, ino_of
from .lost import Lost
from .lowlevel import Handlers, Request
from .slices import Slices

__all__ = ["Operations"]

MAX_REQUEST: Final = 1 << 20
"""Bytes that Linux puts into a request at the most (Linux: fs/fuse/fuse_i.h:FUSE_MAX_MAX_PAGES)."""


def _max_request(quantum: int) -> int:
    """How large requests may be by the driver's rules: a quantum and one byte.

    The kernel cuts a larger system call into requests of that size, and goes on until one is
    answered short.

        call     |----------------------------------------------------------->
        request  |----------------------------|
        quantum  |---------------------------|---------------------------|
                                             ^ the answer ends here, and so does the call

    It copies each request as a whole, so one that is larger costs time for nothing.  One that
    ends with a quantum lets the call go on into the next one.  On quanta that are larger (the
    order can be raised later) that cannot be ruled out; but as the size is odd, it takes a call
    that begins at one of a few odd places.  One byte more than whole pages it is, since the
    kernel, which counts pages, too, then never has to make a request smaller.
    """
    return min(max(quantum, 1 << 16), 250 * PAGE_SIZE) + 1


class _Answering(pyfuse3.Operations):
    """Says who calls, and answers with an errno, whatever the handler of a subclass raises.

    pyfuse3 ends its main loop, and the mount with it, at any exception but a `FUSEError`.
    """

    def __init__(self, running: Running) -> None:
        super().__init__()
        self.running: Final = running

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, handler in list(vars(cls).items()):
            if iscoroutinefunction(handler) and not name.startswith("_"):
                setattr(cls, name, _with_errno(handler))


def _with_errno(handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    tells_who = "ctx" in signature(handler).parameters  # the last one, where there is one

    @wraps(handler)
    async def answer(self: _Answering, *args: Any) -> Any:
        ctx = args[-1] if tells_who else None
        self.running.current = Task(ctx.pid, ctx.uid, ctx.gid) if ctx else NOBODY
        try:
            return await handler(self, *args)
        except FUSEError:
            raise
        except Exception as error:
            raise FUSEError(errno_of(error)) from error

    return answer


class Operations(_Answering):
    """The requests of the kernel, served from a tree on a machine.

    Args:
        direct_io: whether the devices' reads and writes go past the page cache, as they do
            by the driver's rules.
        quantum: bytes of the devices' largest quanta, as long as nobody changes that.
        writeback: whether the kernel writes back later what is written to the devices; only
            without `direct_io`.
    """

    def __init__(
        self,
        tree: Tree,
        machine: Machine,
        direct_io: bool = True,
        quantum: int = SCULLV.quantum(SCULLV.measure.default),
        writeback: bool = False,
    ) -> None:
        super().__init__(machine.running)
        self._tree = tree
        self._machine = machine
        self.vfs: Final = Vfs(tree, machine)
        """The way to the tree, and the only one but for what counts and is shown."""
        self.vfs.on_switch = self._serve
        self.slices: Final = Slices()
        """What does what takes long."""
        self.held: Final = Held(machine.running)
        """What answers what has to wait."""
        machine.memory.sg_copy_from_buffer = lowlevel.sg_copy_from_buffer
        self._direct_io: Final = direct_io
        self._writeback: Final = writeback
        self._looks: Final = Looks()
        self._lost: Final = Lost()
        self._max_request: Final = _max_request(quantum) if direct_io else MAX_REQUEST
        self._serve()

    def _serve(self) -> None:
        """Have the extension call what stands in the door now."""
        # EINVAL as from the real device; cp and cat read and write then.
        lowlevel.serve_with(
            Handlers(
                running=self.running,
                counters=self._tree.calls.numbers,
                read=self.vfs.read,
                write=self.vfs.write,
                write_pages=self._write_pages,
                ioctl=self.vfs.ioctl,
                lseek=self._lseek,
                fallocate=self._fallocate,
                hold=self.held.hold,
                poll=self.vfs.poll,
            ),
            self._max_request,
            copy_file_range_errno=errno.EINVAL if self._direct_io else errno.EOPNOTSUPP,
            auto_inval_data=self._direct_io,  # else nothing changes but through the page cache
            writeback=self._writeback,
        )

    # -- names and attributes ----------------------------------------------------------------

    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        """Find a name in a directory."""
        node = self.vfs.lookup(ino_of(parent_inode), name)
        entry = self._attributes(node)
        if name == b".":  # it asks for what it has named itself
            entry.st_ino = parent_inode
        elif self._writeback and lowlevel.hooked():
            entry.st_ino = InodeT(self._looks.node_id(node))
        return entry

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        """stat(2)."""
        return self._attributes(self.vfs.getattr(ino_of(inode)))

    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        """truncate(2), chmod(2), chown(2), utimensat(2); the kernel has checked who may."""
        attributes = Attributes(
            attr.st_mode if fields.update_mode else None,
            attr.st_uid if fields.update_uid else None,
            attr.st_gid if fields.update_gid else None,
            attr.st_atime_ns if fields.update_atime else None,
            attr.st_mtime_ns if fields.update_mtime else None,
        )
        ino = ino_of(inode)
        self.vfs.setattr_prepare(ino, attributes)
        task = self.running.current
        if fields.update_size:
            node = self._tree.nodes[ino]
            with node.calls.counting(Kind.TRUNCATE) if isinstance(node, File) else nullcontext():
                await self._truncate(ino, attr.st_size)
            self.running.current = task
        return self._attributes(self.vfs.notify_change(ino, attributes))

    async def _truncate(self, ino: int, length: int) -> None:
        with lowlevel.request() as request:
            try:
                steps = self.vfs.truncate(ino, length)
            except WouldWait as wait:
                steps = await self.held.wait(request, wait)
            async with self.slices.lock(ino, request):
                left = await self.slices.run(steps)
            if left is not None:
                await self._free(left, request)

    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        """readlink(2)."""
        return FileNameT(self.vfs.readlink(inode))

    def _attributes(self, node: Node) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino = InodeT(node.ino)
        entry.generation = node.generation
        entry.st_mode = ModeT(node.mode)
        entry.st_nlink = node.nlink
        entry.st_uid = node.uid
        entry.st_gid = node.gid
        entry.st_size = node.size
        entry.st_blocks = node.allocated // 512 or self._unwritten(node)
        entry.st_blksize = node.blksize
        entry.st_atime_ns = node.atime_ns
        entry.st_mtime_ns = node.mtime_ns
        entry.st_ctime_ns = node.ctime_ns
        entry.entry_timeout = node.entry_timeout
        entry.attr_timeout = node.attr_timeout
        return entry

    def _unwritten(self, node: Node) -> int:
        """The least st_blocks of a node that has none.

        Where the page cache may have some of it that is not written back, it must not look as if
        there was no data in it: GNU tar with --sparse reads nothing then.
        """
        return int(self._writeback and isinstance(node, DeviceFile) and node.is_writable)

    # -- directories -------------------------------------------------------------------------

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        """A directory's handle is its inode number."""
        return FileHandleT(inode)

    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        """List a directory; the n-th name has the id n, counted from 1."""
        for number, (name, node) in enumerate(self.vfs.readdir(fh), start=1):
            if number > start_id and not pyfuse3.readdir_reply(
                token, FileNameT(name), self._attributes(node), number
            ):
                return

    # -- open files --------------------------------------------------------------------------

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        """open(2)."""
        node = self._tree.nodes[ino_of(inode)]
        if not isinstance(node, File):
            raise FUSEError(errno.EISDIR)
        with node.calls.counting(Kind.OPEN):
            return await self._open(node, flags)

    async def _open(self, node: File, flags: int) -> FileInfo:
        atime = node.atime_ns
        with lowlevel.request() as request:
            try:
                fh, left = self.vfs.open(node.ino, flags)
            except WouldWait as wait:
                fh, left = await self.held.wait(request, wait)
            if left is not None:
                await self._free(left, request)
        unwritten = self._unwritten(node) and not node.allocated
        if node.atime_ns != atime or unwritten:  # the kernel drops them after a read, not an open
            with suppress(OSError):
                pyfuse3.invalidate_inode(InodeT(node.ino), attr_only=True)
        return FileInfo(
            fh=FileHandleT(fh),
            direct_io=node.direct_io,
            keep_cache=not node.direct_io,
            nonseekable=node.nonseekable,
        )

    async def _free(self, left: Steps[None], request: Request) -> None:
        """Free what a call has left to free.

        A caller who is interrupted has what it wanted, and the rest is done in idle time.
        """
        try:
            await self.slices.run(left, request)
        except InterruptedError:
            self._machine.page_alloc.on_surplus()

    # The extension serves what follows past pyfuse3: the latter does not know the first two, and
    # it saves half of the others' time.  Without it nobody says who calls.

    def _lseek(self, request: Request, fh: int, off: int, whence: int) -> None:
        self._answer(request, fh, partial(self.vfs.lseek, fh, off, whence))

    def _fallocate(self, request: Request, fh: int, mode: int, off: int, length: int) -> None:
        self._answer(request, fh, partial(self.vfs.fallocate, fh, mode, off, length))

    def _answer(self, request: Request, fh: int, call: Callable[[], Steps[Any]]) -> None:
        """Answer a request with the result of the steps that a call gives, at once or later."""
        answer = partial(self.slices.answer, request, self.vfs.file(fh).ino)
        try:
            steps = call()
        except WouldWait as wait:
            self.held.hold(request, wait, 0, answer)
        else:
            answer(steps)

    def _write_pages(self, fh: int, off: int, data: Buffer, flags: int) -> int:
        try:
            return self.vfs.write_pages(fh, off, data, flags)
        except WouldWait:
            raise
        except Exception as error:
            self._lost.tell(self.vfs.file(fh), off, len(data), error)
            raise

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        """read(2), pread(2)."""
        with self.vfs.counting(fh, Kind.READ) as call:
            try:
                data = self.vfs.read(fh, off, size, False)
            except WouldWait as wait:
                data = await self._delayed(wait)
            call.bytes = len(data)
            return bytes(data)

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        """write(2), pwrite(2)."""
        with self.vfs.counting(fh, Kind.WRITE) as call:
            try:
                call.bytes = self.vfs.write(fh, off, buf, None)
            except WouldWait as wait:
                call.bytes = await self._delayed(wait)
        return call.bytes

    async def _delayed(self, wait: WouldWait) -> Any:
        """Hold a call whose caller nobody hears of: one that may wait for good is not held."""
        if wait.nonblock:
            raise wait
        with lowlevel.request() as request:
            return await self.held.wait(request, wait)

    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        """fsync(2): there is nothing behind RAM to write to.

        What the kernel has written back just now may have got memory, which it does not know.
        """
        if self._writeback:
            with suppress(OSError):
                pyfuse3.invalidate_inode(InodeT(self.vfs.file(fh).ino), attr_only=True)

    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        """fsync(2) of a directory."""

    async def release(self, fh: FileHandleT) -> None:
        """The last descriptor and the last mapping of an open file are gone."""
        self.vfs.release(fh)

    # -- the whole ---------------------------------------------------------------------------

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        """statfs(2): the machine's RAM."""
        statfs = self.vfs.statfs()
        data = StatvfsData()
        data.f_bsize = data.f_frsize = PAGE_SIZE
        data.f_blocks, data.f_bfree, data.f_bavail, data.f_files = statfs
        data.f_ffree = data.f_favail = 0
        data.f_namemax = NAME_MAX
        return data

    # -- what nobody can do --------------------------------------------------------------------

    async def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Names are made by the module alone, and stay."""
        raise FUSEError(errno.EPERM)

    create = mknod = mkdir = symlink = link = rename = unlink = rmdir = _refuse

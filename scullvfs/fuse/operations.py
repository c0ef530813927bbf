"""The adapter: pyfuse3 calls it, it asks the tree, and turns errors into errnos.

There is no other logic in here.  A request is answered in one go, so that no two of them mix, but
for what takes long, which is done in `slices`.  Only this module makes a `FUSEError`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from functools import wraps
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
    XAttrNameT,
)

from scullvfs.fs.calls import Kind
from scullvfs.fs.open_files import OpenFiles
from scullvfs.fs.tree import NAME_MAX, ROOT_INO, Directory, File, Node, Symlink, Tree
from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.gfp import GFP_HIGHUSER
from scullvfs.mm.sched import NOBODY, Running, Task
from scullvfs.mm.workqueue import Steps
from scullvfs.scull.parameters import SCULLV_ORDER

from . import lowlevel
from .errors import errno_of
from .lowlevel import Handlers, Request
from .slices import Slices

__all__ = ["PID_XATTR", "Operations"]

PID_XATTR: Final = b"user.scullvfs.pid"
"""Extended attribute of the mount's root: the daemon's process id in decimal."""

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
        quantum: bytes of the devices' quanta, as long as nobody changes the order.
    """

    def __init__(
        self,
        tree: Tree,
        machine: Machine,
        direct_io: bool = True,
        quantum: int = PAGE_SIZE << SCULLV_ORDER,
    ) -> None:
        super().__init__(machine.running)
        self._tree = tree
        self._machine = machine
        self.files: Final = OpenFiles(machine.running, tree.calls)
        self.slices: Final = Slices()
        """What does what takes long."""
        self.xattrs: dict[bytes, Callable[[], bytes]] = {
            PID_XATTR: lambda: str(os.getpid()).encode(),
        }
        """Extended attributes of the mount's root: name -> what makes its value."""
        machine.memory.sg_copy_from_buffer = lowlevel.sg_copy_from_buffer
        # EINVAL as from the real device; cp and cat read and write then.
        lowlevel.serve_with(
            Handlers(
                running=machine.running,
                counters=tree.calls.numbers,
                read=self.files.read,
                write=self.files.write,
                ioctl=self.files.ioctl,
                lseek=self._lseek,
                fallocate=self._fallocate,
            ),
            _max_request(quantum) if direct_io else MAX_REQUEST,
            copy_file_range_errno=errno.EINVAL if direct_io else errno.EOPNOTSUPP,
            auto_inval_data=direct_io,  # else nothing changes but through the page cache
        )

    # -- names and attributes ----------------------------------------------------------------

    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        """Find a name in a directory."""
        node = self._tree.nodes[parent_inode].lookup(name)
        if node is None:
            raise FUSEError(errno.ENAMETOOLONG if len(name) > NAME_MAX else errno.ENOENT)
        node.looked_up(ctx.pid)
        return self._attributes(node)

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        """stat(2)."""
        return self._attributes(self._tree.nodes[inode])

    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        """truncate(2), chmod(2), chown(2), utimensat(2); the kernel has checked who may."""
        node = self._tree.nodes[inode]
        if node.frozen and (fields.update_mode or fields.update_uid or fields.update_gid):
            raise FUSEError(errno.EPERM)
        if fields.update_size:
            with node.calls.counting(Kind.TRUNCATE) if isinstance(node, File) else nullcontext():
                await self._truncate(node, attr.st_size)
        if fields.update_mode:
            node.mode = attr.st_mode
        if fields.update_uid:
            node.uid = attr.st_uid
        if fields.update_gid:
            node.gid = attr.st_gid
        if fields.update_atime:
            node.atime_ns = attr.st_atime_ns
        if fields.update_mtime:
            node.mtime_ns = attr.st_mtime_ns
        node.changed()
        return self._attributes(node)

    async def _truncate(self, node: Node, length: int) -> None:
        task = self.running.current
        with lowlevel.request() as request:
            async with self.slices.lock(node.ino, request):
                left = await self.slices.run(self.files.on_behalf(task, node.truncate(length)))
            if left is not None:
                await self._free(left, request, task)

    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        """readlink(2)."""
        node = self._tree.nodes[inode]
        if not isinstance(node, Symlink):
            raise FUSEError(errno.EINVAL)
        node.accessed()
        return FileNameT(node.target)

    def _directory(self, inode: InodeT) -> Directory:
        node = self._tree.nodes[inode]
        if not isinstance(node, Directory):
            raise FUSEError(errno.ENOTDIR)
        return node

    def _attributes(self, node: Node) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino = InodeT(node.ino)
        entry.generation = node.generation
        entry.st_mode = ModeT(node.mode)
        entry.st_nlink = node.nlink
        entry.st_uid = node.uid
        entry.st_gid = node.gid
        entry.st_size = node.size
        entry.st_blocks = node.allocated // 512
        entry.st_blksize = node.blksize
        entry.st_atime_ns = node.atime_ns
        entry.st_mtime_ns = node.mtime_ns
        entry.st_ctime_ns = node.ctime_ns
        entry.entry_timeout = node.entry_timeout
        entry.attr_timeout = node.attr_timeout
        return entry

    # -- directories -------------------------------------------------------------------------

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        """A directory's handle is its inode number."""
        return FileHandleT(inode)

    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        """List a directory; the n-th name has the id n, counted from 1."""
        directory = self._directory(InodeT(fh))
        directory.accessed()
        for number, (name, node) in enumerate(directory, start=1):
            if number > start_id and not pyfuse3.readdir_reply(
                token, FileNameT(name), self._attributes(node), number
            ):
                return

    # -- open files --------------------------------------------------------------------------

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        """open(2)."""
        node = self._tree.nodes[inode]
        if not isinstance(node, File):
            raise FUSEError(errno.EISDIR)
        with node.calls.counting(Kind.OPEN):
            return await self._open(node, flags)

    async def _open(self, node: File, flags: int) -> FileInfo:
        atime = node.atime_ns
        task = self.running.current
        fh, left = self.files.open(node, flags)
        if node.atime_ns != atime:  # the kernel drops it after a read, not after an open
            with suppress(OSError):
                pyfuse3.invalidate_inode(InodeT(node.ino), attr_only=True)
        if left is not None:
            with lowlevel.request() as request:
                await self._free(left, request, task)
        return FileInfo(fh=FileHandleT(fh), direct_io=node.direct_io, keep_cache=not node.direct_io)

    async def _free(self, left: Steps[None], request: Request, task: Task) -> None:
        """Free what a call has left to free.

        A caller who is interrupted has what it wanted, and the rest is done in idle time.
        """
        try:
            await self.slices.run(self.files.on_behalf(task, left), request)
        except InterruptedError:
            self._machine.page_alloc.on_surplus()

    # The extension serves what follows past pyfuse3: the latter does not know the first two, and
    # it saves half of the others' time.  Without it nobody says who calls.

    def _lseek(self, request: Request, fh: int, off: int, whence: int) -> None:
        self.slices.answer(request, self.files.ino(fh), self.files.lseek(fh, off, whence))

    def _fallocate(self, request: Request, fh: int, mode: int, off: int, length: int) -> None:
        steps = self.files.fallocate(fh, mode, off, length)
        self.slices.answer(request, self.files.ino(fh), steps)

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        """read(2), pread(2)."""
        with self.files.counting(fh, Kind.READ) as call:
            data = bytes(self.files.read(fh, off, size, False))
            call.bytes = len(data)
        return data

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        """write(2), pwrite(2)."""
        with self.files.counting(fh, Kind.WRITE) as call:
            call.bytes = self.files.write(fh, off, buf, None)
        return call.bytes

    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        """fsync(2): there is nothing behind RAM to write to."""

    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        """fsync(2) of a directory."""

    async def release(self, fh: FileHandleT) -> None:
        """The last descriptor and the last mapping of an open file are gone."""
        self.files.release(fh)

    # -- the whole ---------------------------------------------------------------------------

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        """statfs(2): the machine's RAM."""
        pages = self._machine.page_alloc
        data = StatvfsData()
        data.f_bsize = data.f_frsize = PAGE_SIZE
        data.f_blocks = pages.totalram_pages
        data.f_bfree, data.f_bavail = pages.nr_free, pages.nr_available(GFP_HIGHUSER)
        data.f_files = len(self._tree.nodes)
        data.f_ffree = data.f_favail = 0
        data.f_namemax = NAME_MAX
        return data

    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        """getxattr(2); only the root has any."""
        make = self.xattrs.get(name) if inode == ROOT_INO else None
        if make is None:
            raise FUSEError(pyfuse3.ENOATTR)
        return make()

    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        """The attributes are for programs that know their names."""
        return []

    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        """removexattr(2): those that there are stay."""
        await self.getxattr(inode, name, ctx)
        raise FUSEError(errno.EPERM)

    # -- what nobody can do --------------------------------------------------------------------

    async def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Names are made by the module alone, and stay."""
        raise FUSEError(errno.EPERM)

    create = mknod = mkdir = symlink = link = rename = unlink = rmdir = _refuse

"""A mount that is looked at again and again, as long as somebody asks: the state that a page shows.

    a request of the page --> the status of the mount (a child process; a millisecond of its daemon)
                                | as it was          --> nothing is read
                                | has changed        --> the devices; then RAM and the window,
                                                         which rest after that for twice as long
                                                         as they took

A child process that a mount does not answer is waited for, however long it takes: it is one, and
the mount is asked nothing else meanwhile.  What the mount's status does not count, such as commands
in debugfs that free as much as they take, is seen when RAM is read all the same, now and then.

One thread, one event loop: so nothing here races, and a fork of it is safe.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from scullvfs.errors import BusyError, NotMountedError, ScullvfsError
from scullvfs.mounts.health import no_answer
from scullvfs.mounts.mountinfo import Mount, mount_at
from scullvfs.mounts.probe import Question
from scullvfs.text import shown

from .asked import answer_of, question_to
from .files import Files
from .state import Cells, Chosen, Maps, Now, Tree, as_json
from .telling import tell_band, tell_chosen, tell_maps, tell_now, tell_tree

__all__ = ["Glance", "Live", "glance"]

T = TypeVar("T")

INTERVAL: Final = 0.4
"""Seconds between two looks at the mount, at the least."""
PATIENCE: Final = 1.0
"""Seconds that a request waits for what is just being read, and for RAM if it took no more."""
SILENCE: Final = 3.0
"""Seconds after which a mount that does not answer is said not to."""
REST: Final = 2
"""After RAM was read it is not read for so many times the seconds that it took."""
RARELY: Final = 10.0
"""Seconds after which it is read again though nothing has changed, or 10 times REST."""
TRIES: Final = 3
"""How often in a row a mount has to change while it is read until that is said."""


class Glance(NamedTuple):
    """What a look at the mount finds."""

    now: Now
    tree: tuple[Tree, ...]
    """One, if something has changed."""


def glance(files: Files, seen: str = "") -> Glance:
    """Look at a mount, and if its mark is not `seen`, at its devices.

    Raises:
        OSError: as read(2); EBADMSG, what is said does not fit together.
    """
    now = tell_now(files)
    return Glance(now, () if now.mark == seen else (tell_tree(files),))


class Live:
    """What is known of the mount at a path, whichever is there.

    Args:
        path: of the mount, resolved.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._version = 0
        self._parts: dict[str, tuple[int, str]] = {}
        """Name -> the version that it is of, and its JSON."""
        self._troubles = {"look": "", "maps": ""}
        self._changing = {"look": 0, "maps": 0}
        """How often in a row the mount has changed while it was read."""
        self._looking: asyncio.Task[None] | None = None
        self._looked = self._asked = -RARELY
        """When a look ended, and when the last one began."""
        self._mark = ""
        self._mapping: asyncio.Task[None] | None = None
        self._mapped = -RARELY
        self._mapped_mark = ""
        self._took = 0.0
        """Seconds that the last reading of RAM took."""
        self._say("mount", shown(path))
        self._say("trouble", "")

    async def state(self, have: int) -> str:
        """What has changed since a version, as JSON; what is to be read is begun, and waited for.

        Args:
            have: the version that the page has; 0, none.
        """
        if self._looking is None and time.monotonic() - self._looked >= INTERVAL:
            self._asked = time.monotonic()
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=PATIENCE)
        if self._mapping is not None and self._took < PATIENCE:
            await asyncio.wait({self._mapping}, timeout=PATIENCE)
        parts = [f'"{name}":{said}' for name, (at, said) in self._parts.items() if at > have]
        parts.append(f'"silence":{self._silence():.0f}')
        parts.append(f'"behind":{json.dumps(self._mapped_mark != self._mark)}')
        return f'{{"version":{self._version},{",".join(parts)}}}'

    async def chosen(self, device: str, number: int) -> str:
        """A quantum of a device, as JSON; or why it cannot be had."""
        what = f"{self._path}/{device}"
        return await self._told(Chosen, lambda files: tell_chosen(files, device, number), what)

    async def band(self, first: int, last: int) -> str:
        """A part of the window, as JSON; or why it cannot be had.

        Args:
            first, last: from an address, to before another one.
        """
        return await self._told(Cells, lambda files: tell_band(files, first, last), self._path)

    # -- asking ------------------------------------------------------------------------------

    async def _told(self, kind: type[T], read: Callable[[Files], T], what: str) -> str:
        try:
            if self._silence():
                raise no_answer(self._path, self._silence())
            return json.dumps(as_json(await self._ask(kind, read, what)))
        except ScullvfsError as error:
            return json.dumps({"trouble": str(error)})

    async def _look(self) -> None:
        try:
            seen = self._mark
            found = await self._ask(Glance, lambda files: glance(files, seen))
        except ScullvfsError as error:
            self._failed("look", error)
            self._mark = ""
        else:
            self._succeeded("look")
            self._say("now", found.now.words)
            for tree in found.tree:
                self._say("tree", as_json(tree))
            self._mark = found.now.mark
            if self._mapping is None and self._maps_are_due():
                self._mapping = asyncio.create_task(self._map(self._mark))
        finally:
            self._looked = time.monotonic()
            self._looking = None

    def _maps_are_due(self) -> bool:
        rested = time.monotonic() - self._mapped
        if self._mark != self._mapped_mark:
            return rested >= REST * self._took
        return rested >= max(RARELY, 10 * REST * self._took)

    async def _map(self, mark: str) -> None:
        begun = time.monotonic()
        try:
            maps = await self._ask(Maps, tell_maps)
        except ScullvfsError as error:
            self._failed("maps", error)
        else:
            self._succeeded("maps")
            self._say("maps", as_json(maps))
            self._mapped_mark = mark
        finally:
            self._mapped = time.monotonic()
            self._took = self._mapped - begun
            self._mapping = None

    async def _ask(self, kind: type[T], read: Callable[[Files], T], what: str = "") -> T:
        """What `read` makes of the files of the mount.

        Args:
            what: the path of what is asked for, if that is not the mount.

        Raises:
            ScullvfsError: why it cannot be had.
        """
        mount = self._mount()
        try:
            question = question_to(mount, read)
        except OSError as error:  # no process can be had
            raise ScullvfsError(f"cannot ask {shown(mount.path)}: {error.strerror}") from None
        await _answered(question)
        try:
            return answer_of(question, mount, kind, what or mount.path)
        except NotMountedError:
            self._mount()  # unmounted while it was asked: then that is what there is to say
            raise

    def _mount(self) -> Mount:
        mount = mount_at(self._path)
        if mount is None or not mount.is_scullvfs:
            raise NotMountedError(
                f"{shown(self._path)} is not mounted; when it is again, this page goes on"
            )
        return mount

    # -- what is said ------------------------------------------------------------------------

    def _silence(self) -> float:
        """Seconds for which the mount has not answered; 0, it has."""
        if self._looking is None:
            return 0.0
        waited = time.monotonic() - self._asked
        return waited if waited >= SILENCE else 0.0

    def _failed(self, what: str, error: ScullvfsError) -> None:
        if isinstance(error, BusyError) and self._changing[what] < TRIES:
            self._changing[what] += 1
            return
        self._troubles[what] = str(error)
        self._say("trouble", self._troubles["look"] or self._troubles["maps"])

    def _succeeded(self, what: str) -> None:
        self._changing[what], self._troubles[what] = 0, ""
        self._say("trouble", self._troubles["look"] or self._troubles["maps"])

    def _say(self, name: str, value: Any) -> None:
        """Have a part of the state be that, of a new version if it was another."""
        said = json.dumps(value)
        if name not in self._parts or self._parts[name][1] != said:
            self._version += 1
            self._parts[name] = self._version, said


async def _answered(question: Question) -> None:
    """Wait until a question has its answer; it is given up if this is cancelled."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        loop.remove_reader(question)
        ready.set_result(None)

    loop.add_reader(question, readable)
    try:
        await ready
    except asyncio.CancelledError:
        loop.remove_reader(question)
        question.abandon()
        raise

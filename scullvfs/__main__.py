"""`scullvfs`, `mount.scullvfs` and `python -m scullvfs`: how each program begins.

Before anything is imported that takes its time Ctrl-C gets an end of its own, what was inherited
is put right, and where a mount is asked for, its daemon is on its way. Most commands are short:
half of their time is Python's, which is not to look for garbage in what has just been imported, nor
to take all that apart at the end.
"""

import atexit
import gc
import os
import signal
import sys

__all__ = ["main", "mount_helper"]


def main() -> None:
    """Run `scullvfs` and exit."""
    with _Program("scullvfs", 130):
        _begin(sys.argv[1:2] == ["mount"] and not _has_flag(sys.argv[2:], "fh"))
        from scullvfs.cli import main as program

        _go_on()
        program(prog_name="scullvfs")


def mount_helper() -> None:
    """Run `mount.scullvfs` and exit."""
    with _Program("mount.scullvfs", 8):
        _begin(len(sys.argv) > 2 and not _has_flag(sys.argv[1:], "fNh"))
        from scullvfs.cli.mount_helper import main as program

        _go_on()
        program()


def _end_at_once(name: str, status: int) -> None:
    """Let Ctrl-C end the process, while there is nothing to undo.

    An exception does not where Python cannot pass it on, as in the middle of an import.
    """

    def end(*_: object) -> None:
        try:
            os.write(2, f"\n{name}: interrupted\n".encode())
        finally:
            os._exit(status)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        signal.signal(signal.SIGINT, end)


class _Program:
    """A program from its start to its end.

    The process ends when all is done that is to be done at exit, its objects as they are.

    Args:
        interrupted: the exit status after Ctrl-C.
    """

    def __init__(self, name: str, interrupted: int) -> None:
        _end_at_once(name, interrupted)
        self._status: object = "an exception that Python has to print"
        atexit.register(self._end)  # the first to be registered is the last to be called

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, SystemExit):
            self._status = error.code
        _drop()

    def _end(self) -> None:
        status = 0 if self._status is None else self._status
        if not isinstance(status, int):
            return
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except (OSError, ValueError):  # Python has words and a status for it
            return
        os._exit(status & 0xFF)


def _go_on() -> None:
    """Let Ctrl-C be an exception again, which the command undoes its work at.

    And let garbage be looked for, but not among what is imported by now, and stays.
    """
    gc.freeze()
    gc.enable()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _begin(probably_a_mount: bool) -> None:
    gc.disable()
    from scullvfs import inherited
    from scullvfs.daemon import ahead

    inherited.settle()
    if probably_a_mount:
        ahead.begin()


def _drop() -> None:
    from scullvfs.daemon import ahead

    ahead.drop()


def _has_flag(arguments: list[str], flags: str) -> bool:
    """Whether one of `flags` seems to be among `arguments`, or anything in long.

    Behind an "o" comes its value, which has letters of its own: `-odevs=2`.
    """
    return any(
        argument[:1] == "-" and (argument[1:2] == "-" or set(flags) & set(argument.split("o")[0]))
        for argument in arguments
    )


if __name__ == "__main__":
    main()

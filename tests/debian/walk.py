"""The README from top to bottom, as an ordinary user would go through it on a new machine.

    python3 walk.py README USER

Run by root in a container, with nothing but Python's own library.  Blocks of commands are typed
into one login shell of USER, in the checkout that the README belongs to; those whose
paragraph says "as root" run as root. The output of a console session has to be what the
README shows, and no command may fail. Prints each command, and exits with 1 at the first
that is not as it should be.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"(?P<before>(?:[^\n]+\n)*)\n*^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
DONE = "-- done --"
FAILED = "-- failed --"
ELSEWHERE = ("make demo", ".venv/")
"""What a block begins with that other steps run, or that needs what they make."""


@dataclass
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    as_root: bool

    @property
    def name(self) -> str | None:
        """What a program is to be saved as."""
        match = re.match(r"# (\w+\.py)\n", self.text)
        return match[1] if match and self.language == "python" else None


def blocks(page: str) -> Iterator[Block]:
    """All blocks of a page that have a language, in their order."""
    for match in BLOCK.finditer(page):
        as_root = re.search(r"\bas root\b", match["before"], re.IGNORECASE) is not None
        yield Block(match["language"], match["text"], as_root)


def session(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console session, each with what it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


class Failure(Exception):
    """What is not as the README says."""


class Shell:
    """A login shell of a user, into which commands are typed."""

    def __init__(self, user: str, directory: Path) -> None:
        self._shell = subprocess.Popen(
            ["su", "--login", user, "--shell", "/bin/bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        self.type(f"set -E; trap 'echo \"{FAILED} $BASH_COMMAND\"' ERR; cd '{directory}'")

    def type(self, commands: str) -> str:
        """Type commands; returns what they print."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{commands}\necho; echo '{DONE}'\n")
        said = ""
        for line in self._shell.stdout:
            if line == f"{DONE}\n":
                return said.removesuffix("\n")  # that of the echo
            said += line
        raise Failure(f"the shell has ended; it said:\n{said}")

    @property
    def path(self) -> str:
        """Where it looks for commands, and root's own places."""
        return f"{self.type('echo $PATH').strip()}:/usr/local/sbin:/usr/sbin:/sbin"

    def end(self) -> None:
        """Log out."""
        self._shell.communicate("exit\n", timeout=60)


def run(block: Block, shell: Shell) -> None:
    """Do what a block says.

    Raises:
        Failure: a command failed, or printed something else.
    """
    if block.name is not None:
        shell.type(f"cat >{block.name} <<'EOF'\n{block.text}EOF")
    elif block.language == "sh" and not block.text.startswith(ELSEWHERE):
        print(block.text.rstrip(), flush=True)
        if block.as_root:
            # As with sudo before each: the PATH is the user's, and what asks hears yes.
            command = ["env", f"PATH={shell.path}", "bash", "-e", "-c", block.text]
            subprocess.run(command, check=True, input=b"y\n")
            return
        # An environment that is activated is one way of several; what follows is for all.
        alone = "bin/activate" in block.text
        said = shell.type(f"({block.text})" if alone else block.text)
        print(said, flush=True)
        if FAILED in said:
            raise Failure("a command failed")
    elif block.language == "console":
        for command, output in session(block.text):
            print(f"$ {command}", flush=True)
            said = shell.type(command)
            if said != output:
                raise Failure(f"it printed\n{said}and not\n{output}")


def main(readme: str, user: str) -> int:
    """Go through all of the page."""
    path = Path(readme)
    shell = Shell(user, path.parent)
    count = 0
    try:
        for block in blocks(path.read_text()):
            run(block, shell)
            count += 1
    except (Failure, subprocess.CalledProcessError) as failure:
        print(f"README: {failure}", flush=True)
        return 1
    finally:
        shell.end()
    print(f"{count} blocks of the README are as they say")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

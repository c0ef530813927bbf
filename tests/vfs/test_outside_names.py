"""Mount points of any bytes: what a terminal, a log and a shell get of them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scullvfs.text import shell_word, shown

from .helpers import foreground, mount_point, mounted_on
from .troubles import refusal

LOCALES = {
    "C": {"LC_ALL": "C"},
    "C.UTF-8": {"LC_ALL": "C.UTF-8"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "Latin-1": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "latin-1"},
}
"""Environments; only the last has a charset that lacks letters, as click takes ASCII for UTF-8."""

NAMES = {
    "newline\nscullvfs: forged": r"newline\012scullvfs: forged",
    "\x1b[31mred": r"\033[31mred",
    "\udcff\udcfe": r"\377\376",
    "тест": "тест",
    "back\\slash": r"back\134slash",
    "line\u2028end\u202e": r"line\342\200\250end\342\200\256",
}
"""Name -> how it is shown."""


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_path(scullvfs: Any, tmp_path: Path, name: str) -> None:
    """Every command works on it, and every line of every command is one line and prints."""
    with mount_point(scullvfs, tmp_path / name) as path:
        said = refusal(scullvfs("umount", path), "not-mounted")
        assert said.startswith(f"{tmp_path}/{NAMES[name]} is not mounted; ")
        with mounted_on(scullvfs, path, "mem=16M"):
            word = shell_word(path)
            line = refusal(scullvfs("mount", path), "living-mount")
            assert line.endswith(f"; 'scullvfs umount {word}' takes it down")
            with open(path / "scullv0", "rb"):
                line = refusal(scullvfs("umount", path), "busy")
            command = line.rpartition("run '")[2].removesuffix("'")
            assert command == f"scullvfs umount --lazy {word}"
            done = scullvfs("status", path)
            assert (done.returncode, done.stderr) == (0, "")
            first, *facts = done.stdout.splitlines()
            assert first == f"{tmp_path}/{NAMES[name]}: running"
            assert all(line.isprintable() for line in facts)
            # What is suggested can be typed.
            program = f'scullvfs() {{ {shlex.join(scullvfs.command)} "$@"; }}\n'
            assert scullvfs.run(["bash", "-c", program + command]).returncode == 0
            assert not scullvfs.mounted(path)


@pytest.mark.long
@pytest.mark.parametrize("locale", LOCALES)
def test_path_in_any_locale(scullvfs: Any, tmp_path: Path, locale: str) -> None:
    """What the charset lacks is shown in octal, and nothing fails; in JSON no byte is lost."""
    name = os.fsencode(tmp_path) + "тест".encode() + b"\xff"
    path = Path(os.fsdecode(name))
    with mount_point(scullvfs, path), mounted_on(scullvfs, path, "mem=16M"):
        scullvfs.env |= LOCALES[locale]
        done = subprocess.run(
            [*scullvfs.command, "status", path], env=scullvfs.env, capture_output=True, check=True
        )
        assert done.stderr == b""
        lacks = locale == "Latin-1"
        letters = rb"\321\202\320\265\321\201\321\202" if lacks else "тест".encode()
        first = os.fsencode(tmp_path) + letters + rb"\377: running"
        assert done.stdout.splitlines()[0] == first
        (answer,) = json.loads(scullvfs("status", "--json", path).stdout)
        assert answer["mountpoint"] == f"{tmp_path}тест\\377"
        assert bytes.fromhex(answer["mountpoint_hex"]) == name
        done = subprocess.run(
            [*scullvfs.command, "umount", path, b"\xff"], env=scullvfs.env, capture_output=True
        )
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


def test_path_with_a_dash(scullvfs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never taken for an option by what is suggested."""
    monkeypatch.chdir(tmp_path)
    assert refusal(scullvfs("mount", "--", "-dash"), "missing") == (
        "-dash does not exist; create it with 'mkdir -- -dash'"
    )
    assert refusal(scullvfs("mount", "a b"), "missing").endswith("'mkdir 'a b''")


@pytest.mark.long
def test_log(scullvfs: Any, tmp_path: Path) -> None:
    """A message is one line of the log, whatever is in the path."""
    with mount_point(scullvfs, tmp_path / "a\nscullvfs: forged\x1b[31m") as path:
        command = [*scullvfs.command, "mount", "-f", "-o", "mem=16M", str(path)]
        with foreground(scullvfs, path, command) as daemon:
            assert scullvfs("umount", path).returncode == 0
            _, log = daemon.communicate()
    name = shown(path)
    assert log.splitlines() == [
        f"scullvfs: mounted on {name}: 4 devices, mem=16M, arch=x86_64",
        "scullvfs: unmounted by another program",
        f"scullvfs: no longer mounted on {name}",
    ]


@pytest.mark.long
def test_completion(scullvfs: Any, tmp_path: Path) -> None:
    """What is no line is not offered, and what is offered runs nothing, however it is quoted."""
    hostile = tmp_path / "$(touch x)`y`'\"\\"
    with (
        mount_point(scullvfs, hostile),
        mounted_on(scullvfs, hostile, "mem=4M"),
        mount_point(scullvfs, tmp_path / "a\nplain,forged") as forged,
        mounted_on(scullvfs, forged, "mem=4M"),
    ):
        scullvfs.env |= {"_SCULLVFS_COMPLETE": "bash_complete", "COMP_WORDBREAKS": " \"'=:"}
        for quote in ("", '"', "'"):
            scullvfs.env["COMP_WORDS"] = f"scullvfs umount {quote}{tmp_path}/"
            (line,) = scullvfs().stdout.splitlines()
            typed = f"printf %s {quote}{line.removeprefix('plain,')}{quote}"
            done = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True)
            assert done.stdout == str(hostile)
        for shell in ("zsh_complete", "fish_complete"):
            scullvfs.env |= {
                "_SCULLVFS_COMPLETE": shell,
                "COMP_WORDS": f"scullvfs umount {tmp_path}/",
                "COMP_CWORD": "2" if shell == "zsh_complete" else f"{tmp_path}/",
            }
            assert "forged" not in scullvfs().stdout
        for name in [name for name in scullvfs.env if "COMP" in name]:
            del scullvfs.env[name]

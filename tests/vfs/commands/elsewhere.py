"""A machine that is changed for one command, in a mount namespace, and nobody as a user of it."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide things")

AS_NOBODY = """
import os, sys
from importlib import import_module
# What nobody need not be able to read, and no more: to import all of it takes a second.
NEEDED = {
    "bench": "bench.disturb bench.floor bench.measure bench.plot bench.results daemon.server",
    "doctor": "cli.checks daemon.server",
    "ioctl": "cli.ioctl",
    "lab": "cli.lab daemon.server labs.begin labs.check",
    "map": "cli.map view.asked view.map view.memory view.output",
    "mount": "daemon.start daemon.server",
    "report": "cli.report view.asked view.output view.report",
    "show": "cli.show view.asked view.output view.show",
    "status": "cli.status options.table",
    "umount": "mounts.stale",
    "view": "cli.view view.asked view.serve options.table",
}
import click._termui_impl, ctypes, difflib, json, psutil, shutil, statistics, tempfile
import scullvfs.cli
command = sys.argv[1]
scullvfs.cli.main.commands[command]
for name in NEEDED[command].split():
    import_module(f"scullvfs.{name}")
os.environ["XDG_STATE_HOME"] += "/nobody"  # root's is root's alone
os.chdir("/")
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
scullvfs.cli.main(sys.argv[1:], prog_name="scullvfs")
"""

OPEN_DEVICE = """
mkdir {scratch}/etc && mount -t tmpfs tmpfs {scratch}/etc
cp -a /etc/. {scratch}/etc && ln -sf /proc/self/mounts {scratch}/etc/mtab
mount --bind {scratch}/etc /etc
mkdir {scratch}/dev && mount -t tmpfs tmpfs {scratch}/dev
mknod {scratch}/dev/fuse c 10 229 && chmod 666 {scratch}/dev/fuse
mount --bind {scratch}/dev/fuse /dev/fuse
"""
"""Gives ordinary users /dev/fuse and /etc/mtab, as most distributions do."""


class Elsewhere:
    """A mount namespace in which the machine can be changed."""

    def __init__(self, scullvfs: Any, scratch: Path) -> None:
        self.scullvfs = scullvfs
        self.scratch = scratch

    def __call__(self, change: str, script: str) -> subprocess.CompletedProcess[str]:
        """Run `script` where `change` holds; in it, `scullvfs` is root's and `nobody` nobody's."""
        nobody = shlex.join([sys.executable, "-c", AS_NOBODY])
        prelude = (
            f"set -e\ncd {shlex.quote(os.getcwd())}\n"
            f'scullvfs() {{ {shlex.join(self.scullvfs.command)} "$@"; }}\n'
            f'nobody() {{ {nobody} "$@"; }}\n'
        )
        change = change.format(scratch=self.scratch)
        command = ["unshare", "--mount", "sh", "-c", prelude + change + "\n" + script]
        return self.scullvfs.run(command)

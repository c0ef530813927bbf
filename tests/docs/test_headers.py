"""The headers on the page about ioctl: a C compiler makes the numbers of them that drivers have."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from scullvfs.scull import DRIVERS, Driver
from scullvfs.scull.ioctl import commands

PAGE = (Path(__file__).parents[2] / "docs/ioctl.md").read_text()
HEADERS = dict(re.findall(r"^```c\n/\* (\w+)\.h \*/\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
MADE = dict(re.findall(r"^\$ (sed .* scullv\.h) > (\w+)\.h$", PAGE, re.MULTILINE))

MACROS = {"TP_SIZE": "SCULL_P_IOCTSIZE", "QP_SIZE": "SCULL_P_IOCQSIZE"}
"""Commands that are not called as the others are."""


def numbers(directory: Path, driver: Driver) -> dict[str, int]:
    """What a C program finds in the header of a driver, by the names here."""
    names = {
        name: MACROS.get(name, f"{driver.name.upper()}_IOC{name}") for name in commands(driver)
    }
    print_all = "".join(f'printf("{name} %u\\n", {macro});' for name, macro in names.items())
    program = f'#include <stdio.h>\n#include "{driver.name}.h"\nint main(void) {{ {print_all} }}'
    (directory / "numbers.c").write_text(program)
    subprocess.run(["gcc", "-Wall", "-o", "numbers", "numbers.c"], cwd=directory, check=True)
    said = subprocess.check_output(["./numbers"], cwd=directory, text=True)
    return {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", said)}


@pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)
def test_header(driver: Driver, tmp_path: Path) -> None:
    """All commands are in it, with their numbers, and no others."""
    for name, text in HEADERS.items():
        (tmp_path / f"{name}.h").write_text(text)
    for make, name in MADE.items():
        subprocess.run(f"{make} > {name}.h", shell=True, cwd=tmp_path, check=True)
    assert numbers(tmp_path, driver) == commands(driver)
    text = (tmp_path / f"{driver.name}.h").read_text()
    assert len(re.findall(r"^#define \w+IOC[A-Z]", text, re.MULTILINE)) == len(commands(driver))

"""What cffi generates from interpose.c and the declarations in build.py."""

from typing import Any

ffi: Any
lib: Any

"""dataclasses, imported without `inspect`, which it asks about classes that have no docstring only.

Imported by `table` before all else that has to do with dataclasses: completion reads the table.
"""

from scullvfs.stand_ins import left_out

with left_out({"inspect": {}}):
    import dataclasses  # noqa: F401

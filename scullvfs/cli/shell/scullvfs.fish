# fish completion for scullvfs: fish loads it at the first TAB, and scullvfs itself writes the
# rest.
scullvfs completion fish | source

# fish completion for scullvfs: fish loads it at the first TAB, and scullvfs itself writes the
# rest.
_SCULLVFS_COMPLETE=fish_source scullvfs | source

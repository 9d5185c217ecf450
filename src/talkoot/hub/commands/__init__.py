"""What can be asked of a hub, one module per kind of command. A command decides and emits events; it never writes
tables itself (content-addressed blobs excepted, which are not part of the fold)."""

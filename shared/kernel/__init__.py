"""Clock, ids, errors, settings and logging: no I/O, no database, no Redis."""

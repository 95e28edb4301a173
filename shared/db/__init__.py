"""Engine, transactions, group commit and migrations, for SQLite and PostgreSQL."""

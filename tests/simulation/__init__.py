"""A seeded simulation of the ledger and the transport: the real code, one thread, a clock that only moves when told.

Real: every statement (on an in-memory SQLite), the stores and states, the pump, the executor, the committers, the
attempts' transactions, the relay process, reconcile, rescuer, rescue, the worker's life and its beat. Simulated: time,
the event loop's clock, Redis, the network between them, slots, the relay's lock, and the deaths of processes.

    python -m tests.simulation --seed 1234           replays one run and prints its trace
    python -m tests.simulation --from 0 --runs 500   prints one line for each seed that fails

Beside it, a model of one job that is small enough to be walked to its end: `model.py`.
"""

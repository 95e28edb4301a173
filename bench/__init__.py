"""The performance harness: ratios on one machine in one run, every figure beside a reference of the same minute.

Rates are noisy, CPU microseconds a job are steadier: both are kept, of clients and of servers, for every round.
"""

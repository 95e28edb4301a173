"""The ledger of jobs: the truth of what was accepted, what runs and how it ended."""

"""The front door: sign-up and welcome email, jobs, dead letters, upkeep."""

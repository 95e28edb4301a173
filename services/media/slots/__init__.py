"""The processes that calls run in, and what stands around them: launched, fenced in, fed, watched, replaced."""

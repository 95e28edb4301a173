"""The doctor: looks at everything that this installation stands on, changes nothing, and says how to mend it."""

"""Sections of the report about experiments that a run may have or lack: each is drawn from a file of its own."""

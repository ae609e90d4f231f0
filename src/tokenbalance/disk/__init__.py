"""Files that survive the process: locked, flushed, and taken over by another one."""

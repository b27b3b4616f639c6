"""The standard input and output of a process, and its end, whatever protocol is spoken."""

//! Processes held by descriptor (pidfd_open(2)): signals, exit, never a recycled number.

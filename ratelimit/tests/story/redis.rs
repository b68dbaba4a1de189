//! Counters in a real Redis: exact, always with an end, and quick to fail.

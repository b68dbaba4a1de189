//! The `waykeeper` command: runs everything on one machine, and looks inside.

fn main() {}

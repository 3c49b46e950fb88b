//! The `widthwise` program.

fn main() {}

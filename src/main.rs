//! The `widthwise` program.

/// In the program alone: a library leaves the choice of an allocator to its users.
#[global_allocator]
static ALLOCATOR: widthwise::memory::Guard = widthwise::memory::Guard;

fn main() -> std::process::ExitCode {
    widthwise::cli::main()
}

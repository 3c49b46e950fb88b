//! The `widthwise` program.

fn main() -> std::process::ExitCode {
    widthwise::cli::main()
}

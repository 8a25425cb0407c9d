//! Completions for shells and pages for man, made from a program's clap definition: two commands that both programs
//! have.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

/// The arguments of `completions`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Completions {
    /// The shell they are for
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

impl Completions {
    /// Prints the script that the shell reads. Exit code 1 if it cannot be written.
    pub fn print(&self, mut program: Command) -> ExitCode {
        let name = program.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, &name, &mut script);
        let mut out = io::stdout().lock();
        ended(&name, "writing the script", out.write_all(&script).and_then(|()| out.flush()))
    }
}

/// The arguments of `man`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Man {
    /// The folder to write them to, which is made if it is not there; man1 of a folder in MANPATH, for instance
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

impl Man {
    /// Writes a page for the program and each of its commands. Exit code 1 if one cannot be written.
    pub fn write(&self, program: Command) -> ExitCode {
        let name = program.get_name().to_owned();
        let written = std::fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(program.disable_help_subcommand(true), &self.folder));
        ended(&name, &format!("writing to {}", self.folder.display()), written)
    }
}

fn ended(program: &str, what: &str, result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {what}: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_the_program_and_each_command() {
        let folder = tempfile::tempdir().unwrap();
        let program =
            || Command::new("some").about("Says it").subcommand(Command::new("thing").about("Does it"));
        let man = Man { folder: folder.path().join("share/man1") };
        assert_eq!(man.write(program()), ExitCode::SUCCESS);
        let page = std::fs::read_to_string(man.folder.join("some-thing.1")).unwrap();
        assert!(page.contains("Does it") && man.folder.join("some.1").exists(), "{page}");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(Man { folder: file }.write(program()), ExitCode::FAILURE);
    }
}

//! Which files a script may read and write.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

use super::{Session, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::script::run_info;

/// The records that trainers of this process write.
static RECORDS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Files that the program itself writes beside those of a script.
const OWN_FILES: [&str; 2] = [run_info::RUN, run_info::SCRIPT];

impl Session {
    /// A file or folder that the script wants to read. A relative path is looked for from the
    /// script's folder, then from the current one. Scripts may read below their own folder, below
    /// the output folder, and what the user named with `--data` or as the value of a `--set`; at the
    /// prompt everything may be read.
    ///
    /// # Errors
    /// When it does not exist, with the places looked at, or may not be read.
    pub fn input_path(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let script_folder = self
            .script()
            .and_then(|s| s.parent().map(Path::to_path_buf));
        let mut places: Vec<PathBuf> = script_folder.iter().map(|f| f.join(path)).collect();
        if !places.iter().any(|p| p == path) {
            places.push(path.to_path_buf());
        }
        let Some(found) = places.iter().find(|p| p.exists()) else {
            let looked: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
            return Err(Error::new(
                ErrorKind::Data,
                format!("there is no file or folder {}", looked.join(" nor ")),
            ));
        };
        let real = |p: &Path| p.canonicalize().map_err(|e| Error::io(p, &e));
        let target = real(found)?;
        let below =
            |p: &Path| !p.as_os_str().is_empty() && real(p).is_ok_and(|p| target.starts_with(p));
        let here = Path::new(".");
        let script_folder = script_folder.map(|f| match f.as_os_str().is_empty() {
            true => here.to_path_buf(),
            false => f,
        });
        // a value may be several, `--set reports=a,b`
        let values = self.settings.settings.iter().map(|(_, v)| v.as_str());
        let named = values.flat_map(|v| std::iter::once(v).chain(v.split(',').map(str::trim)));
        let named = named.map(Path::new);
        let mut allowed = named
            .chain(self.settings.data_dirs.iter().map(PathBuf::as_path))
            .chain(script_folder.as_deref())
            .chain([self.output_folder()]);
        if self.settings.interactive || allowed.any(below) {
            return Ok(found.clone());
        }
        Err(Error::new(
            ErrorKind::Io,
            format!("the script may not read {}", path.display()),
        )
        .with_help(format!("allow it with --data {}", path.display())))
    }

    /// The same for a path whose last part may have stars, which stands for files of its folder: the
    /// folder must be readable, or the path itself the value of a `--set`.
    ///
    /// # Errors
    /// As for [`Session::input_path`], about the folder.
    pub fn input_pattern(&self, path: &str) -> Result<PathBuf> {
        let whole = Path::new(path);
        let name = whole
            .file_name()
            .filter(|n| n.to_string_lossy().contains('*'));
        let Some(name) = name else {
            return self.input_path(path);
        };
        if self
            .settings
            .settings
            .iter()
            .any(|(_, value)| value == path)
        {
            return Ok(whole.to_path_buf());
        }
        let folder = whole.parent().filter(|f| !f.as_os_str().is_empty());
        Ok(self
            .input_path(folder.unwrap_or(Path::new(".")))?
            .join(name))
    }

    /// The folder that relative output goes to.
    pub fn output_folder(&self) -> &Path {
        &self.settings.out_dir
    }

    /// Where trainers keep their state while a script runs.
    pub fn checkpoint_folder(&self) -> PathBuf {
        self.output_folder().join("checkpoints")
    }

    /// Whether anything has been written to the output folder.
    pub fn has_written(&self) -> bool {
        *lock(&self.folder_ready)
    }

    /// Refuses an output folder that holds something, unless forced, or resumed by the same script.
    ///
    /// # Errors
    /// When it is not empty, or no folder.
    pub fn check_output_folder(&self, script: &Path) -> Result<()> {
        let folder = self.output_folder();
        if folder.as_os_str().is_empty() || !folder.exists() {
            return Ok(());
        }
        if !folder.is_dir() {
            return Err(Error::new(
                ErrorKind::Io,
                format!("the output folder {} is a file", folder.display()),
            )
            .with_help("choose another one with --out DIR"));
        }
        let mut entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, &e))?;
        if entries.next().is_some() && !self.settings.force && !self.settings.resume {
            return Err(Error::new(
                ErrorKind::Io,
                format!("the output folder {} is not empty", folder.display()),
            )
            .with_help("choose another one with --out DIR, go on with --resume, or write over it with --force"));
        }
        match self.settings.resume {
            true => self.check_resumed(script),
            false => Ok(()),
        }
    }

    /// Refuses to resume the run of another script.
    fn check_resumed(&self, script: &Path) -> Result<()> {
        let folder = self.output_folder();
        let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
        let (Some(was), Some(is)) = (
            run_info::script_of(folder).and_then(|p| name(&p)),
            name(script),
        ) else {
            return Ok(());
        };
        if was == is {
            return Ok(());
        }
        Err(Error::setting(format!(
            "the output folder {} is of another script: {was}, and this is {is}",
            folder.display()
        ))
        .with_help("choose another one with --out DIR, or write over it with --force"))
    }

    /// A path below the output folder for a file to write; creates the folders above it. With the
    /// first one, the script's text, its settings and the library versions are written too.
    ///
    /// # Errors
    /// For an absolute name, one that climbs with `..`, one of a file that the program writes itself, or
    /// folders that cannot be made.
    pub fn output_path(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.below_output(name.as_ref())?;
        let own = OWN_FILES.map(|name| self.output_folder().join(name));
        let what = match () {
            () if lock(&RECORDS).contains(&path) => "the record of a trainer",
            () if self.script().is_some() && own.contains(&path) => "written by widthwise itself",
            () => return Ok(path),
        };
        Err(
            Error::new(ErrorKind::Io, format!("{} is {what}", path.display()))
                .with_help("choose another name"),
        )
    }

    /// The file of a new record: `NAME.jsonl`, or `NAME-2.jsonl` … if that one is taken. With `--force`,
    /// files of an earlier run are replaced; with `--resume` they are gone on with. At the prompt, earlier
    /// files are kept.
    ///
    /// # Errors
    /// As for [`Session::output_path`].
    pub fn record_path(&self, name: &str) -> Result<PathBuf> {
        let settings = &self.settings;
        let again = settings.resume || (settings.force && !settings.interactive);
        for number in 1.. {
            let suffix = match number {
                1 => String::new(),
                number => format!("-{number}"),
            };
            let path = self.below_output(Path::new(&format!("{name}{suffix}.jsonl")))?;
            if (again || !path.exists()) && lock(&RECORDS).insert(path.clone()) {
                return Ok(path);
            }
        }
        Err(Error::other("no free name for the record"))
    }

    fn below_output(&self, name: &Path) -> Result<PathBuf> {
        let folder = self.output_folder();
        let inside = name
            .components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside || name.file_name().is_none() {
            return Err(Error::new(
                ErrorKind::Io,
                format!("`{}` is not below the output folder", name.display()),
            )
            .with_help(format!(
                "files are written below {}: give a relative name without `..`, and choose the folder with --out",
                folder.display()
            )));
        }
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|e| Error::io(parent, &e))?;
        // a link inside the folder must not lead out of it
        let real = |p: &Path| p.canonicalize().map_err(|e| Error::io(p, &e));
        if !real(parent)?.starts_with(real(folder)?) || path.is_symlink() {
            return Err(Error::new(
                ErrorKind::Io,
                format!("`{}` leads out of the output folder", name.display()),
            ));
        }
        self.describe_run(folder)?;
        Ok(path)
    }

    /// Writes the description of the run once; again when the run ends, with all settings.
    fn describe_run(&self, folder: &Path) -> Result<()> {
        let mut ready = lock(&self.folder_ready);
        if !*ready && self.script().is_some() {
            self.hold(folder)?;
            run_info::write(self, folder)?;
        }
        *ready = true;
        Ok(())
    }

    /// Keeps other runs out of the output folder, where the system can.
    fn hold(&self, folder: &Path) -> Result<()> {
        let Ok(file) = File::open(folder) else {
            return Ok(());
        };
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(Error::new(
                ErrorKind::Io,
                format!(
                    "another run writes to the output folder {}",
                    folder.display()
                ),
            )
            .with_help("wait for its end, or choose another folder with --out DIR"));
        }
        *lock(&self.held) = Some(file);
        Ok(())
    }

    /// Completes the description of the run, if it wrote anything.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish_run(&self) -> Result<()> {
        if self.has_written() && self.script().is_some() {
            run_info::write(self, self.output_folder())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::script::host::HostSettings;

    fn session(folder: &Path) -> Session {
        Session::new(HostSettings {
            out_dir: folder.join("out"),
            ..HostSettings::default()
        })
    }

    #[test]
    fn output_stays_below_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let s = session(folder.path());
        let path = s.output_path("figures/loss.svg").unwrap();
        assert_eq!(path, folder.path().join("out/figures/loss.svg"));
        assert!(path.parent().unwrap().is_dir());
        for name in ["/x", "../x", "a/../../x", "", "."] {
            let e = s.output_path(name).unwrap_err();
            assert_eq!(e.kind, ErrorKind::Io, "{name}");
            assert!(
                e.message.contains("not below the output folder"),
                "{name}: {e}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_do_not_lead_out() {
        let folder = tempfile::tempdir().unwrap();
        let s = session(folder.path());
        std::fs::create_dir_all(folder.path().join("out")).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("out/link")).unwrap();
        let e = s.output_path("link/x.csv").unwrap_err();
        assert!(e.message.contains("leads out"), "{e}");
    }

    #[test]
    fn a_full_output_folder_is_refused_unless_forced() {
        let folder = tempfile::tempdir().unwrap();
        let mut s = session(folder.path());
        s.check_output_folder(Path::new("s.rhai")).unwrap();
        std::fs::create_dir(folder.path().join("out")).unwrap();
        s.check_output_folder(Path::new("s.rhai")).unwrap();
        std::fs::write(folder.path().join("out/old"), "x").unwrap();
        let e = s.check_output_folder(Path::new("s.rhai")).unwrap_err();
        assert!(e.message.ends_with("out is not empty"), "{e}");
        assert!(e.help.unwrap().contains("--force"));
        s.settings.force = true;
        s.check_output_folder(Path::new("s.rhai")).unwrap();
    }

    #[test]
    fn input_must_be_named_by_the_user() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for dir in ["scripts", "data", "other"] {
            std::fs::create_dir(at(dir)).unwrap();
            std::fs::write(at(dir).join("x.gz"), "x").unwrap();
        }
        let mut s = session(folder.path());
        s.set_script(Some(at("scripts/s.rhai")));
        assert_eq!(s.input_path("x.gz").unwrap(), at("scripts/x.gz"));
        let e = s.input_path(at("data/x.gz")).unwrap_err();
        assert!(e.message.starts_with("the script may not read"), "{e}");
        assert!(s.input_path("../data/x.gz").is_err());
        let e = s.input_path("absent.gz").unwrap_err();
        assert_eq!(e.kind, ErrorKind::Data);
        assert!(e.message.contains("nor absent.gz"), "{e}");
        s.settings.data_dirs = vec![at("data")];
        s.input_path(at("data/x.gz")).unwrap();
        assert!(s.input_path(at("other/x.gz")).is_err());
        let given = at("other").display().to_string();
        s.settings.settings = vec![("data".into(), given)];
        s.input_path(at("other/x.gz")).unwrap();
    }

    #[test]
    fn a_path_with_stars_is_readable_if_its_folder_is_or_the_user_gave_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let path = folder.path().join("data/*.gz").display().to_string();
        let mut s = session(folder.path());
        s.set_script(Some(folder.path().join("scripts/s.rhai")));
        let e = s.input_pattern(&path).unwrap_err();
        assert!(e.message.starts_with("the script may not read"), "{e}");
        s.settings.settings = vec![("data".into(), path.clone())];
        assert_eq!(s.input_pattern(&path).unwrap(), Path::new(&path));
        assert!(s.input_pattern(&path.replace("*", "a*")).is_err());
        s.settings.settings.clear();
        s.settings.data_dirs = vec![folder.path().join("data")];
        assert_eq!(s.input_pattern(&path).unwrap(), Path::new(&path));
    }
}

//! Which images a folder has: a folder for each class.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::super::files::{find_folder, listed};
use crate::error::{Error, Result};

/// Folders within a class's folder are searched to this depth, so that a link that leads back ends.
const DEEPEST: usize = 8;

/// The images of one part, class after class in turn.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    classes: Vec<OsString>,
    /// Class and name below the class's folder: shorter than paths, for there are millions.
    files: Vec<(u32, Box<OsStr>)>,
}

impl Files {
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// How many classes there are to train on.
    pub(super) fn classes(&self) -> usize {
        self.classes.len()
    }

    pub(super) fn class(&self, file: usize) -> u32 {
        self.files[file].0
    }

    pub(super) fn path(&self, file: usize) -> PathBuf {
        let (class, name) = &self.files[file];
        let folder = self.folder.join(&self.classes[*class as usize]);
        folder.join(name.as_ref() as &OsStr)
    }

    /// The first `count` files.
    pub(super) fn first(mut self, stream: &str, key: &str, count: usize) -> Result<Self> {
        if count > self.len() {
            return Err(Error::setting(format!(
                "`{key}` of {stream} must be between 1 and {} (the images in {}), got {count}",
                self.len(),
                self.folder.display(),
            )));
        }
        self.files.truncate(count);
        self.files.shrink_to_fit();
        Ok(self)
    }
}

/// The images to train on and to test on below `folder`.
pub(super) fn list(stream: &str, folder: &Path) -> Result<(Files, Files)> {
    if folder.as_os_str().is_empty() {
        return Err(Error::setting(format!(
            "{stream} needs the folder with train/ and val/ or test/, got an empty name"
        )));
    }
    let train = find_folder(folder, &["train"])?;
    let test = find_folder(folder, &["val", "test"])?;
    let classes = subfolders(&train)?;
    let test_classes = subfolders(&test)?;
    if let Some(strange) = test_classes.iter().find(|name| !classes.contains(name)) {
        return Err(Error::data(
            &test,
            format!("no other classes than those of {}", train.display()),
            strange.display(),
        ));
    }
    Ok((
        files(train, &classes, &classes)?,
        files(test, &classes, &test_classes)?,
    ))
}

/// The names of the folders in a folder, sorted; at least one.
fn subfolders(folder: &Path) -> Result<Vec<OsString>> {
    let mut names = entries(folder)?;
    names.retain(|name| folder.join(name).is_dir());
    if names.is_empty() {
        let wanted = "a folder for each class";
        return Err(Error::data(folder, wanted, listed(folder)?));
    }
    Ok(names)
}

/// The names in a folder that do not begin with a dot, sorted.
fn entries(folder: &Path) -> Result<Vec<OsString>> {
    let read = std::fs::read_dir(folder).and_then(|entries| {
        let names = entries.map(|entry| Ok(entry?.file_name()));
        names.collect::<std::io::Result<Vec<_>>>()
    });
    let mut names = read.map_err(|error| Error::io(folder, &error))?;
    names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
    names.sort_unstable();
    Ok(names)
}

fn is_image(name: &Path) -> bool {
    let extension = name.extension().unwrap_or_default();
    ["jpg", "jpeg", "png"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

/// Appends the images below `folder`/`within`.
fn images(folder: &Path, within: &Path, depth: usize, found: &mut Vec<Box<OsStr>>) -> Result<()> {
    for name in entries(&folder.join(within))? {
        let name = within.join(name);
        // asking what it is takes a call of the system for each of a million files
        if is_image(&name) {
            found.push(name.into_os_string().into_boxed_os_str());
        } else if depth < DEEPEST && folder.join(&name).is_dir() {
            images(folder, &name, depth + 1, found)?;
        }
    }
    Ok(())
}

/// The images in the folders `present`, labelled by their place in `classes`.
fn files(folder: PathBuf, classes: &[OsString], present: &[OsString]) -> Result<Files> {
    let of_class = |name: &OsString| {
        let class_folder = folder.join(name);
        let mut found = Vec::new();
        images(&class_folder, Path::new(""), 0, &mut found)?;
        if found.is_empty() {
            let wanted = "at least one .jpg, .jpeg or .png file";
            return Err(Error::data(&class_folder, wanted, listed(&class_folder)?));
        }
        let class = classes.binary_search(name).unwrap_or_default();
        Ok((class as u32, found.into_iter()))
    };
    let found: Vec<Result<_>> = present.par_iter().map(of_class).collect();
    let mut found = found.into_iter().collect::<Result<Vec<_>>>()?;
    let mut files = Vec::new();
    let mut before = None;
    // the first files of a part are of all classes, so that a few are a fair sample
    while before != Some(files.len()) {
        before = Some(files.len());
        for (class, names) in &mut found {
            files.extend(names.next().map(|name| (*class, name)));
        }
    }
    Ok(Files {
        folder,
        classes: classes.to_vec(),
        files,
    })
}

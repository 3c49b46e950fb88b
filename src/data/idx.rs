//! The idx format of MNIST and Fashion-MNIST: a big-endian magic number that says how many axes
//! there are, their lengths, then one byte an element (LeCun, Cortes and Burges, "The MNIST
//! database of handwritten digits"). `candle-datasets` reads it too, but neither gzipped nor with
//! errors that name the file, and keeps four bytes a pixel.

use std::path::Path;

use super::bytes::{ByteImages, check_labels};
use super::files::{find, read};
use crate::error::{Error, Result};

/// Unsigned bytes with three axes: example, row, column.
const IMAGES: u32 = 0x0000_0803;
/// Unsigned bytes with one axis.
const LABELS: u32 = 0x0000_0801;

fn word(bytes: &[u8], index: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[4 * index..4 * index + 4]);
    u32::from_be_bytes(word)
}

fn check_magic(path: &Path, header: &[u8], expected: u32, what: &str) -> Result<()> {
    let found = word(header, 0);
    if found == expected {
        return Ok(());
    }
    let found_what = match found {
        IMAGES => " (a file of images)",
        LABELS => " (a file of labels)",
        _ => "",
    };
    Err(Error::data(
        path,
        format!("the magic number 0x{expected:08x} of an idx file of {what}"),
        format!("0x{found:08x}{found_what}"),
    ))
}

/// Both spellings of a file's name, plain and gzipped.
fn names(part: &str, kind: &str) -> Vec<String> {
    let dash = format!("{part}-{kind}-ubyte");
    let dot = format!("{part}-{}-ubyte", kind).replacen("-idx", ".idx", 1);
    vec![
        dash.clone(),
        format!("{dash}.gz"),
        dot.clone(),
        format!("{dot}.gz"),
    ]
}

/// Reads the images and labels of one part (`train` or `t10k`) from a folder.
///
/// # Errors
/// A file is missing, of another format, truncated, too long or damaged; the two files hold
/// different numbers of examples; a label is not below `classes`.
pub(crate) fn load(folder: &Path, part: &str, classes: u8) -> Result<ByteImages> {
    let images_path = find(folder, &names(part, "images-idx3"))?;
    let labels_path = find(folder, &names(part, "labels-idx1"))?;

    let mut pixels = read(&images_path, 16, |header| {
        check_magic(&images_path, header, IMAGES, "images")?;
        let [count, rows, columns] = [1, 2, 3].map(|i| u64::from(word(header, i)));
        if count == 0 || rows == 0 || columns == 0 {
            return Err(Error::data(
                &images_path,
                "at least one image of at least one pixel",
                format!("{count} images of {rows}×{columns} pixels"),
            ));
        }
        // a product that does not fit is longer than any file
        let size = count.checked_mul(rows).and_then(|n| n.checked_mul(columns));
        Ok(size.unwrap_or(u64::MAX).saturating_add(16))
    })?;
    let [count, rows, columns] = [1, 2, 3].map(|i| word(&pixels, i) as usize);
    pixels.drain(..16);

    let mut labels = read(&labels_path, 8, |header| {
        check_magic(&labels_path, header, LABELS, "labels")?;
        Ok(8 + u64::from(word(header, 1)))
    })?;
    labels.drain(..8);
    if labels.len() != count {
        return Err(Error::data(
            &labels_path,
            format!(
                "{count} labels, one for each image in {}",
                images_path.display()
            ),
            labels.len(),
        ));
    }
    check_labels(&labels_path, labels.iter().copied(), classes)?;
    Ok(ByteImages {
        pixels,
        labels,
        shape: [1, rows, columns],
    })
}

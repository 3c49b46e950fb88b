//! `cifar10`: CIFAR-10 from its binary batches.

use std::path::Path;
use std::sync::Arc;

use super::bytes::{ByteImages, ByteValues, check_labels};
use super::files::{FileSettings, find};
use super::hub::{self, HubSet};
use super::order::Order;
use super::stream::{Batch, Stream, Targets};
use super::test_set::TestSet;
use crate::error::{Error, Result};

const NAME: &str = "cifar10";
const CLASSES: u8 = 10;
const PIXELS: usize = 3 * 32 * 32;
/// A label and the pixels.
const RECORD: usize = 1 + PIXELS;
const MEAN: [f64; 3] = [0.4914, 0.4822, 0.4465];
const STD: [f64; 3] = [0.2470, 0.2435, 0.2616];

/// CIFAR-10 (Krizhevsky 2009) from a folder with those of `data_batch_1.bin` … `data_batch_5.bin`
/// that are to be trained on, and `test_batch.bin`. A file holds any whole number of records: a
/// label byte, then 1,024 red, 1,024 green and 1,024 blue bytes. Inputs are `[batch, 3, 32, 32]`,
/// of ten classes; channels are normalised with means 0.4914, 0.4822, 0.4465 and standard
/// deviations 0.2470, 0.2435, 0.2616. Pixels stay bytes in memory.
///
/// `candle-datasets` reads these files only if all six are there with 10,000 records each, and
/// keeps four bytes a pixel.
#[derive(Debug)]
pub struct Cifar10 {
    settings: FileSettings,
    values: ByteValues,
    order: Order,
    train: ByteImages,
    test_images: ByteImages,
    test: TestSet,
}

/// Appends the records of a file.
fn read_batch(path: &Path, images: &mut ByteImages) -> Result<()> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, &error))?;
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        return Err(Error::data(
            path,
            format!("a whole number of records of {RECORD} bytes"),
            format!(
                "{} bytes ({} records and {} bytes)",
                bytes.len(),
                bytes.len() / RECORD,
                bytes.len() % RECORD
            ),
        ));
    }
    let records = bytes.chunks_exact(RECORD);
    check_labels(path, records.clone().map(|record| record[0]), CLASSES)?;
    for record in records {
        images.labels.push(record[0]);
        images.pixels.extend_from_slice(&record[1..]);
    }
    Ok(())
}

/// Training and test images of a folder.
fn from_folder(folder: &Path) -> Result<(ByteImages, ByteImages)> {
    let empty = || ByteImages {
        shape: [3, 32, 32],
        ..ByteImages::default()
    };
    let (mut train, mut test) = (empty(), empty());
    let names: Vec<String> = (1..=5).map(|i| format!("data_batch_{i}.bin")).collect();
    // at least one must be there
    find(folder, &names)?;
    for path in names.iter().map(|name| folder.join(name)) {
        if path.is_file() {
            read_batch(&path, &mut train)?;
        }
    }
    read_batch(&find(folder, &["test_batch.bin".to_string()])?, &mut test)?;
    Ok((train, test))
}

impl Cifar10 {
    /// Reads the files.
    ///
    /// # Errors
    /// A setting outside its range; a file that is missing or of another format, with its path,
    /// what was expected and what was found.
    pub fn new(settings: FileSettings) -> Result<Self> {
        settings.check(NAME)?;
        let folder = &settings.folder;
        let (train, test) = if folder.as_os_str().is_empty() {
            hub::load(HubSet::Cifar10)?
        } else {
            from_folder(folder)?
        };
        let train = train.first(NAME, "limit", settings.limit, folder)?;
        let test_images = test.first(NAME, "test_size", settings.test_size, folder)?;
        let values = if settings.normalize {
            ByteValues::normalised(&MEAN, &STD)
        } else {
            ByteValues::unit(3)
        };
        Ok(Self {
            order: Order::new(
                train.len(),
                settings.epochs,
                settings.shuffle,
                settings.seed,
            ),
            settings,
            values,
            train,
            test_images,
            test: TestSet::default(),
        })
    }
}

impl Stream for Cifar10 {
    fn name(&self) -> &str {
        NAME
    }

    fn input_shape(&self) -> &[usize] {
        &self.train.shape
    }

    fn targets(&self) -> Targets {
        Targets::Classes(CLASSES.into())
    }

    fn len(&self) -> Option<u64> {
        Some(self.order.len())
    }

    fn positions(&self) -> Option<u64> {
        self.order.positions()
    }

    fn batch(&self, start: u64, size: usize) -> Result<Batch> {
        let examples = self.order.examples(NAME, start, size)?;
        self.train.batch(size, &self.values, |i| examples[i])
    }

    fn test_set(&self) -> Result<Arc<Batch>> {
        self.test.get(|| {
            self.test_images
                .batch(self.test_images.len(), &self.values, |i| i)
        })
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bits, check_promises};
    use super::super::{Labels, describe};
    use super::*;

    /// The records of a file whose pixels tell their file, record and place.
    fn records(file: u8, count: u8) -> Vec<u8> {
        let record = |i: u8| {
            let pixels = (0..PIXELS).map(move |p| file.wrapping_mul(50) ^ i ^ (p / 12) as u8);
            std::iter::once((file + i) % 10).chain(pixels)
        };
        (0..count).flat_map(record).collect()
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, file, count) in [
            ("data_batch_1.bin", 1, 5),
            ("data_batch_4.bin", 4, 8),
            ("test_batch.bin", 9, 6),
        ] {
            std::fs::write(folder.path().join(name), records(file, count)).unwrap();
        }
        folder
    }

    fn message(folder: &Path) -> String {
        Cifar10::new(FileSettings::folder(folder))
            .unwrap_err()
            .message
    }

    #[test]
    fn reads_the_batches_that_are_there() {
        let folder = folder();
        let settings = FileSettings {
            shuffle: false,
            normalize: false,
            epochs: Some(1),
            ..FileSettings::folder(folder.path())
        };
        let stream = Cifar10::new(settings.clone()).unwrap();
        assert_eq!(
            describe(&stream),
            "cifar10: 13 examples, 1 epoch, 3×32×32 → 10 classes"
        );
        let batch = stream.batch(0, 13).unwrap();
        let (x, labels) = bits(&batch);
        assert_eq!(labels, [1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 0, 1]);
        let raw: Vec<u8> = [records(1, 5), records(4, 8)].concat();
        for (i, record) in raw.chunks(RECORD).enumerate() {
            for (p, &byte) in record[1..].iter().enumerate() {
                let x = f32::from_bits(x[i * PIXELS + p]);
                assert!((x - f32::from(byte) / 255.0).abs() < 1e-7);
            }
        }
        let error = stream.batch(6, 8).unwrap_err();
        assert_eq!(
            error.message,
            "cifar10 ends after 13 examples (13 × 1 epoch), but 8 more were asked for at position 6"
        );
        let limited = Cifar10::new(FileSettings {
            limit: Some(3),
            test_size: Some(2),
            ..settings
        })
        .unwrap();
        assert_eq!(limited.len(), Some(3));
        let Labels::Classes(labels) = &limited.test_set().unwrap().labels else {
            panic!("classes expected");
        };
        assert_eq!(labels.to_vec1::<u32>().unwrap(), [9, 0]);
    }

    #[test]
    fn channels_are_normalised_with_their_own_constants() {
        let folder = folder();
        let stream = Cifar10::new(FileSettings {
            shuffle: false,
            ..FileSettings::folder(folder.path())
        })
        .unwrap();
        let x = stream.batch(0, 1).unwrap().inputs;
        let raw = records(1, 1);
        for (channel, (mean, std)) in MEAN.iter().zip(STD).enumerate() {
            let pixels = x.get(0).unwrap().get(channel).unwrap();
            let first = pixels.to_vec2::<f32>().unwrap()[0][0];
            let expected = (f64::from(raw[1 + channel * 1024]) / 255.0 - mean) / std;
            assert!((f64::from(first) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn keeps_the_promises_of_a_stream() {
        let folder = folder();
        check_promises(
            &Cifar10::new(FileSettings::folder(folder.path())).unwrap(),
            40,
        );
    }

    #[test]
    fn wrong_files_are_refused_with_what_was_expected_and_found() {
        let folder = folder();
        let path = folder.path();
        let all = records(1, 5);
        let first = path.join("data_batch_1.bin");

        std::fs::write(&first, &all[..2 * RECORD + 100]).unwrap();
        assert_eq!(
            message(path),
            format!(
                "{}: expected a whole number of records of 3073 bytes, found 6246 bytes \
                 (2 records and 100 bytes)",
                first.display()
            )
        );
        std::fs::write(&first, []).unwrap();
        assert!(message(path).contains("found 0 bytes"));

        let mut wrong = all.clone();
        wrong[3 * RECORD] = 10;
        std::fs::write(&first, wrong).unwrap();
        assert_eq!(
            message(path),
            format!(
                "{}: expected labels between 0 and 9, found 10 as the label of example 3 \
                 (counted from 0)",
                first.display()
            )
        );
        std::fs::write(&first, all).unwrap();
        std::fs::remove_file(path.join("test_batch.bin")).unwrap();
        assert_eq!(
            message(path),
            format!(
                "{}: expected the file test_batch.bin, found data_batch_1.bin, data_batch_4.bin",
                path.display()
            )
        );
        std::fs::remove_file(&first).unwrap();
        std::fs::remove_file(path.join("data_batch_4.bin")).unwrap();
        std::fs::write(path.join("data_batch_2.bin.xz"), "").unwrap();
        let error = Cifar10::new(FileSettings::folder(path)).unwrap_err();
        assert!(
            error
                .message
                .contains("expected one of the files data_batch_1.bin, ")
        );
        assert_eq!(
            error.help.as_deref(),
            Some("unpack data_batch_2.bin.xz first")
        );
    }

    #[test]
    fn wrong_settings_are_refused_by_name() {
        let folder = folder();
        let base = FileSettings::folder(folder.path());
        for (settings, message) in [
            (
                FileSettings {
                    limit: Some(14),
                    ..base.clone()
                },
                format!(
                    "`limit` of cifar10 must be between 1 and 13 (the examples in {}), got 14",
                    folder.path().display()
                ),
            ),
            (
                FileSettings {
                    epochs: Some(0),
                    ..base.clone()
                },
                "`epochs` of cifar10 must be at least 1, got 0".to_string(),
            ),
            (
                FileSettings {
                    test_size: Some(0),
                    ..base.clone()
                },
                "`test_size` of cifar10 must be at least 1, got 0".to_string(),
            ),
        ] {
            assert_eq!(Cifar10::new(settings).unwrap_err().message, message);
        }
    }

    #[cfg(not(feature = "hub"))]
    #[test]
    fn without_a_folder_the_error_says_what_to_do() {
        let error = Cifar10::new(FileSettings::default()).unwrap_err();
        assert_eq!(
            error.message,
            "cifar10 needs the folder with its files; this build does not download"
        );
        assert!(error.help.is_some_and(|h| h.contains("--features hub")));
    }
}

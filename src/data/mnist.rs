//! `mnist` and `fashion_mnist`: images of digits and of clothes from idx files.

use std::sync::Arc;

use super::bytes::{ByteImages, ByteValues};
use super::files::FileSettings;
use super::hub::{self, HubSet};
use super::idx;
use super::order::Order;
use super::stream::{Batch, Stream, Targets};
use super::test_set::TestSet;
use crate::error::{Error, Result};

const CLASSES: u8 = 10;

/// Which of the data sets in this format, which differ in their name and in the constants that
/// normalise them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MnistKind {
    /// Handwritten digits; mean 0.1307, standard deviation 0.3081.
    Digits,
    /// Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv 1708.07747); mean 0.2860, standard deviation
    /// 0.3530.
    Fashion,
}

impl MnistKind {
    fn name(self) -> &'static str {
        match self {
            Self::Digits => "mnist",
            Self::Fashion => "fashion_mnist",
        }
    }

    fn values(self, normalize: bool) -> ByteValues {
        match self {
            _ if !normalize => ByteValues::unit(1),
            Self::Digits => ByteValues::normalised(&[0.1307], &[0.3081]),
            Self::Fashion => ByteValues::normalised(&[0.2860], &[0.3530]),
        }
    }
}

/// MNIST or Fashion-MNIST from a folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
/// `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each plain or gzipped (`.gz`), or with a
/// dot in place of the second dash. Inputs are `[batch, 1, 28, 28]`, of ten classes; the test set
/// is the `t10k` files. Pixels stay bytes in memory (47 MB for the whole training set).
#[derive(Debug)]
pub struct Mnist {
    kind: MnistKind,
    settings: FileSettings,
    values: ByteValues,
    order: Order,
    train: ByteImages,
    test_images: ByteImages,
    test: TestSet,
}

impl Mnist {
    /// Reads the files.
    ///
    /// # Errors
    /// A setting outside its range; a file that is missing, truncated, damaged or of another
    /// format, with its path, what was expected and what was found.
    pub fn new(kind: MnistKind, settings: FileSettings) -> Result<Self> {
        let name = kind.name();
        settings.check(name)?;
        let folder = &settings.folder;
        let (train, test) = if folder.as_os_str().is_empty() {
            hub::load(match kind {
                MnistKind::Digits => HubSet::Mnist,
                MnistKind::Fashion => HubSet::FashionMnist,
            })?
        } else {
            (
                idx::load(folder, "train", CLASSES)?,
                idx::load(folder, "t10k", CLASSES)?,
            )
        };
        if train.shape != test.shape {
            let size = |images: &ByteImages| format!("{}×{}", images.shape[1], images.shape[2]);
            return Err(Error::data(
                folder,
                format!(
                    "test images of {} pixels, like the training images",
                    size(&train)
                ),
                size(&test),
            ));
        }
        let train = train.first(name, "limit", settings.limit, folder)?;
        let test_images = test.first(name, "test_size", settings.test_size, folder)?;
        Ok(Self {
            kind,
            values: kind.values(settings.normalize),
            order: Order::new(
                train.len(),
                settings.epochs,
                settings.shuffle,
                settings.seed,
            ),
            settings,
            train,
            test_images,
            test: TestSet::default(),
        })
    }
}

impl Stream for Mnist {
    fn name(&self) -> &str {
        self.kind.name()
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
        let examples = self.order.examples(self.name(), start, size)?;
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
mod tests;

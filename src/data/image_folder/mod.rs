//! `image_folder`: JPEG and PNG files in a folder for each class, decoded when a batch is made.

mod augment;
mod decode;
mod listing;
mod resize;

use std::sync::Arc;

use serde::Serialize;

use super::bytes::ByteValues;
use super::files::FileSettings;
use super::order::Order;
use super::stream::{Batch, Stream, Targets};
use super::test_set::TestSet;
use super::{checks, generate};
use crate::error::{Error, Result};
use crate::tensor::rng::{Key, Rng};
use augment::random_crop;
use decode::{Rgb, decode};
use listing::{Files, list};
use resize::{Window, resize};

const NAME: &str = "image_folder";
/// Test examples without `test_size`: all 50,000 of ImageNet would take 30 GB at 224 pixels, and
/// minutes to decode.
const TEST_SIZE: usize = 10_000;
/// Those of ImageNet.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// What is done to a training image of [`ImageFolder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Augment {
    /// What is done to a test image: its short side is resized and the centre cut out.
    None,
    /// torchvision's `RandomResizedCrop` with its defaults (a share of 0.08 to 1 of the area, sides
    /// in a ratio of 3/4 to 4/3), then `RandomHorizontalFlip`.
    Standard,
}

/// Settings of [`ImageFolder`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageFolderSettings {
    /// Those of all streams that read files. `limit` and `test_size` take files of the classes in
    /// turn: the first one of each class, then the second one; `test_size` is at most 10,000 by
    /// default.
    #[serde(flatten)]
    pub files: FileSettings,
    /// Height and width of the inputs in pixels (default 32).
    pub size: usize,
    /// What an image's short side is resized to before the centre is cut out, over `size` (default
    /// 1); 256/224 is customary for ImageNet at 224 pixels.
    pub resize_ratio: f64,
    /// What is done to training images (default nothing but resizing). Drawn anew for each position,
    /// from the seed and the position alone.
    pub augment: Augment,
}

impl ImageFolderSettings {
    /// The default settings for a folder.
    pub fn folder(folder: impl Into<std::path::PathBuf>) -> Self {
        Self {
            files: FileSettings::folder(folder),
            size: 32,
            resize_ratio: 1.0,
            augment: Augment::None,
        }
    }
}

/// Images of a folder with `train/CLASS/…` and `val/CLASS/…` (or `test/CLASS/…`), the layout of
/// torchvision's `ImageFolder`, in which ImageNet is kept. Classes are numbered in the order of their
/// names. Only the names of files are kept in memory; the images of a batch are read, decoded and
/// resized when it is made, in parallel. Resizing is Pillow's bilinear with antialiasing, to the bit;
/// grey, CMYK and transparent images become RGB. Inputs are `[batch, 3, size, size]`, normalised
/// with ImageNet's means 0.485, 0.456, 0.406 and standard deviations 0.229, 0.224, 0.225.
#[derive(Debug)]
pub struct ImageFolder {
    settings: ImageFolderSettings,
    shape: [usize; 3],
    values: ByteValues,
    order: Order,
    train: Files,
    test_files: Files,
    test: TestSet,
}

impl ImageFolder {
    /// Lists the files of the folder; reads none of them.
    ///
    /// # Errors
    /// A setting outside its range; a folder of another layout, a class without images, a class to
    /// test on that is not trained on.
    pub fn new(settings: ImageFolderSettings) -> Result<Self> {
        let s = &settings;
        s.files.check(NAME)?;
        checks::count(NAME, "size", s.size as u64, 1, 1 << 12)?;
        checks::number(NAME, "resize_ratio", s.resize_ratio, 1.0, 8.0)?;
        let (train, test_files) = list(NAME, &s.files.folder)?;
        let limit = s.files.limit.unwrap_or(train.len());
        let train = train.first(NAME, "limit", limit)?;
        let test_size = s.files.test_size.unwrap_or(TEST_SIZE.min(test_files.len()));
        Ok(Self {
            shape: [3, s.size, s.size],
            values: if s.files.normalize {
                ByteValues::normalised(&MEAN, &STD)
            } else {
                ByteValues::unit(MEAN.len())
            },
            order: Order::new(train.len(), s.files.epochs, s.files.shuffle, s.files.seed),
            train,
            test_files: test_files.first(NAME, "test_size", test_size)?,
            test: TestSet::default(),
            settings,
        })
    }

    /// Reads an image into `out`; random numbers make it a training image that is augmented.
    fn example(
        &self,
        files: &Files,
        file: usize,
        random: Option<Rng>,
        out: &mut [f32],
    ) -> Result<u32> {
        let path = files.path(file);
        let bytes = std::fs::read(&path).map_err(|error| Error::io(&path, &error))?;
        let image = decode(&path, &bytes)?;
        let pixels = match random {
            None => self.centre(&image),
            Some(mut rng) => {
                let size = self.settings.size;
                let crop = random_crop(image.width, image.height, &mut rng);
                let window = Window {
                    left: 0,
                    top: 0,
                    width: size,
                    height: size,
                };
                let mut pixels = resize(&image, crop, size, size, window);
                if rng.uniform() < 0.5 {
                    augment::flip(&mut pixels, size);
                }
                pixels
            }
        };
        self.values.interleaved(&pixels, out);
        Ok(files.class(file))
    }

    /// Short side resized, centre cut out, with the roundings of torchvision's `Resize` and
    /// `CenterCrop`.
    fn centre(&self, image: &Rgb) -> Vec<u8> {
        let size = self.settings.size;
        let short = (size as f64 * self.settings.resize_ratio).round() as usize;
        let long = |a: usize, b: usize| (short as u128 * a as u128 / b as u128) as usize;
        let (width, height) = if image.width <= image.height {
            (short, long(image.height, image.width))
        } else {
            (long(image.width, image.height), short)
        };
        let middle = |side: usize| ((side - size) as f64 / 2.0).round_ties_even() as usize;
        let window = Window {
            left: middle(width),
            top: middle(height),
            width: size,
            height: size,
        };
        resize(image, image.whole(), width, height, window)
    }
}

impl Stream for ImageFolder {
    fn name(&self) -> &str {
        NAME
    }

    fn input_shape(&self) -> &[usize] {
        &self.shape
    }

    fn targets(&self) -> Targets {
        Targets::Classes(self.train.classes())
    }

    fn len(&self) -> Option<u64> {
        Some(self.order.len())
    }

    fn positions(&self) -> Option<u64> {
        self.order.positions()
    }

    fn batch(&self, start: u64, size: usize) -> Result<Batch> {
        let examples = self.order.examples(NAME, start, size)?;
        let key = Key::new(self.settings.files.seed)
            .label(NAME)
            .label("augment");
        let augmented = self.settings.augment == Augment::Standard;
        generate::fallible_classes(size, &self.shape, |i, out| {
            let random = augmented.then(|| key.fold(start + i as u64).rng());
            self.example(&self.train, examples[i], random, out)
        })
    }

    fn test_set(&self) -> Result<Arc<Batch>> {
        self.test.get(|| {
            generate::fallible_classes(self.test_files.len(), &self.shape, |i, out| {
                self.example(&self.test_files, i, None, out)
            })
        })
    }

    /// With the size of the test set in use.
    fn settings(&self) -> serde_json::Value {
        let mut settings = serde_json::json!(self.settings);
        settings["test_size"] = self.test_files.len().into();
        settings
    }
}

#[cfg(test)]
mod tests;

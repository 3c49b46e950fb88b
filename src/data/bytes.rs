//! Images kept as bytes in memory and turned into numbers when a batch is made.

use std::path::Path;

use super::generate;
use super::stream::Batch;
use crate::error::{Error, Result};

/// Labelled images of bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct ByteImages {
    /// All images, one after the other, channels first.
    pub pixels: Vec<u8>,
    /// One label an image.
    pub labels: Vec<u8>,
    /// Channels, height, width.
    pub shape: [usize; 3],
}

/// What a byte of each channel becomes.
#[derive(Debug, Clone)]
pub(crate) struct ByteValues(Vec<[f32; 256]>);

impl ByteValues {
    /// `(byte / 255 - mean) / std` per channel.
    pub(crate) fn normalised(mean: &[f64], std: &[f64]) -> Self {
        let table = |(mean, std): (&f64, &f64)| {
            std::array::from_fn(|byte| ((byte as f64 / 255.0 - mean) / std) as f32)
        };
        Self(mean.iter().zip(std).map(table).collect())
    }

    /// `byte / 255`.
    pub(crate) fn unit(channels: usize) -> Self {
        Self::normalised(&vec![0.0; channels], &vec![1.0; channels])
    }

    /// The numbers of an image whose pixels have their channels side by side, channels first.
    pub(crate) fn interleaved(&self, pixels: &[u8], out: &mut [f32]) {
        let channels = self.0.len();
        let plane = out.len() / channels;
        for (channel, (out, table)) in out.chunks_exact_mut(plane).zip(&self.0).enumerate() {
            for (out, pixel) in out.iter_mut().zip(pixels.chunks_exact(channels)) {
                *out = table[pixel[channel] as usize];
            }
        }
    }
}

impl ByteImages {
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Keeps the first `limit` images, if a limit is given.
    ///
    /// # Errors
    /// There are fewer.
    pub(crate) fn first(
        mut self,
        stream: &str,
        key: &str,
        limit: Option<usize>,
        folder: &Path,
    ) -> Result<Self> {
        if let Some(limit) = limit {
            if limit > self.len() {
                return Err(Error::setting(format!(
                    "`{key}` of {stream} must be between 1 and {} (the examples in {}), got {limit}",
                    self.len(),
                    folder.display(),
                )));
            }
            self.labels.truncate(limit);
            self.labels.shrink_to_fit();
            let size: usize = self.shape.iter().product();
            self.pixels.truncate(limit * size);
            self.pixels.shrink_to_fit();
        }
        Ok(self)
    }

    /// The batch of these images.
    pub(crate) fn batch(
        &self,
        size: usize,
        values: &ByteValues,
        example: impl Fn(usize) -> usize + Sync,
    ) -> Result<Batch> {
        let plane = self.shape[1] * self.shape[2];
        let image = self.shape[0] * plane;
        generate::classes(size, &self.shape, |i, out| {
            let example = example(i);
            let pixels = &self.pixels[example * image..][..image];
            for ((out, pixels), table) in out
                .chunks_exact_mut(plane)
                .zip(pixels.chunks_exact(plane))
                .zip(&values.0)
            {
                for (out, &pixel) in out.iter_mut().zip(pixels) {
                    *out = table[pixel as usize];
                }
            }
            self.labels[example].into()
        })
    }
}

/// Refuses a label that is not below `classes`.
pub(crate) fn check_labels(
    path: &Path,
    labels: impl Iterator<Item = u8>,
    classes: u8,
) -> Result<()> {
    for (i, label) in labels.enumerate() {
        if label >= classes {
            return Err(Error::data(
                path,
                format!("labels between 0 and {}", classes - 1),
                format!("{label} as the label of example {i} (counted from 0)"),
            ));
        }
    }
    Ok(())
}

//! Data sets downloaded by candle-datasets, for builds with the feature `hub`.

use super::bytes::ByteImages;
use crate::error::{Error, Result};

/// Training and test images.
pub(crate) type Images = (ByteImages, ByteImages);

/// The data sets that can be downloaded.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HubSet {
    Mnist,
    FashionMnist,
    Cifar10,
}

impl HubSet {
    fn name(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion_mnist",
            Self::Cifar10 => "cifar10",
        }
    }
}

/// Downloads a data set, or takes it from an earlier download.
///
/// # Errors
/// If this build cannot download, or the download fails.
#[cfg(not(feature = "hub"))]
pub(crate) fn load(set: HubSet) -> Result<Images> {
    let name = set.name();
    Err(Error::setting(format!("{name} needs the folder with its files; this build does not download"))
        .with_help(format!(
            "write data::{name}(\"path/to/folder\"), or build with `cargo build --release --features hub`"
        )))
}

/// Downloads a data set, or takes it from an earlier download.
///
/// # Errors
/// If the download fails.
#[cfg(feature = "hub")]
pub(crate) fn load(set: HubSet) -> Result<Images> {
    use candle_datasets::vision;
    let name = set.name();
    let loaded = match set {
        HubSet::Mnist => vision::mnist::load(),
        HubSet::FashionMnist => vision::fashion_mnist::load(),
        HubSet::Cifar10 => vision::cifar::load(),
    };
    let loaded = loaded.map_err(|e| {
        Error::new(
            crate::error::ErrorKind::Io,
            format!("{name} could not be downloaded: {}", Error::from(e).message),
        )
        .with_help(format!(
            "download its files yourself and write data::{name}(\"path/to/folder\")"
        ))
    })?;
    let images = |pixels, labels| bytes(set, pixels, labels);
    Ok((
        images(&loaded.train_images, &loaded.train_labels)?,
        images(&loaded.test_images, &loaded.test_labels)?,
    ))
}

/// Pixels in 0 to 1 as the bytes they came from.
#[cfg(feature = "hub")]
fn bytes(
    set: HubSet,
    pixels: &candle_core::Tensor,
    labels: &candle_core::Tensor,
) -> Result<ByteImages> {
    let (pixels, shape) = match set {
        // the crate reads rows as columns
        HubSet::Cifar10 => (pixels.transpose(2, 3)?, [3, 32, 32]),
        HubSet::Mnist | HubSet::FashionMnist => (pixels.clone(), [1, 28, 28]),
    };
    let pixels = (pixels.flatten_all()? * 255.0)?
        .round()?
        .to_dtype(candle_core::DType::U8)?;
    Ok(ByteImages {
        pixels: pixels.to_vec1()?,
        labels: labels.to_dtype(candle_core::DType::U8)?.to_vec1()?,
        shape,
    })
}

//! Streams of images that read files.

use std::path::PathBuf;

use rhai::Map;
use rhai::plugin::*;

use super::super::Registry;
use super::{StreamValue, readable, stream};
use crate::data::{
    Augment, Cifar5m, Cifar10, FileSettings, ImageFolder, ImageFolderSettings, Mnist, MnistKind,
};
use crate::options;
use crate::script::RhaiResultOf;

pub(super) fn register(registry: &mut Registry) {
    registry.options(FileOptions::spec());
    registry.options(ImageFolderOptions::spec());
    registry.module("data", rhai::exported_module!(functions));
}

options! {
    /// Settings of streams that read files.
    pub struct FileOptions for "data::mnist", "data::fashion_mnist", "data::cifar10",
        "data::cifar5m" {
        /// How often to go through the examples; absent means endlessly, 1 is online training.
        epochs: Option<u64> = None, where (1.0..);
        /// Whether each epoch has an order of its own, drawn from (seed, epoch); otherwise the
        /// files' order.
        shuffle: bool = true;
        /// Seed of the order.
        seed: u64 = 0;
        /// How many training examples to use, the first ones of the files; absent means all.
        limit: Option<usize> = None, where (1.0..);
        /// How many test examples to use, the first ones of the file; absent means all,
        /// for CIFAR-5m 10,000.
        test_size: Option<usize> = None, where (1.0..);
        /// Whether to subtract the data set's channel means and divide by its standard deviations;
        /// otherwise pixels are in 0 to 1.
        normalize: bool = true;
    }
}

crate::choice! { Augment {
    "none" => Augment::None, "standard" => Augment::Standard,
} }

options! {
    /// Settings of a folder of images.
    pub struct ImageFolderOptions for "data::image_folder" {
        /// Height and width of the inputs in pixels.
        size: usize = 32, where (1.0..=4096.0);
        /// What an image's short side is resized to before the centre is cut out, over `size`; 1
        /// keeps the whole short side, 256.0/224 is customary for ImageNet at 224 pixels.
        resize_ratio: f64 = 1.0, where (1.0..=8.0);
        /// What is done to training images: `"none"`, the same as to test images, or `"standard"`, a
        /// random part of 0.08 to 1 of the area with sides in a ratio of 3/4 to 4/3, mirrored half of
        /// the time, as torchvision's `RandomResizedCrop` and `RandomHorizontalFlip` do. It is drawn
        /// from (seed, position) and the same for all members and widths.
        augment: Augment = Augment::None;
        /// How often to go through the examples; absent means endlessly, 1 is online training.
        epochs: Option<u64> = None, where (1.0..);
        /// Whether each epoch has an order of its own, drawn from (seed, epoch); otherwise files come
        /// in the order of their names, classes in turn.
        shuffle: bool = true;
        /// Seed of the order and of what is drawn for `augment`.
        seed: u64 = 0;
        /// How many training examples to use: the first one of each class, then the second one, and
        /// so on; absent means all.
        limit: Option<usize> = None, where (1.0..);
        /// How many test examples to use, in the same order; absent means 10,000, or all if there are
        /// fewer.
        test_size: Option<usize> = None, where (1.0..);
        /// Whether to subtract ImageNet's channel means 0.485, 0.456, 0.406 and divide by its
        /// standard deviations 0.229, 0.224, 0.225; otherwise pixels are in 0 to 1.
        normalize: bool = true;
    }
}

impl FileOptions {
    fn of(self, folder: PathBuf) -> FileSettings {
        FileSettings {
            folder,
            epochs: self.epochs,
            shuffle: self.shuffle,
            seed: self.seed,
            limit: self.limit,
            test_size: self.test_size,
            normalize: self.normalize,
        }
    }
}

fn file_settings(
    ctx: &NativeCallContext,
    folder: &str,
    settings: &Map,
) -> RhaiResultOf<FileSettings> {
    let folder = readable(ctx, folder)?;
    Ok(FileOptions::from_map(ctx, settings)?.of(folder))
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// MNIST from a folder with its four idx files, gzipped or not: 28×28 images of handwritten
    /// digits in ten classes, shuffled anew each epoch. The folder is relative to the working
    /// folder. Without a folder, a build with the feature `hub` downloads the files.
    ///
    /// ```rhai
    /// let said = "";
    /// try { data::mnist("no/such/folder") } catch (e) { said = e.kind; }
    /// said        // → "data"
    /// ```
    #[rhai_fn(name = "mnist", return_raw, volatile)]
    pub fn mnist_with(
        ctx: NativeCallContext,
        folder: &str,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        let settings = file_settings(&ctx, folder, &settings)?;
        stream(&ctx, Mnist::new(MnistKind::Digits, settings))
    }

    // every setting has a default
    #[rhai_fn(name = "mnist", return_raw, volatile)]
    pub fn mnist(ctx: NativeCallContext, folder: &str) -> RhaiResultOf<StreamValue> {
        mnist_with(ctx, folder, Map::new())
    }

    // without a folder the files are downloaded, where the build can
    #[rhai_fn(name = "mnist", return_raw, volatile)]
    pub fn mnist_hub_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<StreamValue> {
        mnist_with(ctx, "", settings)
    }
    #[rhai_fn(name = "mnist", return_raw, volatile)]
    pub fn mnist_hub(ctx: NativeCallContext) -> RhaiResultOf<StreamValue> {
        mnist_with(ctx, "", Map::new())
    }

    /// Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv 1708.07747) from a folder with its four idx
    /// files, gzipped or not: 28×28 images of clothes in ten classes, shuffled anew each epoch.
    ///
    /// ```rhai
    /// let said = "";
    /// try { data::fashion_mnist("no/such/folder", #{ limit: 1000 }) } catch (e) { said = e.kind; }
    /// said        // → "data"
    /// ```
    #[rhai_fn(name = "fashion_mnist", return_raw, volatile)]
    pub fn fashion_mnist_with(
        ctx: NativeCallContext,
        folder: &str,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        let settings = file_settings(&ctx, folder, &settings)?;
        stream(&ctx, Mnist::new(MnistKind::Fashion, settings))
    }

    // every setting has a default
    #[rhai_fn(name = "fashion_mnist", return_raw, volatile)]
    pub fn fashion_mnist(ctx: NativeCallContext, folder: &str) -> RhaiResultOf<StreamValue> {
        fashion_mnist_with(ctx, folder, Map::new())
    }

    // without a folder the files are downloaded, where the build can
    #[rhai_fn(name = "fashion_mnist", return_raw, volatile)]
    pub fn fashion_mnist_hub_with(
        ctx: NativeCallContext,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        fashion_mnist_with(ctx, "", settings)
    }
    #[rhai_fn(name = "fashion_mnist", return_raw, volatile)]
    pub fn fashion_mnist_hub(ctx: NativeCallContext) -> RhaiResultOf<StreamValue> {
        fashion_mnist_with(ctx, "", Map::new())
    }

    /// CIFAR-10 (Krizhevsky 2009) from a folder with its binary batches: 3×32×32 photographs in ten
    /// classes, shuffled anew each epoch.
    ///
    /// ```rhai
    /// let said = "";
    /// try { data::cifar10("no/such/folder") } catch (e) { said = e.kind; }
    /// said        // → "data"
    /// ```
    #[rhai_fn(name = "cifar10", return_raw, volatile)]
    pub fn cifar10_with(
        ctx: NativeCallContext,
        folder: &str,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        let settings = file_settings(&ctx, folder, &settings)?;
        stream(&ctx, Cifar10::new(settings))
    }

    // every setting has a default
    #[rhai_fn(name = "cifar10", return_raw, volatile)]
    pub fn cifar10(ctx: NativeCallContext, folder: &str) -> RhaiResultOf<StreamValue> {
        cifar10_with(ctx, folder, Map::new())
    }

    // without a folder the files are downloaded, where the build can
    #[rhai_fn(name = "cifar10", return_raw, volatile)]
    pub fn cifar10_hub_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<StreamValue> {
        cifar10_with(ctx, "", settings)
    }
    #[rhai_fn(name = "cifar10", return_raw, volatile)]
    pub fn cifar10_hub(ctx: NativeCallContext) -> RhaiResultOf<StreamValue> {
        cifar10_with(ctx, "", Map::new())
    }

    /// CIFAR-5m (Nakkiran, Neyshabur and Sedghi, arXiv 2010.08127), five million 3×32×32 images in
    /// ten classes, from a folder with those of `cifar5m_part0.npz` … `cifar5m_part5.npz` that are to
    /// be used, at least two. The last one that is there is for tests, as in that paper, where it is
    /// part 5; its first 10,000 images are the test set unless `test_size` says otherwise. The others
    /// are trained on, shuffled anew each epoch; `epochs: 1` is online training.
    ///
    /// Only the labels are kept in memory: the images of a batch are read when it is made. Parts that
    /// were compressed are unpacked into memory.
    ///
    /// ```rhai
    /// let said = "";
    /// try { data::cifar5m("no/such/folder", #{ epochs: 1 }) } catch (e) { said = e.kind; }
    /// said        // → "data"
    /// ```
    #[rhai_fn(name = "cifar5m", return_raw, volatile)]
    pub fn cifar5m_with(
        ctx: NativeCallContext,
        folder: &str,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        let settings = file_settings(&ctx, folder, &settings)?;
        stream(&ctx, Cifar5m::new(settings))
    }

    // every setting has a default
    #[rhai_fn(name = "cifar5m", return_raw, volatile)]
    pub fn cifar5m(ctx: NativeCallContext, folder: &str) -> RhaiResultOf<StreamValue> {
        cifar5m_with(ctx, folder, Map::new())
    }

    /// Images in the layout of torchvision's `ImageFolder`, in which ImageNet is kept: `train/CLASS/…`
    /// and `val/CLASS/…` or `test/CLASS/…` with `.jpg`, `.jpeg` and `.png` files (in capitals too).
    /// Classes are numbered in the order of their names. Inputs are `[batch, 3, size, size]`: the short
    /// side is resized to `size` × `resize_ratio`, with Pillow's antialiased bilinear filter, and the
    /// centre cut out. Grey, CMYK and transparent images become RGB.
    ///
    /// Only names are kept in memory: the images of a batch are read and decoded when it is made, on
    /// all threads, while the batch before is trained on. Fails for a folder of another layout, for a
    /// class without images, and, when a batch is made, for a damaged image, whose path it names.
    ///
    /// ```rhai
    /// let said = "";
    /// try { data::image_folder("no/such/folder", #{ size: 64 }) } catch (e) { said = e.kind; }
    /// said        // → "data"
    /// ```
    #[rhai_fn(name = "image_folder", return_raw, volatile)]
    pub fn image_folder_with(
        ctx: NativeCallContext,
        folder: &str,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        let folder = readable(&ctx, folder)?;
        let o = ImageFolderOptions::from_map(&ctx, &settings)?;
        let files = FileSettings {
            folder,
            epochs: o.epochs,
            shuffle: o.shuffle,
            seed: o.seed,
            limit: o.limit,
            test_size: o.test_size,
            normalize: o.normalize,
        };
        let settings = ImageFolderSettings {
            files,
            size: o.size,
            resize_ratio: o.resize_ratio,
            augment: o.augment,
        };
        stream(&ctx, ImageFolder::new(settings))
    }

    // every setting has a default
    #[rhai_fn(name = "image_folder", return_raw, volatile)]
    pub fn image_folder(ctx: NativeCallContext, folder: &str) -> RhaiResultOf<StreamValue> {
        image_folder_with(ctx, folder, Map::new())
    }
}

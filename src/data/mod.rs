//! Streams: sources of batches that are pure functions of (seed, position).
//!
//! | source | examples |
//! | --- | --- |
//! | [`SyntheticImages`] | endless procedural 3×32×32 images of ten classes |
//! | [`Teacher`] | endless regression on a random fixed network's outputs |
//! | [`SparseParity`] | endless parity of a few hidden coordinates |
//! | [`MarkovTokens`] | endless token sequences of a random Markov chain |
//! | [`Mnist`] | MNIST and Fashion-MNIST from idx files |
//! | [`Cifar10`] | CIFAR-10 from its binary batches |
//! | [`Cifar5m`] | CIFAR-5m, read from its parts as it is needed |
//! | [`ImageFolder`] | JPEG and PNG files in a folder for each class, as ImageNet is kept |
//! | [`Text`] | endless windows of text files |
//! | [`FromTensors`] | the caller's own arrays |

mod bytes;
mod checks;
mod cifar10;
mod cifar5m;
mod describe;
mod files;
mod from_tensors;
mod generate;
mod hub;
mod idx;
mod image_folder;
mod markov_tokens;
mod mnist;
mod npy;
mod npz;
mod order;
mod sparse_parity;
mod stream;
mod synthetic_images;
mod teacher;
mod test_set;
#[cfg(test)]
mod testing;
mod text;
mod tokenizer;
mod vocabulary;

pub use cifar5m::Cifar5m;
pub use cifar10::Cifar10;
pub use describe::describe;
pub use files::FileSettings;
pub use from_tensors::{FromTensors, FromTensorsSettings};
pub use image_folder::{Augment, ImageFolder, ImageFolderSettings};
pub use markov_tokens::{MarkovTokens, MarkovTokensSettings};
pub use mnist::{Mnist, MnistKind};
pub use npy::read_numpy;
pub use sparse_parity::{SparseParity, SparseParitySettings};
pub use stream::{Batch, Labels, Stream, Targets};
pub use synthetic_images::{SYNTHETIC_IMAGE_CLASSES, SyntheticImages, SyntheticImagesSettings};
pub use teacher::{Teacher, TeacherSettings};
pub use text::{Text, TextSettings, TextVocab};
pub use tokenizer::Tokenizer;
pub use vocabulary::Vocabulary;

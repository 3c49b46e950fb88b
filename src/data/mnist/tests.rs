use std::io::Write as _;
use std::path::Path;

use super::super::describe;
use super::super::testing::{bits, check_promises};
use super::*;

fn idx(magic: u32, axes: &[u32], bytes: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let words = std::iter::once(&magic).chain(axes);
    let mut file: Vec<u8> = words.flat_map(|word| word.to_be_bytes()).collect();
    file.extend(bytes);
    file
}

fn images(count: u32, rows: u32, columns: u32) -> Vec<u8> {
    let bytes = (0..count * rows * columns).map(|i| (i * 37 % 251) as u8);
    idx(0x803, &[count, rows, columns], bytes)
}

fn labels(count: u32) -> Vec<u8> {
    idx(0x801, &[count], (0..count).map(|i| (i * 7 % 10) as u8))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    };
    write(TRAIN_IMAGES, images(23, 4, 5));
    write(TRAIN_LABELS, labels(23));
    write(TEST_IMAGES, images(6, 4, 5));
    write(TEST_LABELS, labels(6));
    folder
}

fn fashion(settings: FileSettings) -> Result<Mnist> {
    Mnist::new(MnistKind::Fashion, settings)
}

fn message(folder: &Path) -> String {
    fashion(FileSettings::folder(folder)).unwrap_err().message
}

#[cfg(feature = "hub")]
#[test]
fn agrees_with_candle_datasets() {
    let folder = folder();
    let theirs = candle_datasets::vision::mnist::load_dir(folder.path()).unwrap();
    let ours = fashion(FileSettings {
        shuffle: false,
        normalize: false,
        ..FileSettings::folder(folder.path())
    })
    .unwrap();
    let check = |batch: &Batch, images: &candle_core::Tensor, labels: &candle_core::Tensor| {
        let batch = bits(batch);
        let images = images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(images.len(), batch.0.len());
        for (ours, theirs) in batch.0.iter().zip(images) {
            assert!((f32::from_bits(*ours) - theirs).abs() < 1e-7);
        }
        let labels = labels.to_dtype(candle_core::DType::U32).unwrap();
        assert_eq!(batch.1, labels.to_vec1::<u32>().unwrap());
    };
    check(
        &ours.batch(0, 23).unwrap(),
        &theirs.train_images,
        &theirs.train_labels,
    );
    check(
        &ours.test_set().unwrap(),
        &theirs.test_images,
        &theirs.test_labels,
    );
}

#[test]
fn gzipped_files_and_the_other_spelling_give_the_same() {
    let plain = folder();
    let stream = fashion(FileSettings::folder(plain.path())).unwrap();
    for pack in [true, false] {
        let other = tempfile::tempdir().unwrap();
        for name in [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS] {
            let bytes = std::fs::read(plain.path().join(name)).unwrap();
            let dotted = name.replacen("-idx", ".idx", 1);
            let (name, bytes) = if pack {
                (format!("{name}.gz"), gzip(&bytes))
            } else {
                (dotted, bytes)
            };
            std::fs::write(other.path().join(name), bytes).unwrap();
        }
        let packed = fashion(FileSettings::folder(other.path())).unwrap();
        assert_eq!(
            bits(&stream.batch(3, 50).unwrap()),
            bits(&packed.batch(3, 50).unwrap())
        );
        assert_eq!(
            bits(&stream.test_set().unwrap()),
            bits(&packed.test_set().unwrap())
        );
    }
}

#[test]
fn keeps_the_promises_of_a_stream() {
    let folder = folder();
    let stream = fashion(FileSettings {
        seed: 5,
        ..FileSettings::folder(folder.path())
    })
    .unwrap();
    check_promises(&stream, 60);
    assert_eq!(
        describe(&stream),
        "fashion_mnist: 23 examples, endless epochs, 1×4×5 → 10 classes, seed 5"
    );
}

#[test]
fn one_pass_ends_and_shuffles_by_seed() {
    let folder = folder();
    let one_pass = |seed| {
        fashion(FileSettings {
            seed,
            epochs: Some(1),
            ..FileSettings::folder(folder.path())
        })
        .unwrap()
    };
    let stream = one_pass(1);
    assert_eq!((stream.len(), stream.positions()), (Some(23), Some(23)));
    let whole = bits(&stream.batch(0, 23).unwrap());
    assert_ne!(whole, bits(&one_pass(2).batch(0, 23).unwrap()));
    assert_eq!(
        stream.batch(20, 4).unwrap_err().message,
        "fashion_mnist ends after 23 examples (23 × 1 epoch), but 4 more were asked for at \
         position 20"
    );
}

#[test]
fn digits_and_fashion_have_their_own_constants() {
    let folder = folder();
    let first = |kind| {
        let settings = FileSettings {
            shuffle: false,
            ..FileSettings::folder(folder.path())
        };
        let batch = Mnist::new(kind, settings).unwrap().batch(0, 1).unwrap();
        f32::from_bits(bits(&batch).0[1])
    };
    let pixel = 37.0 / 255.0;
    assert!((first(MnistKind::Digits) - (pixel - 0.1307) / 0.3081).abs() < 1e-6);
    assert!((first(MnistKind::Fashion) - (pixel - 0.2860) / 0.3530).abs() < 1e-6);
}

#[test]
fn missing_files_are_named_with_what_is_there() {
    let folder = folder();
    let path = folder.path();
    std::fs::remove_file(path.join(TRAIN_LABELS)).unwrap();
    assert_eq!(
        message(path),
        format!(
            "{}: expected one of the files train-labels-idx1-ubyte, train-labels-idx1-ubyte.gz, \
             train-labels.idx1-ubyte, train-labels.idx1-ubyte.gz, found t10k-images-idx3-ubyte, \
             t10k-labels-idx1-ubyte, train-images-idx3-ubyte",
            path.display()
        )
    );
    assert!(message(&path.join("gone")).ends_with("found no such folder"));
}

#[test]
fn wrong_files_are_refused_with_what_was_expected_and_found() {
    let train_images = images(23, 4, 5);
    let cut = |n: usize| train_images[..n].to_vec();
    let packed = gzip(&train_images);
    let mut damaged = packed.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let mut wrong_label = labels(23);
    wrong_label[8 + 17] = 23;
    let enormous = idx(0x803, &[u32::MAX, u32::MAX, u32::MAX], [0; 9]);
    let cases: [(&str, Vec<u8>, &str); 12] = [
        (
            TRAIN_IMAGES,
            labels(23),
            "expected the magic number 0x00000803 of an idx file of images, found 0x00000801 (a \
             file of labels)",
        ),
        (
            TEST_LABELS,
            b"<html>not found</html>".to_vec(),
            "expected the magic number 0x00000801 of an idx file of labels, found 0x3c68746d",
        ),
        (
            TRAIN_IMAGES,
            cut(300),
            "expected 476 bytes, as its header says, found 300 bytes (truncated)",
        ),
        (
            TRAIN_IMAGES,
            cut(10),
            "expected a header of 16 bytes, found a file of 10 bytes",
        ),
        (
            TRAIN_IMAGES,
            cut(0),
            "expected a header of 16 bytes, found a file of 0 bytes",
        ),
        (
            TRAIN_IMAGES,
            [cut(476), vec![0]].concat(),
            "expected 476 bytes, as its header says, found more bytes than that",
        ),
        (
            TRAIN_IMAGES,
            gzip(&cut(300)),
            "expected 476 bytes after unpacking, as its header says, found 300 bytes (truncated)",
        ),
        (
            TRAIN_IMAGES,
            packed[..packed.len() - 30].to_vec(),
            "expected a whole gzip stream, found a damaged one after",
        ),
        (
            TRAIN_IMAGES,
            damaged,
            "expected a whole gzip stream, found a damaged one after",
        ),
        (
            TRAIN_LABELS,
            labels(22),
            "expected 23 labels, one for each image in",
        ),
        (
            TRAIN_LABELS,
            wrong_label,
            "expected labels between 0 and 9, found 23 as the label of example 17",
        ),
        (TRAIN_IMAGES, enormous, "found 25 bytes (truncated)"),
    ];
    for (name, bytes, expected) in cases {
        let folder = folder();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let message = message(folder.path());
        assert!(message.contains(expected), "{message}\nlacks\n{expected}");
        assert!(
            message.starts_with(&path.display().to_string()),
            "{message}"
        );
    }
}

#[test]
fn test_images_of_another_size_and_empty_files_are_refused() {
    let folder = folder();
    let path = folder.path();
    std::fs::write(path.join(TEST_IMAGES), images(6, 5, 5)).unwrap();
    assert_eq!(
        message(path),
        format!(
            "{}: expected test images of 4×5 pixels, like the training images, found 5×5",
            path.display()
        )
    );
    std::fs::write(path.join(TEST_IMAGES), images(0, 4, 5)).unwrap();
    assert!(message(path).ends_with("found 0 images of 4×5 pixels"));
}

use std::io::Write;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::super::describe;
use super::super::testing::{bits, check_promises};
use super::*;
use crate::error::ErrorKind;

const STORED: CompressionMethod = CompressionMethod::Stored;

/// A member as numpy writes it.
fn npy(descr: &str, order: &str, shape: &str, numbers: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    let text = format!("{text:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(numbers);
    bytes
}

fn write(path: &Path, members: &[(&str, Vec<u8>)], method: CompressionMethod) {
    let mut zip = ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, bytes) in members {
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .large_file(true);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// Channel `c` of pixel `p` of an example of a part, channels side by side in the file.
fn byte(part: usize, example: usize, p: usize, c: usize) -> u8 {
    (40 * part + 7 * example + 3 * p + 80 * c) as u8
}

fn pixels(part: usize, count: usize) -> Vec<u8> {
    let at = |i: usize| byte(part, i / PIXELS, i % PIXELS / 3, i % 3);
    (0..count * PIXELS).map(at).collect()
}

fn images(part: usize, count: usize) -> (&'static str, Vec<u8>) {
    let shape = format!("({count}, 32, 32, 3)");
    ("X.npy", npy("|u1", "False", &shape, &pixels(part, count)))
}

fn labels(part: usize, count: usize) -> (&'static str, Vec<u8>) {
    let numbers = (0..count as i64).flat_map(|i| ((part as i64 + i) % 10).to_le_bytes());
    let numbers: Vec<u8> = numbers.collect();
    (
        "Y.npy",
        npy("<i8", "False", &format!("({count},)"), &numbers),
    )
}

fn file(folder: &tempfile::TempDir, part: usize) -> PathBuf {
    folder.path().join(format!("cifar5m_part{part}.npz"))
}

/// Parts 0 and 2 to train on, 3 to test on, of 5, 8 and 6 examples; part 2 is deflated.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (part, count, method) in [
        (0, 5, STORED),
        (2, 8, CompressionMethod::Deflated),
        (3, 6, STORED),
    ] {
        let members = [images(part, count), labels(part, count)];
        write(&file(&folder, part), &members, method);
    }
    folder
}

fn settings(folder: &tempfile::TempDir) -> FileSettings {
    FileSettings {
        shuffle: false,
        normalize: false,
        epochs: Some(1),
        ..FileSettings::folder(folder.path())
    }
}

fn message(folder: &tempfile::TempDir) -> String {
    let error = Cifar5m::new(settings(folder)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Data, "{error}");
    error
        .message
        .replace(&folder.path().display().to_string(), "FOLDER")
}

fn check_images(batch: &Batch, expected: &[(usize, usize)]) {
    let (x, _) = bits(batch);
    for (image, &(part, example)) in x.chunks(PIXELS).zip(expected) {
        for (i, &x) in image.iter().enumerate() {
            let wanted = f32::from(byte(part, example, i % 1024, i / 1024)) / 255.0;
            assert!((f32::from_bits(x) - wanted).abs() < 1e-7);
        }
    }
}

#[test]
fn the_last_part_is_for_tests_and_the_others_are_trained_on() {
    let folder = folder();
    let stream = Cifar5m::new(settings(&folder)).unwrap();
    assert_eq!(
        describe(&stream),
        "cifar5m: 13 examples, 1 epoch, 3×32×32 → 10 classes"
    );
    let batch = stream.batch(0, 13).unwrap();
    assert_eq!(bits(&batch).1, [0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7, 8, 9]);
    let train: Vec<_> = (0..5)
        .map(|i| (0, i))
        .chain((0..8).map(|i| (2, i)))
        .collect();
    check_images(&batch, &train);
    let test = stream.test_set().unwrap();
    assert_eq!(bits(&test).1, [3, 4, 5, 6, 7, 8]);
    check_images(&test, &(0..6).map(|i| (3, i)).collect::<Vec<_>>());
    let record = stream.settings();
    let train = serde_json::json!(["cifar5m_part0.npz", "cifar5m_part2.npz"]);
    assert_eq!(record["train_files"], train);
    assert_eq!(record["test_file"], "cifar5m_part3.npz");
}

#[test]
fn limits_cut_within_a_part() {
    let folder = folder();
    for (limit, last) in [(3, (0, 2)), (5, (0, 4)), (7, (2, 1))] {
        let stream = Cifar5m::new(FileSettings {
            limit: Some(limit),
            test_size: Some(2),
            ..settings(&folder)
        })
        .unwrap();
        assert_eq!(stream.len(), Some(limit as u64));
        check_images(&stream.batch(limit as u64 - 1, 1).unwrap(), &[last]);
        assert_eq!(bits(&stream.test_set().unwrap()).1, [3, 4]);
    }
    let of = |limit, test_size| {
        let settings = FileSettings {
            limit,
            test_size,
            ..settings(&folder)
        };
        let error = Cifar5m::new(settings).unwrap_err().message;
        error.replace(&folder.path().display().to_string(), "FOLDER")
    };
    assert_eq!(
        of(Some(14), None),
        "`limit` of cifar5m must be between 1 and 13 (the examples in FOLDER), got 14"
    );
    assert_eq!(
        of(None, Some(7)),
        "`test_size` of cifar5m must be between 1 and 6 (the examples in \
         FOLDER/cifar5m_part3.npz), got 7"
    );
}

#[test]
fn keeps_the_promises_of_a_stream() {
    let folder = folder();
    let stream = Cifar5m::new(FileSettings::folder(folder.path())).unwrap();
    check_promises(&stream, 40);
    let one = Cifar5m::new(FileSettings {
        normalize: true,
        ..settings(&folder)
    });
    let x = one.unwrap().batch(1, 1).unwrap().inputs;
    let x = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let wanted = (f64::from(byte(0, 1, 0, 2)) - 113.9) / 66.7;
    assert!((f64::from(x[2048]) - wanted).abs() < 1e-6);
}

#[test]
fn labels_are_any_whole_numbers() {
    let numbers: [(&str, Vec<u8>); 5] = [
        ("|u1", vec![9, 0, 3]),
        ("|i1", vec![9, 0, 3]),
        ("<i4", [9_i32, 0, 3].map(i32::to_le_bytes).concat()),
        (">i4", [9_i32, 0, 3].map(i32::to_be_bytes).concat()),
        ("<u8", [9_u64, 0, 3].map(u64::to_le_bytes).concat()),
    ];
    for (dtype, numbers) in numbers {
        let folder = folder();
        let labels = npy(dtype, "False", "(3,)", &numbers);
        write(
            &file(&folder, 0),
            &[images(0, 3), ("Y.npy", labels)],
            STORED,
        );
        let stream = Cifar5m::new(settings(&folder)).unwrap();
        assert_eq!(bits(&stream.batch(0, 3).unwrap()).1, [9, 0, 3], "{dtype}");
    }
}

#[test]
fn wrong_arrays_are_refused_with_the_file() {
    let pixels = pixels(0, 2);
    let x = |descr, order, shape| ("X.npy", npy(descr, order, shape, &pixels));
    let y = |descr, shape, numbers: &[u8]| ("Y.npy", npy(descr, "False", shape, numbers));
    let good = || labels(0, 2);
    let minus = [1_i64, -1].map(i64::to_le_bytes).concat();
    let cases = [
        (
            vec![x("|u1", "False", "(2, 3, 32, 32)"), good()],
            "expected X.npy of shape [n, 32, 32, 3], found |u1 of shape [2, 3, 32, 32]",
        ),
        (
            vec![x("<f4", "False", "(2, 32, 32, 3)"), good()],
            "expected X.npy of bytes (|u1), found <f4 of shape [2, 32, 32, 3]",
        ),
        (
            vec![x("|u1", "True", "(2, 32, 32, 3)"), good()],
            "expected X.npy with the last axis running fastest, found Fortran's order",
        ),
        (
            vec![x("|u1", "False", "(3, 32, 32, 3)"), labels(0, 3)],
            "expected X.npy of 9344 bytes, as its header says, found 6272 bytes",
        ),
        (
            vec![images(0, 2), y("<f8", "(2,)", &[0; 16])],
            "expected Y.npy of whole numbers, found <f8 of shape [2]",
        ),
        (
            vec![images(0, 2), y("<i8", "(3,)", &[0; 24])],
            "expected Y.npy of shape [2], one label an image, found <i8 of shape [3]",
        ),
        (
            vec![images(0, 2), y("|u1", "(2,)", &[9, 10])],
            "expected labels between 0 and 9, found 10 as the label of example 1 (counted from 0)",
        ),
        (
            vec![images(0, 2), y("<i8", "(2,)", &minus)],
            "expected labels between 0 and 9, found -1 as the label of example 1 (counted from 0)",
        ),
        (vec![images(0, 2)], "expected a member Y.npy, found X.npy"),
        (vec![], "expected a member X.npy, found an empty archive"),
        (
            vec![("X.npy", b"no numbers".to_vec()), good()],
            "expected a whole array in X.npy, found no array of numpy",
        ),
    ];
    for (members, expected) in cases {
        let folder = folder();
        write(&file(&folder, 0), &members, STORED);
        assert_eq!(
            message(&folder),
            format!("FOLDER/cifar5m_part0.npz: {expected}")
        );
    }
}

#[test]
fn damaged_and_missing_files_are_named() {
    let folder = folder();
    let path = file(&folder, 2);
    let whole = std::fs::read(&path).unwrap();
    let start = "FOLDER/cifar5m_part2.npz: expected a whole zip archive, found ";
    for cut in [0, 10, whole.len() - 30] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(message(&folder).starts_with(start), "{}", message(&folder));
    }
    // in the midst of the compressed images
    let mut wrong = whole.clone();
    for byte in &mut wrong[400..420] {
        *byte ^= 0x55;
    }
    std::fs::write(&path, &wrong).unwrap();
    let start = "FOLDER/cifar5m_part2.npz: expected a whole array in X.npy, found ";
    assert!(message(&folder).starts_with(start), "{}", message(&folder));

    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(file(&folder, 0)).unwrap();
    assert_eq!(
        message(&folder),
        "FOLDER: expected at least two of the files cifar5m_part0.npz … cifar5m_part5.npz, of \
         which the last one is for tests, found only cifar5m_part3.npz"
    );
    std::fs::remove_file(file(&folder, 3)).unwrap();
    assert!(message(&folder).ends_with("found an empty folder"));
    assert_eq!(
        Cifar5m::new(FileSettings::default()).unwrap_err().message,
        "cifar5m needs the folder with its files, got an empty name"
    );
}

#[test]
fn a_file_that_is_cut_while_it_is_read_is_an_error_of_the_batch() {
    let folder = folder();
    let stream = Cifar5m::new(settings(&folder)).unwrap();
    std::fs::write(file(&folder, 0), "").unwrap();
    let error = stream.batch(0, 4).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io);
    assert!(error.message.contains("cifar5m_part0.npz: "), "{error}");
}

use std::fs;
use std::path::{Path, PathBuf};

use super::super::describe;
use super::super::testing::{bits, check_promises};
use super::*;
use crate::error::ErrorKind;
use crate::reference::Fixture;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/fixtures/images")
}

fn read(name: &str) -> Rgb {
    let path = fixtures().join(name);
    decode(&path, &fs::read(&path).unwrap()).unwrap()
}

/// Largest and mean difference from a tensor of the fixture.
fn differences(pixels: &[u8], fixture: &Fixture, name: &str) -> (f64, f64) {
    let wanted = fixture.tensor(name).values;
    assert_eq!(pixels.len(), wanted.len(), "{name}");
    let each = pixels.iter().zip(&wanted);
    let each: Vec<f64> = each.map(|(&a, b)| (f64::from(a) - b).abs()).collect();
    let mean = each.iter().sum::<f64>() / each.len() as f64;
    (each.into_iter().fold(0.0, f64::max), mean)
}

#[test]
fn files_of_all_kinds_become_the_rgb_of_pillow() {
    let fixture = Fixture::load("images");
    for (name, largest, mean) in [
        ("colour.png", 0.0, 0.0),
        ("alpha.png", 0.0, 0.0),
        ("grey.png", 0.0, 0.0),
        ("grey_alpha.png", 0.0, 0.0),
        ("palette.png", 0.0, 0.0),
        ("grey.jpg", 1.0, 0.05),
        ("full_chroma.jpg", 3.0, 0.05),
        // decoders differ in how they enlarge chroma
        ("colour.jpg", 4.0, 0.5),
        ("progressive.jpg", 4.0, 0.5),
        ("cmyk.jpg", 2.0, 0.05),
    ] {
        let image = read(name);
        let found = differences(&image.pixels, &fixture, &format!("decoded.{name}"));
        assert!(found.0 <= largest && found.1 <= mean, "{name}: {found:?}");
    }
}

#[test]
fn resizing_is_pillows_to_the_bit() {
    let fixture = Fixture::load("images");
    for name in ["colour.png", "grey.png"] {
        let image = read(name);
        for centre in fixture.at("/centres").as_array().unwrap() {
            let size = centre["size"].as_u64().unwrap() as usize;
            let folder = made_of_fixtures();
            let stream = ImageFolder::new(ImageFolderSettings {
                size,
                resize_ratio: centre["ratio"].as_f64().unwrap(),
                ..ImageFolderSettings::folder(folder.path())
            });
            let found = stream.unwrap().centre(&image);
            let wanted = format!("centre.{name}.{size}");
            assert_eq!(
                differences(&found, &fixture, &wanted),
                (0.0, 0.0),
                "{wanted}"
            );
        }
    }
    let image = read("colour.png");
    for (i, crop) in fixture.at("/crops").as_array().unwrap().iter().enumerate() {
        let of = |key: &str| crop[key].as_u64().unwrap() as usize;
        let window = |left, top, width, height| Window {
            left,
            top,
            width,
            height,
        };
        let size = of("size");
        let part = window(of("left"), of("top"), of("width"), of("height"));
        let found = resize(&image, part, size, size, window(0, 0, size, size));
        let wanted = format!("crop.{i}");
        assert_eq!(
            differences(&found, &fixture, &wanted),
            (0.0, 0.0),
            "{wanted}"
        );
    }
}

fn copy(name: &str, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(fixtures().join(name), to).unwrap();
}

/// Two classes; the names of files say nothing about what is in them.
fn made_of_fixtures() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, to) in [
        ("colour.jpg", "train/bee/1.JPEG"),
        ("grey.jpg", "train/ant/2.jpg"),
        ("alpha.png", "train/bee/inner/3.png"),
        ("cmyk.jpg", "train/bee/0.jpeg"),
        ("colour.png", "val/bee/a.JPEG"),
        ("palette.png", "val/bee/b.png"),
    ] {
        copy(name, &folder.path().join(to));
    }
    fs::write(folder.path().join("train/bee/.hidden.jpg"), "no image").unwrap();
    fs::write(folder.path().join("train/README"), "about").unwrap();
    folder
}

fn settings(folder: &tempfile::TempDir) -> ImageFolderSettings {
    ImageFolderSettings {
        files: FileSettings {
            shuffle: false,
            normalize: false,
            ..FileSettings::folder(folder.path())
        },
        ..ImageFolderSettings::folder(folder.path())
    }
}

#[test]
fn files_come_class_after_class_in_turn() {
    let folder = made_of_fixtures();
    let stream = ImageFolder::new(settings(&folder)).unwrap();
    assert_eq!(
        describe(&stream),
        "image_folder: 4 examples, endless epochs, 3×32×32 → 2 classes"
    );
    assert_eq!(bits(&stream.batch(0, 5).unwrap()).1, [0, 1, 1, 1, 0]);
    let names = ["ant/2.jpg", "bee/0.jpeg", "bee/1.JPEG", "bee/inner/3.png"];
    for (i, name) in names.iter().enumerate() {
        assert_eq!(stream.train.path(i), folder.path().join("train").join(name));
    }
    let test = stream.test_set().unwrap();
    assert_eq!(bits(&test).1, [1, 1]);
    let wanted = Fixture::load("images")
        .tensor("centre.colour.png.32")
        .values;
    let x = test.inputs.get(0).unwrap().permute((1, 2, 0)).unwrap();
    let x = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (x, wanted) in x.iter().zip(wanted) {
        assert!((f64::from(*x) * 255.0 - wanted).abs() < 1e-4);
    }
    assert_eq!(stream.settings()["test_size"], 2);
    assert_eq!(stream.settings()["augment"], "none");
    let first = ImageFolder::new(ImageFolderSettings {
        files: FileSettings {
            limit: Some(2),
            test_size: Some(1),
            ..settings(&folder).files
        },
        ..settings(&folder)
    });
    let first = first.unwrap();
    assert_eq!(bits(&first.batch(0, 2).unwrap()).1, [0, 1]);
    assert_eq!(first.test_set().unwrap().inputs.dims(), [1, 3, 32, 32]);
}

#[test]
fn keeps_the_promises_of_a_stream() {
    let folder = made_of_fixtures();
    for augment in [Augment::None, Augment::Standard] {
        let stream = ImageFolder::new(ImageFolderSettings {
            size: 12,
            augment,
            ..ImageFolderSettings::folder(folder.path())
        });
        check_promises(&stream.unwrap(), 40);
    }
}

#[test]
fn augmentation_depends_on_seed_and_position_and_spares_the_test_set() {
    let folder = made_of_fixtures();
    let of = |seed, augment| {
        let mut settings = settings(&folder);
        settings.files.seed = seed;
        ImageFolder::new(ImageFolderSettings {
            augment,
            ..settings
        })
        .unwrap()
    };
    let x = |stream: &ImageFolder, at| bits(&stream.batch(at, 1).unwrap()).0;
    let (plain, random) = (of(0, Augment::None), of(0, Augment::Standard));
    assert_eq!(x(&plain, 1), x(&plain, 5));
    assert_ne!(x(&random, 1), x(&random, 5));
    assert_ne!(x(&random, 1), x(&of(1, Augment::Standard), 1));
    assert_eq!(x(&random, 1), x(&of(0, Augment::Standard), 1));
    let test = |stream: &ImageFolder| bits(&stream.test_set().unwrap());
    assert_eq!(test(&plain), test(&random));
}

#[test]
fn there_may_be_more_than_256_classes() {
    let folder = tempfile::tempdir().unwrap();
    for class in 0..300 {
        copy(
            "grey.png",
            &folder.path().join(format!("train/n{class:03}/x.png")),
        );
    }
    copy("grey.png", &folder.path().join("test/n299/x.png"));
    let stream = ImageFolder::new(settings(&folder)).unwrap();
    assert_eq!(stream.targets(), Targets::Classes(300));
    let (_, labels) = bits(&stream.batch(250, 50).unwrap());
    assert_eq!(labels, (250..300).collect::<Vec<u32>>());
    assert_eq!(bits(&stream.test_set().unwrap()).1, [299]);
}

fn message(folder: &tempfile::TempDir) -> String {
    let error = ImageFolder::new(settings(folder)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Data, "{error}");
    error
        .message
        .replace(&folder.path().display().to_string(), "FOLDER")
}

#[test]
fn other_layouts_are_refused() {
    let folder = made_of_fixtures();
    let path = folder.path();
    copy("colour.png", &path.join("val/wasp/x.png"));
    assert_eq!(
        message(&folder),
        "FOLDER/val: expected no other classes than those of FOLDER/train, found wasp"
    );
    fs::remove_dir_all(path.join("val/wasp")).unwrap();
    fs::create_dir(path.join("train/cicada")).unwrap();
    let wanted = "FOLDER/train/cicada: expected at least one .jpg, .jpeg or .png file, found ";
    assert_eq!(message(&folder), format!("{wanted}an empty folder"));
    fs::write(path.join("train/cicada/x.gif"), "").unwrap();
    assert_eq!(message(&folder), format!("{wanted}x.gif"));
    fs::remove_dir_all(path.join("train/cicada")).unwrap();
    fs::rename(path.join("val"), path.join("valid")).unwrap();
    assert_eq!(
        message(&folder),
        "FOLDER: expected a folder with val/ or test/, found train, valid"
    );
    fs::create_dir(path.join("test")).unwrap();
    assert_eq!(
        message(&folder),
        "FOLDER/test: expected a folder for each class, found an empty folder"
    );
    fs::remove_dir_all(path.join("train")).unwrap();
    assert_eq!(
        message(&folder),
        "FOLDER: expected a folder with train/, found test, valid"
    );
    fs::remove_dir_all(path).unwrap();
    assert_eq!(
        message(&folder),
        "FOLDER: expected a folder with train/, found no such folder"
    );
}

#[test]
fn damaged_images_are_named() {
    let whole = fs::read(fixtures().join("colour.jpg")).unwrap();
    let png = fs::read(fixtures().join("colour.png")).unwrap();
    let cases: [(&str, &[u8]); 6] = [
        ("a JPEG or PNG image, found an empty file", b""),
        ("a JPEG or PNG image, found neither", b"GIF89a"),
        ("a whole JPEG image, found ", &whole[..whole.len() / 2]),
        ("a whole JPEG image, found ", &whole[..whole.len() - 40]),
        ("a whole JPEG image, found ", &whole[..10]),
        ("a whole PNG image, found ", &png[..png.len() / 2]),
    ];
    for (expected, bytes) in cases {
        let folder = made_of_fixtures();
        fs::write(folder.path().join("train/bee/1.JPEG"), bytes).unwrap();
        let stream = ImageFolder::new(settings(&folder)).unwrap();
        assert!(stream.batch(0, 2).is_ok());
        let error = stream.batch(0, 4).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Data);
        let expected = format!("train/bee/1.JPEG: expected {expected}");
        assert!(error.message.contains(&expected), "{error}");
    }
}

#[test]
fn wrong_settings_are_refused_by_name() {
    let folder = made_of_fixtures();
    let of = |change: fn(&mut ImageFolderSettings)| {
        let mut settings = settings(&folder);
        change(&mut settings);
        let error = ImageFolder::new(settings).unwrap_err().message;
        error.replace(&folder.path().display().to_string(), "FOLDER")
    };
    assert_eq!(
        of(|s| s.size = 0),
        "`size` of image_folder must be between 1 and 4096, got 0"
    );
    assert_eq!(
        of(|s| s.resize_ratio = 0.9),
        "`resize_ratio` of image_folder must be between 1 and 8, got 0.9"
    );
    assert_eq!(
        of(|s| s.files.limit = Some(5)),
        "`limit` of image_folder must be between 1 and 4 (the images in FOLDER/train), got 5"
    );
    assert_eq!(
        of(|s| s.files.test_size = Some(3)),
        "`test_size` of image_folder must be between 1 and 2 (the images in FOLDER/val), got 3"
    );
    assert_eq!(
        of(|s| s.files.folder = PathBuf::new()),
        "image_folder needs the folder with train/ and val/ or test/, got an empty name"
    );
}

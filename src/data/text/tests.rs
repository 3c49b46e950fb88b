use super::super::describe;
use super::super::testing::{bits, check_promises};
use super::*;
use crate::error::ErrorKind;
use std::fs;

/// A stream over these bytes, or its error with the file's path cut out.
fn made(bytes: &[u8], change: impl Fn(&mut TextSettings)) -> Result<Text> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    fs::write(&path, bytes).unwrap();
    let mut settings = TextSettings::path(&path);
    settings.context = 4;
    change(&mut settings);
    Text::new(settings).map_err(|mut e| {
        e.message = e.message.replace(&path.display().to_string(), "FILE");
        e
    })
}

/// 60 characters to train on and 20 to test on: a token of a test window is never below 10.
fn counted() -> Text {
    let letters = |i: u8| char::from(b'a' + i);
    let train = (0..60).map(|i| letters(i % 10));
    let test = (0..20).map(|i| letters(10 + i % 7));
    let text: String = train.chain(test).collect();
    made(text.as_bytes(), |s| s.test_share = 0.25).unwrap()
}

fn rows(batch: &Batch) -> Vec<(Vec<u32>, Vec<u32>)> {
    let (x, y) = bits(batch);
    let whole = |&x: &u32| f32::from_bits(x) as u32;
    let pairs = x.chunks(4).zip(y.chunks(4));
    pairs
        .map(|(x, y)| (x.iter().map(whole).collect(), y.to_vec()))
        .collect()
}

#[test]
fn keeps_the_promises_of_a_stream() {
    let stream = counted();
    check_promises(&stream, 40);
    assert_eq!(
        describe(&stream),
        "text: endless, 4 → 17 classes at 4 positions, seed 0"
    );
}

#[test]
fn training_windows_are_of_the_first_part_and_reach_all_of_it() {
    let stream = counted();
    let mut first = [false; 10];
    let mut last_place = false;
    for (x, y) in rows(&stream.batch(5, 2000).unwrap()) {
        let wanted: Vec<u32> = (0..5).map(|t| (x[0] + t) % 10).collect();
        assert_eq!((&x[..], &y[..]), (&wanted[..4], &wanted[1..]));
        first[x[0] as usize] = true;
        last_place |= x[0] == 5;
    }
    assert!(first.iter().all(|&seen| seen) && last_place);
}

#[test]
fn every_place_is_drawn_and_another_seed_draws_others() {
    let text: String = ('a'..='z').collect();
    let make = |seed| made(text.as_bytes(), |s| (s.test_share, s.seed) = (0.5, seed)).unwrap();
    let places = |seed| -> Vec<u32> {
        let batch = make(seed).batch(0, 300).unwrap();
        rows(&batch).iter().map(|(x, _)| x[0]).collect()
    };
    let mut drawn = places(0);
    assert_ne!(drawn, places(1));
    drawn.sort_unstable();
    drawn.dedup();
    // 13 characters hold nine windows of four and the next one
    assert_eq!(drawn, (0..9).collect::<Vec<_>>());
}

#[test]
fn test_windows_lie_one_behind_the_other_in_the_last_part() {
    let test = counted().test_set().unwrap();
    let window = |start: u32| {
        let all: Vec<u32> = (start..start + 5).map(|i| 10 + i % 7).collect();
        (all[..4].to_vec(), all[1..].to_vec())
    };
    // the label of the twentieth character is not in the file
    assert_eq!(rows(&test), [0, 4, 8, 12].map(window));
    let text = "abcdefghijklmnopqrstuvwxyz";
    let one = made(text.as_bytes(), |s| {
        (s.test_share, s.test_size) = (0.5, Some(1));
    });
    let one = one.unwrap().test_set().unwrap();
    assert_eq!(rows(&one), [(vec![13, 14, 15, 16], vec![14, 15, 16, 17])]);
}

#[test]
fn tokens_are_characters_or_bytes() {
    let text = "é\né\né\né\né\né\n".as_bytes();
    let characters = made(text, |s| s.test_share = 0.5).unwrap();
    assert_eq!(characters.targets(), Targets::Classes(2));
    let (x, _) = &rows(&characters.test_set().unwrap())[0];
    assert_eq!(x[..], [1, 0, 1, 0]);
    let bytes = made(text, |s| (s.vocab, s.test_share) = (TextVocab::Bytes, 0.5)).unwrap();
    assert_eq!(bytes.targets(), Targets::Classes(256));
    let (x, y) = &rows(&bytes.test_set().unwrap())[0];
    assert_eq!((&x[..], y[3]), (&[195, 169, 10, 195][..], 169));
}

#[test]
fn wrong_files_are_refused_with_what_was_expected() {
    let message = |bytes: &[u8], change: fn(&mut TextSettings)| {
        let error = made(bytes, change).unwrap_err();
        (error.kind, error.message)
    };
    let long = [b'a'; 60];
    assert_eq!(
        message(&long[..20], |_| ()),
        (
            ErrorKind::Data,
            "FILE: expected at least 5 characters to train on and 5 to test on (`context` and \
             the next one), found 18 and 2 (`test_share` is 0.1)"
                .into()
        )
    );
    for share in [0.0, 1.0] {
        assert!(made(&long, |s| s.test_share = share).is_err());
    }
    assert!(made(b"", |s| s.vocab = TextVocab::Bytes).is_err());
    assert_eq!(
        message(&[b'a', 0xc3, 0xa9, 0xff, b'a'], |_| ()).1,
        "FILE: expected UTF-8 text, found the byte 0xff at offset 3, which is none"
    );
    // cut in the middle of a character
    assert_eq!(
        message(&[b'a', 0xc3], |_| ()).1,
        "FILE: expected UTF-8 text, found the byte 0xc3 at offset 1, which is none"
    );
    assert_eq!(
        message(&long, |s| s.test_size = Some(2)).1,
        "`test_size` of text must be between 1 and 1 (the windows in the last 6 characters of \
         FILE), got 2"
    );
    assert_eq!(
        message(&long, |s| s.context = 0).1,
        "`context` of text must be between 1 and 1048576, got 0"
    );
    let folder = tempfile::tempdir().unwrap();
    let of = |path: &Path| Text::new(TextSettings::path(path)).unwrap_err().message;
    let wanted =
        "expected a text file or a folder with .txt, .tokens, .json or .jsonl files, found ";
    assert!(of(folder.path()).ends_with(&format!("{wanted}an empty folder")));
    let gone = folder.path().join("gone.txt");
    assert!(of(&gone).ends_with("gone.txt: expected a text file, found no such file"));
    assert_eq!(
        of(Path::new("")),
        "text needs the path of a text file, got an empty one"
    );
}

/// A folder with these files; names that end in .gz are packed.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        if name.ends_with(".gz") {
            let file = fs::File::create(path).unwrap();
            let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
            packed.finish().unwrap();
        } else {
            fs::write(path, text).unwrap();
        }
    }
    folder
}

/// A byte-level tokenizer that joins a few pairs, so that tokens are few and known.
fn tokenizer(end: bool) -> String {
    let mut vocab = serde_json::Map::new();
    // GPT-2's letters for the blank and the line's end
    for token in ["a", "b", "c", "\u{120}", "\u{10a}", "ab", "\u{120}ab"] {
        vocab.insert(token.into(), vocab.len().into());
    }
    let added = match end {
        true => serde_json::json!([{
            "id": 7, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        }]),
        false => serde_json::json!([]),
    };
    let level = serde_json::json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": level, "post_processor": level, "decoder": level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": ["a b", "\u{120} ab"],
        },
    })
    .to_string()
}

fn all(stream: &Text) -> Vec<u32> {
    stream.tokens.from(0).collect()
}

const LINES: &str = "{\"text\": \"ab\", \"url\": 1}\n\n{\"text\": \"ca b\"}\n";

#[test]
fn documents_of_many_files_are_joined() {
    let folder = folder(&[
        ("b.json.gz", LINES),
        ("a.jsonl", "{\"text\": \"c\\nc\"}"),
        ("c.txt", "bb"),
        (".d.txt", "not looked at"),
        ("e.md", "neither"),
        ("t.json", &tokenizer(true)),
    ]);
    let path = |name: &str| folder.path().join(name);
    fs::rename(path("t.json"), path("t.tok")).unwrap();
    let of = |path: &Path, change: &dyn Fn(&mut TextSettings)| {
        let mut settings = TextSettings::path(path);
        (settings.context, settings.test_share) = (1, 0.5);
        change(&mut settings);
        Text::new(settings).unwrap()
    };
    let characters = of(folder.path(), &|_| ());
    let text = |stream: &Text| {
        let tokens: Vec<u64> = all(stream).into_iter().map(u64::from).collect();
        stream.vocabulary.decode(&tokens).unwrap()
    };
    assert_eq!(text(&characters), "c\nc\nab\nca b\nbb");
    let bytes = of(folder.path(), &|s| s.vocab = TextVocab::Bytes);
    assert_eq!(text(&bytes), text(&characters));
    let pairs = TextVocab::Tokenizer(path("t.tok"));
    let tokens = of(folder.path(), &|s| s.vocab = pairs.clone());
    assert_eq!(all(&tokens), [2, 4, 2, 7, 5, 7, 2, 0, 3, 1, 7, 1, 1]);
    assert!(matches!(tokens.tokens, Tokens::Short(_)));
    assert_eq!(tokens.targets(), Targets::Classes(8));
    check_promises(&tokens, 20);
    for limit in 4..13 {
        let some = of(folder.path(), &|s| {
            (s.vocab, s.limit) = (pairs.clone(), Some(limit));
        });
        assert_eq!(all(&some), all(&tokens)[..limit]);
    }
    let some = of(folder.path(), &|s| s.limit = Some(5));
    // `d` and the blank come later
    assert_eq!((text(&some), some.vocabulary.size()), ("c\nc\na".into(), 3));
    // a folder of which one file is tested on
    let tested = of(folder.path(), &|s| s.test_path = Some(path("b.json.gz")));
    assert_eq!(tested.train, 6);
    assert_eq!(text(&tested), "c\nc\nbbab\nca b");
    assert_eq!(tested.test_size, 6);
    let two = of(folder.path(), &|s| {
        (s.test_path, s.test_size) = (Some(path("b.json.gz")), Some(2));
    });
    assert_eq!(text(&two), "c\nc\nbbab\n");
    assert_eq!(bits(&two.test_set().unwrap()).1.len(), 2);
    // stars
    let some = of(&path("*.txt"), &|_| ());
    assert_eq!(text(&some), "not looked at\nbb");
}

#[test]
fn tokens_depend_neither_on_threads_nor_on_where_a_long_text_is_cut() {
    let text: String = (0..120_000)
        .map(|i| ["ab ", "cab\n", "a\n\n ", "b "][i * i % 7 % 4])
        .collect();
    let folder = folder(&[("a.txt", &text), ("t.tok", &tokenizer(true))]);
    let path = folder.path().join("t.tok");
    let make = |threads| {
        let mut settings = TextSettings::path(folder.path().join("a.txt"));
        settings.vocab = TextVocab::Tokenizer(path.clone());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| all(&Text::new(settings).unwrap()))
    };
    let whole = Tokenizer::read(&path).unwrap().encode(&text).unwrap();
    assert!(make(1) == whole && make(3) == whole);
}

#[test]
fn wrong_lines_and_tokenizers_are_named() {
    let folder = folder(&[
        ("a.json", "{\"text\": \"ab\"}\n{\"txt\": 1}\n"),
        ("b.json", "{\"text\": \"ab\"}\nab\n"),
        ("c.json", LINES),
        ("d.json", "{\"text\": 3}"),
        ("e.json.gz", LINES),
        ("no.tok", "{\"version\": \"1.0\"}"),
        ("bare.tok", &tokenizer(false)),
    ]);
    let path = |name: &str| folder.path().join(name);
    let packed = fs::read(path("e.json.gz")).unwrap();
    fs::write(path("e.json.gz"), &packed[..packed.len() - 12]).unwrap();
    let of = |name: &str, vocab: TextVocab| {
        let mut settings = TextSettings::path(path(name));
        (settings.context, settings.vocab) = (1, vocab);
        let error = Text::new(settings).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Data);
        error
            .message
            .replace(&folder.path().display().to_string(), "FOLDER")
    };
    let wanted = "expected an object with the member \"text\" in each line, found";
    for vocab in [TextVocab::Characters, TextVocab::Bytes] {
        let missing = format!("FOLDER/a.json: {wanted} missing field `text` in line 2");
        assert_eq!(of("a.json", vocab.clone()), missing);
        let none = format!("FOLDER/b.json: {wanted} expected value in line 2");
        assert_eq!(of("b.json", vocab.clone()), none);
        assert!(of("d.json", vocab.clone()).ends_with("expected a string in line 1"));
        let cut = "FOLDER/e.json.gz: expected a whole gzip stream, found a damaged one after ";
        assert!(of("e.json.gz", vocab).starts_with(cut));
    }
    let with = |name: &str| TextVocab::Tokenizer(path(name));
    let wanted = "expected a tokenizer.json as Hugging Face's tokenizers write it, found";
    assert_eq!(
        of("c.json", with("gone")),
        format!("FOLDER/gone: {wanted} no such file")
    );
    let bad = format!("FOLDER/no.tok: {wanted} ");
    assert!(
        of("c.json", with("no.tok")).starts_with(&bad),
        "{}",
        of("c.json", with("no.tok"))
    );
    assert_eq!(
        of("c.json", with("bare.tok")),
        "FOLDER/bare.tok: expected a token for the end of a text, one of <|endoftext|>, \
         <|end_of_text|>, </s>, <eos>, <|eot_id|>, found none"
    );
    assert!(
        of("*.parquet", TextVocab::Bytes).starts_with("FOLDER: expected files *.parquet, found ")
    );
    let mut settings = TextSettings::path(path("c.json"));
    settings.test_path = Some(path("c.json"));
    let error = Text::new(settings).unwrap_err().message;
    assert!(
        error.ends_with("expected a text that is not that of `test_path`, found no other file")
    );
}

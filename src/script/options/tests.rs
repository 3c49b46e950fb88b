use rhai::{Dynamic, Map};

use super::{NON_NEGATIVE, POSITIVE, PerMember};
use crate::error::{Error, ErrorKind};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Round,
    Square,
}

crate::choice!(Shape { "round" => Shape::Round, "square" => Shape::Square });

options! {
    /// Settings of an inner thing.
    struct InnerOptions for "inner" {
        /// Size.
        size: usize = 2;
    }
}

options! {
    /// Settings used by the tests below.
    struct ThingOptions for "thing", "thing2" {
        /// Number of units.
        width: usize = 128, where (1..);
        /// Learning rate.
        lr: PerMember, where POSITIVE;
        /// Fraction.
        fraction: f64 = 0.5, where (0.0..=1.0);
        /// Sizes.
        widths: Vec<usize> = vec![64, 128], where (1..=4096);
        /// Outline.
        shape: Shape = Shape::Round;
        /// Upper limit.
        clip: Option<f64>, where NON_NEGATIVE;
        /// Even number.
        even: i64 = 2, check |i: &i64| if i % 2 == 0 { Ok(()) } else { Err(format!("{i} is odd")) };
        /// More.
        inner: Option<InnerOptions>;
    }
}

fn map(pairs: &[(&str, Dynamic)]) -> Map {
    pairs
        .iter()
        .map(|(k, v)| ((*k).into(), v.clone()))
        .collect()
}

fn error(pairs: &[(&str, Dynamic)]) -> Error {
    let mut all = vec![("lr", Dynamic::from(0.1))];
    all.extend_from_slice(pairs);
    let error = ThingOptions::read("thing", &map(&all)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Setting);
    error
}

#[test]
fn defaults_apply_and_unit_means_absent() {
    let o = ThingOptions::read(
        "thing",
        &map(&[("lr", Dynamic::from(1_i64)), ("width", ().into())]),
    )
    .unwrap();
    assert_eq!(o.width, 128);
    assert_eq!(o.lr, PerMember::Same(1.0));
    assert_eq!(o.widths, [64, 128]);
    assert_eq!(o.shape, Shape::Round);
    assert_eq!(o.clip, None);
    assert!(o.inner.is_none());
    assert_eq!((o.fraction, o.even), (0.5, 2));
}

#[test]
fn values_are_read_and_integers_widen() {
    let inner = map(&[("size", Dynamic::from(9_i64))]);
    let o = ThingOptions::read(
        "thing",
        &map(&[
            ("lr", vec![Dynamic::from(0.5), Dynamic::from(1_i64)].into()),
            ("fraction", Dynamic::from(1_i64)),
            ("shape", "square".into()),
            ("inner", inner.into()),
        ]),
    )
    .unwrap();
    assert_eq!(o.lr, PerMember::Each(vec![0.5, 1.0]));
    assert!(o.lr.check("lr", 2).is_ok() && o.lr.check("lr", 3).is_err());
    assert_eq!(o.fraction, 1.0);
    assert_eq!(o.shape, Shape::Square);
    assert_eq!(o.inner.unwrap().size, 9);
}

#[test]
fn a_missing_setting_is_named_with_its_type() {
    let e = ThingOptions::defaults("thing").unwrap_err();
    assert_eq!(
        e.message,
        "thing needs the setting `lr`: number, or an array with one number per member (above 0)"
    );
}

#[test]
fn unknown_keys_list_the_accepted_ones() {
    let e = error(&[("widht", Dynamic::from(3_i64))]);
    assert_eq!(
        e.message,
        "thing has no setting `widht`; it accepts clip, even, fraction, inner, lr, shape, width, widths"
    );
    assert_eq!(e.help.as_deref(), Some("did you mean `width`?"));
    assert_eq!(error(&[("zzz", ().into())]).help, None);
}

#[test]
fn wrong_types_show_value_and_type() {
    for (key, value, message) in [
        (
            "width",
            Dynamic::from("big"),
            "thing: setting `width`: expected integer (from 1 up), found \"big\" (string)",
        ),
        (
            "width",
            Dynamic::from(-3_i64),
            "thing: setting `width`: expected integer (from 1 up), found -3 (integer)",
        ),
        (
            "width",
            Dynamic::from(1.5),
            "thing: setting `width`: expected integer (from 1 up), found 1.5 (float)",
        ),
        (
            "widths",
            Dynamic::from(4_i64),
            "thing: setting `widths`: expected array, each element: integer (from 1 to 4096), found 4 (integer)",
        ),
        (
            "widths",
            vec![Dynamic::from(true)].into(),
            "thing: setting `widths`: expected integer from 0 up, found true (bool) at index 0",
        ),
        (
            "shape",
            Dynamic::from(1_i64),
            "thing: setting `shape`: expected \"round\" or \"square\", found 1 (integer)",
        ),
    ] {
        assert_eq!(error(&[(key, value)]).message, message);
    }
}

#[test]
fn impossible_values_name_the_range() {
    for (key, value, message) in [
        (
            "width",
            Dynamic::from(0_i64),
            "thing: setting `width`: expected a value from 1 up, found 0",
        ),
        (
            "fraction",
            Dynamic::from(1.5),
            "thing: setting `fraction`: expected a value from 0 to 1, found 1.5",
        ),
        (
            "widths",
            vec![Dynamic::from(8_i64), Dynamic::from(9999_i64)].into(),
            "thing: setting `widths`: expected a value from 1 to 4096, found 9999",
        ),
        (
            "lr",
            Dynamic::from(0.0),
            "thing: setting `lr`: expected a value above 0, found 0",
        ),
        (
            "lr",
            Dynamic::from(f64::NAN),
            "thing: setting `lr`: expected a value above 0, found NaN",
        ),
        (
            "even",
            Dynamic::from(3_i64),
            "thing: setting `even`: 3 is odd",
        ),
    ] {
        assert_eq!(error(&[(key, value)]).message, message);
    }
    let e = error(&[("shape", "squar".into())]);
    assert_eq!(
        e.message,
        "thing: setting `shape`: expected one of round, square, found \"squar\""
    );
    assert_eq!(e.help.as_deref(), Some("did you mean `square`?"));
}

#[test]
fn nested_settings_are_checked_too() {
    let inner = map(&[("sise", Dynamic::from(9_i64))]);
    let e = error(&[("inner", inner.into())]);
    assert_eq!(
        e.message,
        "thing: setting `inner`: inner has no setting `sise`; it accepts size"
    );
    assert_eq!(e.help.as_deref(), Some("did you mean `size`?"));
}

#[test]
fn the_spec_describes_every_field() {
    let spec = ThingOptions::spec();
    assert_eq!(spec.functions, ["thing", "thing2"]);
    assert_eq!(spec.doc, "Settings used by the tests below.");
    let width = &spec.fields[0];
    assert_eq!(
        (
            width.key,
            width.kind.as_str(),
            width.default.as_deref(),
            width.doc.as_str()
        ),
        (
            "width",
            "integer (from 1 up)",
            Some("128"),
            "Number of units."
        )
    );
    assert_eq!(spec.fields[1].default, None);
    assert_eq!(spec.fields[3].default.as_deref(), Some("[64, 128]"));
    assert_eq!(spec.fields[4].choices, ["round", "square"]);
    assert_eq!(spec.fields[5].default.as_deref(), Some("()"));
    assert_eq!(spec.fields[7].nested.unwrap().functions, ["inner"]);
}

//! Tick positions and their texts.

use super::axis::{Range, Scale};

/// One tick: its value, and its text if it is labelled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    pub value: f64,
    pub text: Option<String>,
}

/// Ticks inside the range, in rising order, with about `target` labels.
pub(crate) fn ticks(range: &Range, target: usize) -> Vec<Tick> {
    let target = target.max(2);
    let mut ticks = match range.scale {
        Scale::Linear => linear(range.low, range.high, target),
        Scale::Log10 => log10(range.low, range.high, target),
        Scale::Log2 => log2(range.low, range.high, target),
    };
    ticks.retain(|t| (-1e-9..=1.0 + 1e-9).contains(&range.place(t.value)));
    ticks.sort_by(|a, b| a.value.total_cmp(&b.value));
    ticks
}

fn labelled(values: Vec<f64>, texts: Vec<String>) -> Vec<Tick> {
    values
        .into_iter()
        .zip(texts)
        .map(|(value, text)| Tick {
            value,
            text: Some(text),
        })
        .collect()
}

fn linear(low: f64, high: f64, target: usize) -> Vec<Tick> {
    let length = high / 2.0 - low / 2.0;
    let raw = length / target as f64 * 2.0;
    if !raw.is_finite() || raw < f64::MIN_POSITIVE {
        return labelled(vec![low, high], format_values(&[low, high], length));
    }
    let magnitude = 10f64.powf(raw.log10().floor());
    // The nearest by ratio: bounds lie at the geometric means of neighbours.
    let step = [(1.0, 1.41), (2.0, 3.16), (5.0, 7.07), (10.0, 10.1)]
        .into_iter()
        .find(|(_, bound)| raw <= bound * magnitude)
        .map_or(raw, |(m, _)| m * magnitude);
    let first = (low / step - 1e-9).ceil();
    let count = ((high / step + 1e-9).floor() - first).clamp(0.0, 100.0) as usize + 1;
    let mut values: Vec<f64> = (0..count)
        .map(|i| (first + i as f64) * step)
        .filter(|v| v.is_finite())
        .collect();
    values.dedup();
    let texts = format_values(&values, step);
    labelled(values, texts)
}

/// Texts for values that lie `step` apart, all with the same number of decimals.
fn format_values(values: &[f64], step: f64) -> Vec<String> {
    let largest = values.iter().fold(0f64, |m, v| m.max(v.abs()));
    let order = |v: f64| (v * 1.0001).log10().floor() as i32;
    let scientific = largest >= 1e6 || (largest < 1e-3 && largest > 0.0);
    let exponent = if scientific { order(largest) } else { 0 };
    let unit = 10f64.powi(exponent);
    let decimals = (exponent - order(step.max(f64::MIN_POSITIVE))).clamp(0, 15) as usize;
    values
        .iter()
        .map(|&v| {
            if v == 0.0 {
                return "0".to_string();
            }
            let digits = format!("{:.decimals$}", v / unit);
            let digits = group_thousands(&digits).replace('-', "−");
            if scientific {
                format!("{digits}×{}", power_text(10, exponent))
            } else {
                digits
            }
        })
        .collect()
}

/// Puts thin spaces between groups of three digits from 10 000 on.
fn group_thousands(digits: &str) -> String {
    let end = digits.find('.').unwrap_or(digits.len());
    let start = usize::from(digits.starts_with('-'));
    if end - start < 5 {
        return digits.to_string();
    }
    let mut text = String::new();
    for (i, c) in digits.char_indices() {
        if i > start && i < end && (end - i).is_multiple_of(3) {
            text.push('\u{2009}');
        }
        text.push(c);
    }
    text
}

/// `base` with its exponent in superscript digits, such as 10⁻³.
pub(crate) fn power_text(base: u32, exponent: i32) -> String {
    let mut text = base.to_string();
    for c in exponent.to_string().chars() {
        text.push(match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            digit => char::from_u32(0x2070 + digit.to_digit(10).unwrap_or(0)).unwrap_or(digit),
        });
    }
    text
}

fn log10(low: f64, high: f64, target: usize) -> Vec<Tick> {
    let first = (low.log10() - 1e-9).ceil() as i32;
    let last = (high.log10() + 1e-9).floor() as i32;
    let decades = last - first + 1;
    let inside = |v: f64| v >= low * (1.0 - 1e-9) && v <= high * (1.0 + 1e-9);
    let multiples = |of: &[u32]| -> Vec<(i32, u32)> {
        (first - 1..=last)
            .flat_map(|e| of.iter().map(move |&m| (e, m)))
            .filter(|&(e, m)| inside(f64::from(m) * 10f64.powi(e)))
            .collect()
    };
    let minor = |decades: i32, labels: &[f64]| -> Vec<Tick> {
        if decades > 8 {
            return Vec::new();
        }
        multiples(&[2, 3, 4, 5, 6, 7, 8, 9])
            .into_iter()
            .map(|(e, m)| f64::from(m) * 10f64.powi(e))
            .filter(|v| labels.iter().all(|l| (l / v - 1.0).abs() > 1e-6))
            .map(|value| Tick { value, text: None })
            .collect()
    };
    let mut found;
    if decades <= 2 {
        let few = multiples(&[1, 2, 5]);
        if few.len() < 3 {
            let mut few = linear(low, high, target);
            few.retain(|t| t.value > 0.0);
            return few;
        }
        let plain = low >= 1e-4 && high < 1e5;
        found = few
            .iter()
            .map(|&(e, m)| {
                let value = f64::from(m) * 10f64.powi(e);
                let text = match (plain, m) {
                    (true, _) => plain_text(m, e),
                    (false, 1) => power_text(10, e),
                    (false, _) => format!("{m}×{}", power_text(10, e)),
                };
                Tick {
                    value,
                    text: Some(text),
                }
            })
            .collect::<Vec<_>>();
        let labels: Vec<f64> = found.iter().map(|t| t.value).collect();
        found.extend(minor(1, &labels));
    } else {
        let stride = stride(first, last, target);
        let plain = first >= -3 && last <= 3;
        let start = first.div_euclid(stride) * stride;
        let start = if start < first { start + stride } else { start };
        found = (0..)
            .map(|i| start + i * stride)
            .take_while(|e| *e <= last)
            .map(|e| Tick {
                value: 10f64.powi(e),
                text: Some(if plain {
                    plain_text(1, e)
                } else {
                    power_text(10, e)
                }),
            })
            .collect();
        let labels: Vec<f64> = found.iter().map(|t| t.value).collect();
        if stride == 1 {
            found.extend(minor(decades, &labels));
        } else {
            let all = exponents(first, last, stride).map(|e| 10f64.powi(e));
            found.extend(all.filter_map(|value| {
                let free = labels.iter().all(|l| (l / value - 1.0).abs() > 1e-6);
                free.then_some(Tick { value, text: None })
            }));
        }
    }
    found
}

/// Exponents from one label to the next: about `target` labels from `first` to `last`, beyond five at numbers
/// that divide by five.
fn stride(first: i32, last: i32, target: usize) -> i32 {
    let least = ((last - first + 1).max(1) as usize).div_ceil(target) as i32;
    let unit = match least {
        ..=5 => return least,
        6..=30 => 5,
        31..=50 => 10,
        _ => 50,
    };
    let round = (least + unit - 1) / unit * unit;
    let labels = last.div_euclid(round) - (first - 1).div_euclid(round);
    // one label says nothing of the scale
    if labels < 2 { round - unit } else { round }
}

/// Exponents of all ticks: between two labels as many as there is room for, lest over hundreds of decades the
/// ticks become a bar and the grid a grey area.
fn exponents(first: i32, last: i32, stride: i32) -> impl Iterator<Item = i32> {
    let step = (stride / 5).max(1);
    let start = first.div_euclid(step) * step;
    (start..=last)
        .step_by(step as usize)
        .filter(move |e| *e >= first)
}

/// `m`·10^`e` in plain digits.
fn plain_text(m: u32, e: i32) -> String {
    let decimals = (-e).max(0) as usize;
    group_thousands(&format!("{:.decimals$}", f64::from(m) * 10f64.powi(e)))
}

fn log2(low: f64, high: f64, target: usize) -> Vec<Tick> {
    let first = (low.log2() - 1e-9).ceil() as i32;
    let last = (high.log2() + 1e-9).floor() as i32;
    if last - first < 1 {
        let mut few = linear(low, high, target);
        few.retain(|t| t.value > 0.0);
        return few;
    }
    let stride = stride(first, last, target);
    // up to five exponents the labels begin with the first, as widths do
    let origin = if stride <= 5 { first } else { 0 };
    exponents(first, last, stride)
        .map(|e| {
            let text = if first < -6 || last > 16 {
                power_text(2, e)
            } else if e < 0 {
                format!("1/{}", 1u32 << -e)
            } else {
                (1u32 << e).to_string()
            };
            Tick {
                value: 2f64.powi(e),
                text: ((e - origin) % stride == 0).then_some(text),
            }
        })
        .collect()
}

/// A number in a heat map's cell or a note: up to `digits` significant digits, in few characters.
pub(crate) fn short_number(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "−∞" }.into();
    }
    if value == 0.0 {
        return "0".into();
    }
    let order = value.abs().log10().floor() as i32;
    let text = if (-3..6).contains(&order) {
        let decimals = (digits as i32 - 1 - order).clamp(0, 12) as usize;
        let text = format!("{value:.decimals$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
            false => text,
        }
    } else {
        let mantissa = value / 10f64.powi(order);
        let decimals = digits.saturating_sub(1);
        format!("{mantissa:.decimals$}×{}", power_text(10, order))
    };
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: Scale, low: f64, high: f64, target: usize) -> Vec<String> {
        let range = Range { scale, low, high };
        ticks(&range, target)
            .into_iter()
            .filter_map(|t| t.text)
            .collect()
    }

    #[test]
    fn linear_ticks() {
        assert_eq!(
            texts(Scale::Linear, 0.0, 1.0, 5),
            ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            texts(Scale::Linear, -2.1, 2.1, 4),
            ["−2", "−1", "0", "1", "2"]
        );
        assert_eq!(
            texts(Scale::Linear, 0.0, 40_000.0, 4),
            [
                "0",
                "10\u{2009}000",
                "20\u{2009}000",
                "30\u{2009}000",
                "40\u{2009}000"
            ]
        );
        assert_eq!(
            texts(Scale::Linear, 0.0, 4e-5, 4),
            ["0", "1×10⁻⁵", "2×10⁻⁵", "3×10⁻⁵", "4×10⁻⁵"]
        );
    }

    #[test]
    fn log_ticks() {
        assert_eq!(
            texts(Scale::Log10, 1e-5, 1.0, 7),
            ["10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "10⁰"]
        );
        assert_eq!(
            texts(Scale::Log10, 0.009, 110.0, 7),
            ["0.01", "0.1", "1", "10", "100"]
        );
        assert_eq!(texts(Scale::Log10, 0.3, 2.5, 6), ["0.5", "1", "2"]);
        assert_eq!(texts(Scale::Log10, 1e-12, 1e12, 5).len(), 5);
        assert_eq!(texts(Scale::Log10, 1.30, 1.42, 5).len(), 7);
        assert_eq!(
            texts(Scale::Log2, 60.0, 520.0, 8),
            ["64", "128", "256", "512"]
        );
        assert_eq!(texts(Scale::Log2, 0.2, 2.0, 8), ["1/4", "1/2", "1", "2"]);
        assert_eq!(texts(Scale::Log2, 1.0, 2f64.powi(20), 8)[0], "2⁰");
    }

    #[test]
    fn ticks_between_labels_are_few_over_many_decades() {
        for (scale, low, high) in [
            (Scale::Log10, 1e-300, 1e300),
            (Scale::Log10, 1e-9, 1e40),
            (Scale::Log10, 1.0, 1e38),
            (Scale::Log2, 1e-300, 1e300),
            (Scale::Log2, 1.0, 1e12),
        ] {
            for target in [2, 5, 9] {
                let found = ticks(&Range { scale, low, high }, target);
                let labels = found.iter().filter(|t| t.text.is_some()).count();
                assert!(labels >= 2, "{low} {high} {target}: {found:?}");
                assert!(found.len() <= 6 * (labels + 1), "{low} {high} {target}");
            }
        }
        assert_eq!(
            texts(Scale::Log10, 1e-300, 1e300, 7),
            [
                "10⁻³⁰⁰",
                "10⁻²⁰⁰",
                "10⁻¹⁰⁰",
                "10⁰",
                "10¹⁰⁰",
                "10²⁰⁰",
                "10³⁰⁰"
            ]
        );
    }

    #[test]
    fn labels_are_few_distinct_and_rising_everywhere() {
        let ends = [
            1e-300,
            1e-9,
            0.9,
            1.0,
            1.0 + 1e-12,
            3.0,
            1e3,
            123_456.7,
            1e9,
            1e300,
        ];
        for scale in [Scale::Linear, Scale::Log10, Scale::Log2] {
            for low in ends {
                for high in ends {
                    if low >= high {
                        continue;
                    }
                    for target in [2, 5, 9] {
                        let range = Range { scale, low, high };
                        let found = ticks(&range, target);
                        assert!(found.windows(2).all(|w| w[0].value < w[1].value));
                        let labels: Vec<_> = found.iter().filter_map(|t| t.text.clone()).collect();
                        assert!(labels.len() <= 2 * target + 2, "{range:?}: {labels:?}");
                        if high / low > 1.0 + 1e-9 {
                            let mut unique = labels.clone();
                            unique.dedup();
                            assert_eq!(unique, labels, "{range:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn short_numbers() {
        let cases = [
            (0.12345, "0.123"),
            (-2.0, "−2"),
            (1234.5, "1234"),
            (1.5e-7, "1.50×10⁻⁷"),
            (f64::NAN, "NaN"),
            (0.0, "0"),
        ];
        for (value, text) in cases {
            assert_eq!(short_number(value, 3), text);
        }
    }
}

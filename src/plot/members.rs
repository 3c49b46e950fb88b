//! One line with a band from a table of members: the summary of an ensemble.

use super::series::Series;
use super::style::Whiskers;
use super::style::by_name;
use super::ticks::short_number;
use crate::error::{Error, Result};

/// What the band around the line over members shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// From the least to the largest member; the line is the mean.
    MinMax,
    /// Mean ± one standard deviation over members (divisor n − 1).
    StdDev,
    /// Mean ± one standard error of the mean.
    StdErr,
    /// Between two quantiles (linear interpolation); the line is the median.
    Quantiles(f64, f64),
}

impl Spread {
    /// The spread called `minmax`, `std`, `stderr` or `quartiles`.
    ///
    /// # Errors
    /// Another name, with the accepted ones.
    pub fn parse(name: &str) -> Result<Self> {
        by_name(
            "spread",
            name,
            &[
                ("minmax", Self::MinMax),
                ("std", Self::StdDev),
                ("stderr", Self::StdErr),
                ("quartiles", Self::Quantiles(0.25, 0.75)),
            ],
        )
    }
}

/// The quantile `q` of values in rising order, by linear interpolation (numpy's default); NaN of
/// none.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = q.clamp(0.0, 1.0) * last as f64;
    let i = (place as usize).min(last);
    let (a, b) = (sorted[i], sorted[(i + 1).min(last)]);
    a + (b - a) * (place - i as f64)
}

impl Series {
    /// A line over `x` with a band over members from the table `members[member][position]`.
    ///
    /// A member with a value that is not finite anywhere is left out everywhere, so that the line
    /// is a mean over the same members all along; the label then says how many remain and a note
    /// names them with the place of their first such value. With one member left there is no band.
    /// Where no member would be left, the line is over all of them and ends before the first value that is
    /// not finite: what led to it is to be seen.
    ///
    /// # Errors
    /// If a member's length differs from `x`'s, there is no member, or quantiles are not two rising
    /// numbers in 0 to 1.
    pub fn over_members(x: Vec<f64>, members: &[Vec<f64>], spread: Spread) -> Result<Self> {
        if members.is_empty() {
            return Err(Error::shape("band over members: there are no members"));
        }
        if let Some((i, m)) = members.iter().enumerate().find(|(_, m)| m.len() != x.len()) {
            return Err(Error::shape(format!(
                "band over members: member {i} has {} values and x has {}",
                m.len(),
                x.len()
            )));
        }
        if let Spread::Quantiles(a, b) = spread
            && !(0.0 <= a && a < b && b <= 1.0)
        {
            return Err(Error::setting(format!(
                "band over members: quantiles {a} and {b} are not two rising numbers in 0 to 1"
            )));
        }
        let mut kept = Vec::new();
        let mut lost = Vec::new();
        for (i, member) in members.iter().enumerate() {
            match member.iter().position(|v| !v.is_finite()) {
                None => kept.push(member),
                Some(at) => lost.push(format!("{i} (from x = {})", short_number(x[at], 6))),
            }
        }
        let finite = |at: &usize| members.iter().all(|m| m[*at].is_finite());
        let (drawn, end) = match kept.is_empty() {
            true => (
                members.iter().collect(),
                (0..x.len()).take_while(finite).count(),
            ),
            false => (kept.clone(), x.len()),
        };
        let (mut centre, mut low, mut high) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..x.len() {
            let mut values: Vec<f64> = match at < end {
                true => drawn.iter().map(|m| m[at]).collect(),
                false => Vec::new(),
            };
            values.sort_by(f64::total_cmp);
            let (c, l, h) = summary(&values, spread);
            centre.push(c);
            low.push(l);
            high.push(h);
        }
        for values in [&mut centre, &mut low, &mut high] {
            // with nothing at all to draw, the figure is to say how much that is
            if end > 0 {
                values.truncate(end);
            }
        }
        let x = x[..centre.len()].to_vec();
        let mut series = Self::line(x, centre)?;
        if drawn.len() > 1 {
            series = series.interval(low, high, Whiskers::Band)?;
        }
        if !lost.is_empty() {
            series.remark = Some(format!("{} of {} members", kept.len(), members.len()));
            let what = match (kept.is_empty(), lost.len()) {
                (true, 1) => "the line ends, its member is not finite",
                (true, _) => "the line ends where the first member does, not finite are all",
                (false, 1) => "member left out, not finite",
                (false, _) => "members left out, not finite",
            };
            series.notes.push(format!("{what}: {}", lost.join(", ")));
        }
        Ok(series)
    }
}

/// Centre, low and high of values in rising order.
fn summary(sorted: &[f64], spread: Spread) -> (f64, f64, f64) {
    let n = sorted.len() as f64;
    let (Some(&least), Some(&largest)) = (sorted.first(), sorted.last()) else {
        return (f64::NAN, f64::NAN, f64::NAN);
    };
    // Divided first, lest the sum of huge values overflow; clamped against rounding.
    let mean = (sorted.iter().map(|v| v / n).sum::<f64>()).clamp(least, largest);
    let deviation = || {
        let squares: f64 = sorted.iter().map(|v| (v - mean).powi(2)).sum();
        (squares / (n - 1.0).max(1.0)).sqrt()
    };
    match spread {
        Spread::MinMax => (mean, least, largest),
        Spread::StdDev => (mean, mean - deviation(), mean + deviation()),
        Spread::StdErr => {
            let e = deviation() / n.sqrt();
            (mean, mean - e, mean + e)
        }
        Spread::Quantiles(a, b) => (
            quantile(sorted, 0.5),
            quantile(sorted, a),
            quantile(sorted, b),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::Kind;

    fn parts(series: &Series) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        match &series.kind {
            Kind::Line { y, low, high, .. } => (y.clone(), low.clone(), high.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_band_is_what_it_says() {
        let members = [vec![1.0], vec![2.0], vec![3.0], vec![6.0]];
        let band = |s| parts(&Series::over_members(vec![0.0], &members, s).unwrap());
        assert_eq!(band(Spread::MinMax), (vec![3.0], vec![1.0], vec![6.0]));
        // Squares about 3: 4 + 1 + 0 + 9 = 14; variance 14/3.
        let std = (14.0f64 / 3.0).sqrt();
        let (y, low, high) = band(Spread::StdDev);
        assert_eq!(y, [3.0]);
        assert!((low[0] - (3.0 - std)).abs() < 1e-12 && (high[0] - (3.0 + std)).abs() < 1e-12);
        let (_, low, high) = band(Spread::StdErr);
        assert!((high[0] - low[0] - std).abs() < 1e-12, "2 std / sqrt 4");
        // numpy.quantile([1, 2, 3, 6], [0.5, 0.25, 0.75]) is [2.5, 1.75, 3.75].
        assert_eq!(
            band(Spread::Quantiles(0.25, 0.75)),
            (vec![2.5], vec![1.75], vec![3.75])
        );
    }

    #[test]
    fn members_that_diverge_are_left_out_and_named() {
        let members = [
            vec![1.0, 2.0, 3.0],
            vec![5.0, f64::NAN, 5.0],
            vec![3.0, 4.0, 5.0],
            vec![1.0, 1.0, f64::INFINITY],
        ];
        let series = Series::over_members(vec![10.0, 20.0, 30.0], &members, Spread::MinMax)
            .unwrap()
            .label("SP");
        assert_eq!(parts(&series).0, [2.0, 3.0, 4.0]);
        assert_eq!(series.legend_label().unwrap(), "SP (2 of 4 members)");
        assert_eq!(
            series.notes,
            ["members left out, not finite: 1 (from x = 20), 3 (from x = 30)"]
        );
    }

    #[test]
    fn no_member_left_is_said_and_one_has_no_band() {
        let wild = [vec![f64::NAN, 1.0]];
        let series = Series::over_members(vec![1.0, 2.0], &wild, Spread::StdDev)
            .unwrap()
            .label("a");
        assert!(parts(&series).0.iter().all(|v| v.is_nan()));
        assert_eq!(series.legend_label().unwrap(), "a (0 of 1 members)");
        let single = Series::over_members(vec![1.0], &[vec![2.0]], Spread::StdDev).unwrap();
        assert_eq!(parts(&single), (vec![2.0], vec![], vec![]));
    }

    #[test]
    fn where_all_members_diverge_the_line_ends_there() {
        let members = [
            vec![1.0, 2.0, 1e9, f64::INFINITY],
            vec![3.0, 4.0, f64::NAN, f64::NAN],
        ];
        let series = Series::over_members(vec![0.0, 1.0, 2.0, 3.0], &members, Spread::MinMax)
            .unwrap()
            .label("8");
        assert_eq!(
            parts(&series),
            (vec![2.0, 3.0], vec![1.0, 2.0], vec![3.0, 4.0])
        );
        assert_eq!(series.legend_label().unwrap(), "8 (0 of 2 members)");
        assert_eq!(
            series.notes,
            [
                "the line ends where the first member does, not finite are all: 0 (from x = 3), 1 (from x = 2)"
            ]
        );
    }

    #[test]
    fn wrong_tables_are_refused() {
        let x = vec![1.0, 2.0];
        let short = Series::over_members(x.clone(), &[vec![1.0]], Spread::MinMax);
        assert!(short.unwrap_err().message.contains("member 0 has 1"));
        let none = Series::over_members(x.clone(), &[], Spread::MinMax);
        assert!(none.unwrap_err().message.contains("no members"));
        let q = Series::over_members(x, &[vec![1.0, 2.0]], Spread::Quantiles(0.9, 0.1));
        assert!(q.unwrap_err().message.contains("0.9"));
        assert!(
            Spread::parse("sd")
                .unwrap_err()
                .to_string()
                .contains("stderr")
        );
    }
}

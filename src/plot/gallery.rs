//! Figures like those that studies make, for tests of everything from ranges to pixels. With the
//! environment variable `WIDTHWISE_GALLERY` set to a folder, the pictures are left there to be
//! looked at.

use super::*;
use crate::tensor::rng::Key;

const WIDTHS: [f64; 4] = [64.0, 128.0, 256.0, 512.0];

fn normals(name: &str, n: usize) -> Vec<f64> {
    let mut rng = Key::new(0).label(name).rng();
    (0..n).map(|_| rng.normal()).collect()
}

/// Loss tables of some members: a power law with noise, further from the limit for narrow widths.
fn losses(width: f64, shift: f64, seed: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let steps: Vec<f64> = (0..160)
        .map(|i| 10f64.powf(f64::from(i) / 159.0 * 3.6))
        .collect();
    let members = (0..4)
        .map(|m| {
            let noise = normals(&format!("{width} {seed} {m}"), steps.len());
            let level = 1.0 + 0.025 * normals(&format!("level {width} {seed} {m}"), 1)[0];
            let at = |(s, n): (&f64, &f64)| {
                let fall = 2.3 * (1.0 + s / 12.0).powf(-0.45);
                (fall + shift / width.sqrt() * (1.0 + s / 30.0).powf(-0.3))
                    * level
                    * (1.0 + 0.02 * n)
            };
            steps.iter().zip(&noise).map(at).collect()
        })
        .collect();
    (steps, members)
}

pub(super) fn loss_curves() -> Figure {
    let mut panel = Panel::new(Axis::log10("step"), Axis::log10("training loss"));
    for (group, shift, stroke) in [("SP", 9.0, Stroke::Dashed), ("µP", 1.5, Stroke::Solid)] {
        for (i, width) in WIDTHS.into_iter().enumerate() {
            let (x, members) = losses(width, shift, i);
            let band = Series::over_members(x, &members, Spread::MinMax).unwrap();
            panel = panel.with(band.width(width).group(group).stroke(stroke));
        }
    }
    Figure::new()
        .title("Loss at four widths, 4 members each")
        .with(panel)
}

pub(super) fn side_by_side() -> Figure {
    let mut figure = Figure::new()
        .title("Width study on synthetic images")
        .legend_title("width")
        .share_y(true);
    for (title, shift) in [("SP", 8.0), ("µP", 1.0)] {
        let mut panel = Panel::new(Axis::log10("step"), Axis::log10("test loss")).title(title);
        for (i, width) in WIDTHS.into_iter().enumerate() {
            let (x, mut members) = losses(width, shift, i + 10);
            if title == "SP" && i == 3 {
                members[2][80] = f64::NAN;
            }
            let band = Series::over_members(x, &members, Spread::StdDev).unwrap();
            panel = panel.with(band.width(width));
        }
        figure = figure.with(panel);
    }
    figure
}

pub(super) fn agreement() -> Figure {
    let mut panel = Panel::new(
        Axis::log2("width"),
        Axis::log10("mean squared distance of logits to width 2048"),
    );
    let widths: Vec<f64> = (5..=10).map(|e| 2f64.powi(e)).collect();
    let laws = [
        ("SP", 0.35, 2.0, Marker::Square),
        ("µP", 1.0, 9.0, Marker::Circle),
        ("NTP", 0.7, 5.0, Marker::Triangle),
    ];
    for (label, power, scale, marker) in laws {
        let y: Vec<f64> = widths.iter().map(|w| scale * w.powf(-power)).collect();
        let low = y.iter().map(|v| v * 0.75).collect();
        let high = y.iter().map(|v| v * 1.3).collect();
        let line = Series::line(widths.clone(), y).unwrap();
        let line = line.interval(low, high, Whiskers::Bars).unwrap();
        panel = panel.with(line.label(label).marker(marker));
    }
    panel = panel.with(Series::horizontal(0.004).label("between members"));
    Figure::new().title("Agreement against width").with(panel)
}

pub(super) fn heat() -> Figure {
    let labels: Vec<String> = WIDTHS.iter().map(f64::to_string).collect();
    let value = |i: usize, j: usize| {
        1.0 - 0.05 * (i.abs_diff(j) as f64) * (1.2 - 0.2 * (i + j) as f64 / 2.0)
    };
    let values = (0..4)
        .map(|i| (0..4).map(|j| value(i, j)).collect())
        .collect();
    let map = Series::heat_map(values, labels.clone(), labels).unwrap();
    let panel = Panel::new(Axis::new("width"), Axis::new("width"))
        .with(map.value_label("correlation of logits"));
    Figure::new().title("Agreement between widths").with(panel)
}

pub(super) fn histograms() -> Figure {
    let sets: Vec<Vec<f64>> = (0..3)
        .map(|i| {
            let scale = 1.0 + 0.5 * i as f64;
            normals(&format!("h{i}"), 4000)
                .iter()
                .map(|v| v * scale)
                .collect()
        })
        .collect();
    let views: Vec<&[f64]> = sets.iter().map(Vec::as_slice).collect();
    let bins = Bins::Edges(shared_edges(&views, &Bins::Count(48)).unwrap());
    let mut panel = Panel::new(Axis::new("preactivation"), Axis::new("density"));
    for (set, width) in sets.iter().zip([64.0, 256.0, 1024.0]) {
        panel = panel.with(Series::histogram(set, &bins, true).unwrap().width(width));
    }
    Figure::new()
        .title("Preactivations of layer 2 at initialization")
        .with(panel)
}

pub(super) fn scatter() -> Figure {
    let x: Vec<f64> = normals("sx", 600).iter().map(|v| 3.0 * v).collect();
    let noise = normals("sy", 600);
    let y = x
        .iter()
        .zip(&noise)
        .map(|(x, n)| 0.96 * x + 0.5 * n)
        .collect();
    let panel = Panel::new(
        Axis::new("logit at width 256"),
        Axis::new("logit at width 512"),
    )
    .with(Series::scatter(x, y).unwrap().label("test example"))
    .with(Series::identity().label("y = x"));
    Figure::new().title("Logit of the true class").with(panel)
}

/// All of the above by name, and a grid of four panels with everything mixed.
pub(super) fn all() -> Vec<(&'static str, Figure)> {
    let mut grid = Figure::new().title("Four panels");
    for figure in [agreement(), heat(), histograms(), scatter()] {
        for panel in figure.panels {
            grid = grid.with(panel.title(figure.title.clone().unwrap_or_default()));
        }
    }
    vec![
        ("loss_curves", loss_curves()),
        ("side_by_side", side_by_side()),
        ("agreement", agreement()),
        ("heat", heat()),
        ("histograms", histograms()),
        ("scatter", scatter()),
        ("grid", grid),
    ]
}

/// Unusual figures, to be looked at beside the usual ones.
fn odd() -> Vec<(&'static str, Figure)> {
    let (x, members) = losses(64.0, 3.0, 5);
    let wide: Vec<Vec<f64>> = (members.iter().enumerate())
        .map(|(i, m)| {
            m.iter()
                .map(|v| v * 4f64.powi(i as i32 * i as i32))
                .collect()
        })
        .collect();
    let band = Series::over_members(x, &wide, Spread::StdDev)
        .unwrap()
        .label("mean ± std");
    let below = Figure::new()
        .title("A band that reaches below zero, and a legend below")
        .legend(LegendPlace::Below)
        .legend_title("networks")
        .with(
            Panel::new(Axis::log10("step"), Axis::log10("loss"))
                .with(band.clone().group("MLP, depth 3"))
                .with(
                    Series::vertical(100.0)
                        .label("end of warm-up with a rather long explanation")
                        .group("schedule"),
                ),
        );
    let values = (0..24)
        .map(|i| (0..40).map(|j| (f64::from(i * j) / 50.0).sin()).collect())
        .collect();
    let names = |n: usize| (0..n).map(|i| format!("layer {i}")).collect();
    let many = Series::heat_map(values, names(40), names(24))
        .unwrap()
        .value_label("cosine");
    let single = Series::line(vec![64.0], vec![0.25])
        .unwrap()
        .label("one point");
    vec![
        ("odd_below", below),
        (
            "odd_heat",
            Figure::new().with(Panel::new(Axis::new("query"), Axis::new("key")).with(many)),
        ),
        (
            "odd_point",
            Figure::new().with(Panel::new(Axis::log2("width"), Axis::log10("loss")).with(single)),
        ),
        (
            "odd_nothing",
            Figure::new().with(Panel::new(Axis::new("x"), Axis::new("y"))),
        ),
    ]
}

#[test]
fn pictures_are_left_to_be_looked_at() {
    let Some(folder) = std::env::var_os("WIDTHWISE_GALLERY") else {
        return;
    };
    let folder = std::path::PathBuf::from(folder);
    for (name, figure) in all().into_iter().chain(odd()) {
        for extension in ["png", "svg"] {
            figure
                .save(&folder.join(format!("{name}.{extension}")))
                .unwrap();
        }
        let plain = figure.preview(80, 24, false).unwrap();
        std::fs::write(folder.join(format!("{name}.txt")), plain).unwrap();
        let coloured = figure.preview(80, 24, true).unwrap();
        std::fs::write(folder.join(format!("{name}.ansi")), coloured).unwrap();
    }
}

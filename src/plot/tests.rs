//! Whole figures: what stands in the SVG, where things are, what the pixels hold.

use super::gallery::{self, loss_curves};
use super::*;

/// The contents of all `<text>` elements, unescaped.
fn texts(svg: &str) -> Vec<String> {
    svg.split("<text ")
        .skip(1)
        .filter_map(|rest| {
            Some(
                rest.split_once('>')?
                    .1
                    .split_once("</text>")?
                    .0
                    .trim()
                    .to_string(),
            )
        })
        .map(|t| {
            t.replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&")
        })
        .collect()
}

fn line(x: &[f64], y: &[f64]) -> Series {
    Series::line(x.to_vec(), y.to_vec()).unwrap()
}

fn one(series: Series) -> Figure {
    Figure::new().with(Panel::new(Axis::new("x"), Axis::new("y")).with(series))
}

fn decode(png: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png))
        .read_info()
        .unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    (info.width, info.height, bytes)
}

#[test]
fn ticks_labels_and_titles_are_written() {
    let found = texts(&gallery::agreement().to_svg().unwrap());
    for wanted in [
        "32",
        "64",
        "1024",
        "0.01",
        "0.1",
        "width",
        "Agreement against width",
        "SP",
        "µP",
        "between members",
    ] {
        assert!(found.iter().any(|t| t == wanted), "{wanted} in {found:?}");
    }
    let wide = line(&[1.0, 10.0], &[1e-6, 1e3]);
    let figure =
        Figure::new().with(Panel::new(Axis::new("x"), Axis::log10("a < b & c")).with(wide));
    let found = texts(&figure.to_svg().unwrap());
    assert!(found.iter().any(|t| t == "10⁻⁶"), "{found:?}");
    assert!(found.iter().any(|t| t == "a < b & c"), "{found:?}");
}

#[test]
fn the_legend_never_touches_the_axes() {
    for (name, figure) in gallery::all() {
        for place in [LegendPlace::Auto, LegendPlace::Right, LegendPlace::Below] {
            let (scene, geometry) = figure.clone().legend(place).scene().unwrap();
            let Some(legend) = geometry.legend else {
                assert_eq!(name, "heat");
                continue;
            };
            for plot in &geometry.plots {
                assert!(
                    !legend.overlaps(plot),
                    "{name} {place:?}: {legend:?} {plot:?}"
                );
            }
            let inside = legend.left >= 0.0
                && legend.top >= 0.0
                && legend.right <= scene.width
                && legend.bottom <= scene.height;
            assert!(inside, "{name} {place:?}: {legend:?}");
        }
    }
}

#[test]
fn panels_do_not_touch_and_data_stay_inside() {
    use super::scene::Item;
    for (name, figure) in gallery::all() {
        let (scene, geometry) = figure.scene().unwrap();
        for (i, a) in geometry.plots.iter().enumerate() {
            assert!(geometry.plots[..i].iter().all(|b| !a.overlaps(b)), "{name}");
        }
        for item in &scene.items {
            let points: Vec<(f64, f64)> = match item {
                Item::Line { points, .. } | Item::Polygon { points, .. } => points.clone(),
                Item::Disc { centre, .. } => vec![*centre],
                Item::Rect { from, to, .. } | Item::Picture { from, to, .. } => vec![*from, *to],
                Item::Text {
                    at,
                    text,
                    size,
                    turned,
                    anchor,
                    ..
                } => {
                    let w = super::font::width(text, *size);
                    let back = match anchor {
                        super::scene::Anchor::Start => 0.0,
                        super::scene::Anchor::Middle => w / 2.0,
                        super::scene::Anchor::End => w,
                    };
                    match turned {
                        false => vec![(at.0 - back, at.1), (at.0 - back + w, at.1)],
                        true => vec![(at.0, at.1 + back), (at.0, at.1 + back - w)],
                    }
                }
            };
            for (x, y) in points {
                let inside = (0.0..=scene.width).contains(&x) && (0.0..=scene.height).contains(&y);
                assert!(inside, "{name}: {item:?}");
            }
        }
    }
}

#[test]
fn shared_ordinates_are_equal_and_labelled_once() {
    let figure = gallery::side_by_side();
    let resolved = figure.resolve().unwrap();
    assert_eq!(resolved.panels[0].y, resolved.panels[1].y);
    let plots = figure.scene().unwrap().1.plots;
    assert!((plots[0].width() - plots[1].width()).abs() < 1e-6);
    assert_eq!(
        (plots[0].top, plots[0].bottom),
        (plots[1].top, plots[1].bottom)
    );
    let found = texts(&figure.to_svg().unwrap());
    assert_eq!(found.iter().filter(|t| *t == "test loss").count(), 1);
    let apart = figure.share_y(false);
    let resolved = apart.resolve().unwrap();
    assert_ne!(resolved.panels[0].y, resolved.panels[1].y);
    assert_eq!(
        texts(&apart.to_svg().unwrap())
            .iter()
            .filter(|t| *t == "test loss")
            .count(),
        2
    );
}

#[test]
fn a_width_has_one_colour_and_wider_is_darker() {
    let figure = loss_curves();
    let legend = figure.resolve().unwrap().legend;
    assert_eq!(legend.len(), 8);
    for (sp, mup) in legend[..4].iter().zip(&legend[4..]) {
        assert_eq!((sp.colour, &sp.name), (mup.colour, &mup.name));
        assert_eq!((sp.stroke, mup.stroke), (Stroke::Dashed, Stroke::Solid));
    }
    let light: Vec<f64> = legend[..4].iter().map(|e| e.colour.luminance()).collect();
    assert!(light.windows(2).all(|w| w[1] < w[0]), "{light:?}");
    let svg = figure.to_svg().unwrap();
    for entry in &legend {
        let colour = entry.colour.to_string().to_uppercase();
        assert!(svg.contains(&format!("stroke=\"{colour}\"")));
    }
}

#[test]
fn what_is_left_out_is_said() {
    let found = texts(&gallery::side_by_side().to_svg().unwrap());
    assert!(
        found.iter().any(|t| t == "512 (SP: 3 of 4 members)"),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|t| t.starts_with("SP: 512: member left out")),
        "{found:?}"
    );
    let samples = Series::histogram(&[1.0, 2.0, f64::NAN, f64::INFINITY], &Bins::Auto, false);
    let found = texts(&one(samples.unwrap()).to_svg().unwrap());
    let wanted = "2 of 4 samples not finite, left out";
    assert!(found.iter().any(|t| t.ends_with(wanted)), "{found:?}");
    let series = line(&[0.0, 1.0, 2.0, 3.0], &[1.0, 0.5, -0.5, f64::NAN]).label("a");
    let figure = Figure::new().with(Panel::new(Axis::log10("x"), Axis::log10("y")).with(series));
    let found = texts(&figure.to_svg().unwrap());
    for wanted in [
        "1 value ≤ 0 (a) not drawn on the logarithmic x axis",
        "1 value ≤ 0 (a) not drawn on the logarithmic y axis",
        "1 value not finite (a) not drawn",
    ] {
        assert!(found.iter().any(|t| t == wanted), "{wanted} in {found:?}");
        assert!(figure.preview(80, 24, false).unwrap().contains(wanted));
    }
}

#[test]
fn png_files_have_their_size_and_are_not_blank() {
    for (name, figure) in gallery::all() {
        let (w, h) = figure.dimensions().unwrap();
        let (width, height, bytes) = decode(&figure.clone().pixel_ratio(1.0).to_png().unwrap());
        assert_eq!((f64::from(width), f64::from(height)), (w, h), "{name}");
        let inked = bytes.chunks(3).filter(|p| *p != [255, 255, 255]).count();
        let share = inked as f64 / (w * h);
        assert!((0.02..0.9).contains(&share), "{name}: {share}");
    }
    let (width, height, bytes) = decode(&loss_curves().to_png().unwrap());
    assert_eq!((width, height), (1800, 1120));
    // The widest network's colour is there, unmixed.
    assert!(bytes.chunks(3).any(|p| p == [0x0d, 0x08, 0x87]));
}

#[test]
fn odd_data_make_pictures() {
    let nan = f64::NAN;
    let huge = f64::MAX;
    let cases = [
        line(&[], &[]),
        line(&[nan, nan], &[nan, 1.0]),
        line(&[1.0], &[2.0]),
        line(&[1.0, 2.0, 3.0], &[5.0, 5.0, 5.0]),
        line(&[3.0, 3.0], &[0.0, 0.0]),
        line(&[0.0, 1.0], &[-huge, huge]),
        line(&[1e-320, 1e-310], &[5e-324, 1e-322]),
        line(&[0.0, 1.0, 2.0], &[1.0, f64::INFINITY, 2.0]),
        line(&[1e9, 1e9 + 1e-6], &[1e15, 1e15 + 1.0]),
        line(&[1.0, nan, 3.0], &[1.0, 2.0, 3.0]).marker(Marker::Diamond),
        Series::scatter(vec![1.0; 5000], vec![1.0; 5000]).unwrap(),
        Series::histogram(&[], &Bins::Auto, true).unwrap(),
        Series::histogram(&[1.0; 10], &Bins::Auto, false).unwrap(),
        Series::heat_map(vec![vec![nan]], vec!["a".into()], vec!["b".into()]).unwrap(),
        Series::heat_map(
            vec![vec![2.0, f64::INFINITY]],
            vec!["a".into(); 2],
            vec!["b".into()],
        )
        .unwrap(),
        Series::horizontal(nan),
        Series::vertical(2.0),
        Series::identity(),
    ];
    for series in cases {
        for label in ["", "a label"] {
            let series = if label.is_empty() {
                series.clone()
            } else {
                series.clone().label(label)
            };
            let figure = one(series).pixel_ratio(0.5);
            let svg = figure.to_svg().unwrap();
            assert!(!svg.contains("NaN\"") && !svg.contains("inf"), "{svg}");
            figure.to_png().unwrap();
            for (columns, rows) in [(0, 0), (30, 5), (80, 24), (200, 60)] {
                let text = figure.preview(columns, rows, true).unwrap();
                assert!(!text.is_empty());
            }
        }
    }
    let empty = one(line(&[nan], &[1.0]));
    assert!(texts(&empty.to_svg().unwrap()).contains(&"no finite data".to_string()));
    assert!(
        empty
            .preview(80, 24, false)
            .unwrap()
            .contains("no finite data")
    );
}

#[test]
fn what_cannot_be_drawn_is_an_error() {
    let failure = |f: Figure| f.to_svg().unwrap_err().to_string();
    assert!(failure(Figure::new()).contains("no panel"));
    let falling = || line(&[1.0, 2.0], &[-1.0, 0.0]);
    let panel = |y: Axis| Panel::new(Axis::new("x"), y);
    let log = failure(Figure::new().with(panel(Axis::log10("y")).with(falling()).title("SP")));
    assert!(
        log.contains("SP") && log.contains("logarithmic y axis"),
        "{log}"
    );
    let axis = Axis::new("y").limits(Some(1.0), Some(0.0));
    assert!(failure(Figure::new().with(panel(axis).with(falling()))).contains("not below"));
    let map = || Series::heat_map(vec![vec![1.0]], vec!["a".into()], vec!["b".into()]).unwrap();
    let two = panel(Axis::new("y")).with(map()).with(falling());
    assert!(failure(Figure::new().with(two)).contains("of its own"));
    let mixed = Figure::new()
        .with(panel(Axis::new("y")).with(line(&[1.0], &[1.0])))
        .with(panel(Axis::log10("y")).with(line(&[1.0], &[1.0])))
        .share_y(true);
    assert!(failure(mixed).contains("different scales"));
    let plain = || one(line(&[1.0], &[1.0]));
    assert!(failure(plain().size(10, 10)).contains("too small"));
    assert!(failure(plain().size(100_000, 100)).contains("too small"));
    assert!(failure(plain().size(100_000, 1000)).contains("too large"));
    assert!(failure(plain().pixel_ratio(f64::NAN)).contains("pixel_ratio"));
    let crowded = plain().title("a long title ".repeat(40)).size(220, 170);
    assert!(failure(crowded).contains("no room"));
}

#[test]
fn series_of_wrong_shapes_are_refused() {
    let message = |r: crate::error::Result<Series>| r.unwrap_err().message;
    assert!(message(Series::line(vec![1.0], vec![])).contains("x has 1, y has 0"));
    assert!(message(Series::scatter(vec![], vec![1.0])).contains("x has 0, y has 1"));
    let two = || line(&[1.0, 2.0], &[1.0, 2.0]);
    let short = two().interval(vec![1.0], vec![1.0, 2.0], Whiskers::Band);
    assert!(message(short).contains("low has 1"));
    let crossed = two().interval(vec![0.0, 3.0], vec![1.0, 2.0], Whiskers::Bars);
    assert!(message(crossed).contains("low 3 is above high 2 at position 1"));
    let wrong = Series::identity().interval(vec![], vec![], Whiskers::Band);
    assert!(message(wrong).contains("only a line"));
    let names = |n: usize| vec![String::from("a"); n];
    let map = |values, x, y| Series::heat_map(values, names(x), names(y));
    assert!(message(map(vec![], 0, 0)).contains("empty"));
    assert!(message(map(vec![vec![1.0, 2.0]], 1, 1)).contains("row 0 has 2"));
    assert!(message(map(vec![vec![1.0]], 1, 2)).contains("y_labels has 2"));
    let limits = map(vec![vec![1.0]], 1, 1).unwrap().value_limits(2.0, 1.0);
    assert!(message(limits).contains("rising"));
    assert!(
        Stroke::parse("dash")
            .unwrap_err()
            .to_string()
            .contains("dashed")
    );
    assert!(
        Marker::parse("x")
            .unwrap_err()
            .to_string()
            .contains("diamond")
    );
    assert!(
        LegendPlace::parse("left")
            .unwrap_err()
            .to_string()
            .contains("below")
    );
}

#[test]
fn a_line_of_very_many_points_stays_small() {
    let n = 300_000;
    let x: Vec<f64> = (0..n).map(f64::from).collect();
    let y: Vec<f64> = x.iter().map(|v| (v * 0.37).sin() + v * 1e-5).collect();
    let svg = one(line(&x, &y)).to_svg().unwrap();
    assert!(svg.len() < 300_000, "{}", svg.len());
}

/// A heat map of `side` × `side` cells with one value that is not finite.
fn heat(side: usize) -> Figure {
    let mut values: Vec<Vec<f64>> = (0..side)
        .map(|i| (0..side).map(|j| ((i * j) as f64 * 1e-4).sin()).collect())
        .collect();
    values[0][0] = f64::NAN;
    let labels = || (0..side).map(|i| i.to_string()).collect();
    let map = Series::heat_map(values, labels(), labels()).unwrap();
    one(map)
}

#[test]
fn heat_maps_of_many_cells_are_one_picture() {
    let few = heat(100).to_svg().unwrap();
    assert!(few.matches("<rect").count() > 10_000 && !few.contains("<image"));
    let many = heat(101).to_svg().unwrap();
    assert!(many.matches("<rect").count() < 1_000);
    assert!(
        many.matches("<polyline").count() > 202,
        "a tick for each cell"
    );
    let start = "href=\"data:image/png;base64,iVBORw0KGgo";
    assert_eq!(many.matches(start).count(), 1);
    assert!(
        !texts(&many)
            .iter()
            .any(|t| t.contains("means of neighbours"))
    );
    let vast = heat(1500).to_svg().unwrap();
    assert!(vast.len() < 4_000_000, "{}", vast.len());
    assert!(vast.matches("<polyline").count() < 200, "ticks are no bar");
    let wanted = "1500×1500 cells, shown as 1000×1000 means of neighbours";
    assert!(
        texts(&vast).iter().any(|t| t == wanted),
        "{:?}",
        texts(&vast)
    );
    assert!(
        texts(&vast)
            .iter()
            .any(|t| t.starts_with("1 value not finite")),
        "{:?}",
        texts(&vast)
    );
}

#[test]
fn series_beyond_the_palette_look_different() {
    let mut panel = Panel::new(Axis::new("x"), Axis::new("y"));
    for i in 0..20 {
        let series = line(&[0.0, 1.0], &[f64::from(i), 1.0]);
        panel = panel.with(series.label(format!("series {i}")));
    }
    let figure = Figure::new().with(panel);
    let figure = figure.told_apart();
    let legend = figure.resolve().unwrap().legend;
    for (i, a) in legend.iter().enumerate() {
        for b in &legend[..i] {
            let look = |e: &super::resolve::Entry| (e.colour, e.stroke, e.marker);
            assert_ne!(look(a), look(b), "{} and {}", a.name, b.name);
        }
    }
    let svg = figure.to_svg().unwrap();
    // each in the panel and in the legend
    assert_eq!(svg.matches("stroke-dasharray").count(), 2 * 13);
}

#[test]
fn previews_read_without_colour() {
    let text = loss_curves().preview(80, 24, false).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() <= 24 && lines.iter().all(|l| l.chars().count() <= 80));
    assert!(!text.contains('\u{1b}'));
    for wanted in [
        "Loss at four widths",
        "training loss",
        "step",
        "1000",
        "0.5",
        "SP",
        "µP",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    // Every curve's marker is in the legend and on the curve.
    for symbol in ['●', '■', '▲', '◆', '○', '□', '△', '◇'] {
        assert!(text.matches(symbol).count() >= 2, "{symbol}\n{text}");
    }
    assert!(
        text.chars()
            .filter(|c| ('\u{2801}'..='\u{28ff}').contains(c))
            .count()
            > 100
    );
    let heat = gallery::heat().preview(80, 24, false).unwrap();
    for wanted in ["0.945", "1.000", "128", "correlation of logits", "█"] {
        assert!(heat.contains(wanted), "{wanted}\n{heat}");
    }
    let coloured = loss_curves().preview(80, 24, true).unwrap();
    assert!(coloured.contains("\u{1b}[38;2;"));
}

#[test]
fn previews_fit_every_terminal() {
    for (name, figure) in gallery::all() {
        for columns in [30, 47, 80, 133] {
            for rows in [1, 12, 24, 50] {
                let text = figure.preview(columns, rows, false).unwrap();
                let widest = text.lines().map(|l| l.chars().count()).max().unwrap();
                assert!(
                    widest <= columns,
                    "{name} {columns}×{rows}: {widest}\n{text}"
                );
            }
        }
    }
}

#[test]
fn figures_can_be_sent_to_other_threads() {
    fn sendable<T: Clone + Send + Sync + 'static>(_: &T) {}
    sendable(&loss_curves());
}

#[test]
fn data_beyond_the_limits_are_cut_at_the_axes() {
    use super::scene::Item;
    let x: Vec<f64> = (0..50).map(f64::from).collect();
    let y: Vec<f64> = x.iter().map(|v| (v * 0.7).sin() * 1e6).collect();
    let low = y.iter().map(|v| v - 1e5).collect();
    let high = y.iter().map(|v| v + 1e5).collect();
    let blue = CATEGORIES[0];
    let curve = line(&x, &y).interval(low, high, Whiskers::Band).unwrap();
    let dots = Series::scatter(vec![5.0, 15.0, 20.0, 35.0], vec![20.0, 15.0, 25.0, 20.0]).unwrap();
    let bars = Series::counts(vec![0.0, 20.0, 60.0], vec![1e7, 5.0]).unwrap();
    for series in [curve, dots, bars, Series::identity()] {
        let axis = |name| Axis::new(name).limits(Some(10.0), Some(30.0));
        let panel = Panel::new(axis("x"), axis("y")).with(series.colour(Colour::Fixed(blue)));
        let (scene, geometry) = Figure::new().with(panel).scene().unwrap();
        let plot = geometry.plots[0];
        let mut seen = 0;
        for item in &scene.items {
            let points: Vec<(f64, f64)> = match item {
                Item::Line { points, colour, .. } | Item::Polygon { points, colour, .. }
                    if *colour == blue =>
                {
                    points.clone()
                }
                Item::Disc { centre, colour, .. } if *colour == blue => vec![*centre],
                _ => continue,
            };
            for (x, y) in points {
                seen += 1;
                assert!(x >= plot.left - 0.51 && x <= plot.right + 0.51, "{x}");
                assert!(y >= plot.top - 0.51 && y <= plot.bottom + 0.51, "{y}");
            }
        }
        assert!(seen > 1, "{seen}");
    }
}

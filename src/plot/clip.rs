//! Cutting lines and polygons at the edges of a panel, and thinning lines of very many points.

use super::scene::{Frame, Point};

/// The parts of an open line inside the frame (Liang and Barsky's method, segment by segment).
pub(crate) fn line(points: &[Point], frame: &Frame) -> Vec<Vec<Point>> {
    let mut parts: Vec<Vec<Point>> = Vec::new();
    let mut open = false;
    for pair in points.windows(2) {
        match segment(pair[0], pair[1], frame) {
            Some((a, b)) => {
                match parts.last_mut() {
                    Some(part) if open && part.last() == Some(&a) => part.push(b),
                    _ => parts.push(vec![a, b]),
                }
                open = b == pair[1];
            }
            None => open = false,
        }
    }
    parts
}

fn segment(a: Point, b: Point, f: &Frame) -> Option<(Point, Point)> {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let (mut t0, mut t1) = (0.0f64, 1.0f64);
    let sides = [
        (-dx, a.0 - f.left),
        (dx, f.right - a.0),
        (-dy, a.1 - f.top),
        (dy, f.bottom - a.1),
    ];
    for (p, q) in sides {
        if p == 0.0 {
            if q < 0.0 {
                return None;
            }
        } else if p < 0.0 {
            t0 = t0.max(q / p);
        } else {
            t1 = t1.min(q / p);
        }
    }
    if t0 > t1 {
        return None;
    }
    let at = |t: f64| (a.0 + t * dx, a.1 + t * dy);
    Some((
        if t0 > 0.0 { at(t0) } else { a },
        if t1 < 1.0 { at(t1) } else { b },
    ))
}

/// The part of a polygon inside the frame (Sutherland and Hodgman's method).
pub(crate) fn polygon(points: &[Point], frame: &Frame) -> Vec<Point> {
    type Side = (fn(Point, &Frame) -> f64, fn(&mut Point, &Frame));
    // How far inside each edge a point lies, and putting a point exactly on that edge.
    let sides: [Side; 4] = [
        (|p, f| p.0 - f.left, |p, f| p.0 = f.left),
        (|p, f| f.right - p.0, |p, f| p.0 = f.right),
        (|p, f| p.1 - f.top, |p, f| p.1 = f.top),
        (|p, f| f.bottom - p.1, |p, f| p.1 = f.bottom),
    ];
    let mut kept = points.to_vec();
    for (inside, snap) in sides {
        let before = std::mem::take(&mut kept);
        for (i, &b) in before.iter().enumerate() {
            let a = before[(i + before.len() - 1) % before.len()];
            let (da, db) = (inside(a, frame), inside(b, frame));
            if (da < 0.0) != (db < 0.0) {
                let t = da / (da - db);
                let mut cut = (a.0 + t * (b.0 - a.0), a.1 + t * (b.1 - a.1));
                snap(&mut cut, frame);
                kept.push(cut);
            }
            if db >= 0.0 {
                kept.push(b);
            }
        }
    }
    kept
}

/// Whether the point lies in the frame or on its edge.
pub(crate) fn contains(p: Point, frame: &Frame) -> bool {
    (frame.left..=frame.right).contains(&p.0) && (frame.top..=frame.bottom).contains(&p.1)
}

/// Fewer points with the same look: in each column of `step` pixels a line keeps its first,
/// lowest, highest and last point.
pub(crate) fn thin(points: Vec<Point>, step: f64) -> Vec<Point> {
    if points.len() < 2_000 {
        return points;
    }
    let column = |p: &Point| (p.0 / step).floor();
    let mut kept = Vec::new();
    for run in points.chunk_by(|a, b| column(a) == column(b)) {
        let extreme = |sign: f64| {
            (0..run.len()).max_by(|&a, &b| (sign * run[a].1).total_cmp(&(sign * run[b].1)))
        };
        let mut chosen: Vec<usize> = [Some(0), extreme(-1.0), extreme(1.0), Some(run.len() - 1)]
            .into_iter()
            .flatten()
            .collect();
        chosen.sort_unstable();
        chosen.dedup();
        kept.extend(chosen.into_iter().map(|i| run[i]));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Frame = Frame {
        left: 0.0,
        top: 0.0,
        right: 10.0,
        bottom: 10.0,
    };

    #[test]
    fn lines_are_cut_at_the_edges() {
        let parts = line(&[(-5.0, 5.0), (5.0, 5.0), (5.0, 20.0), (7.0, 5.0)], &BOX);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0], [(0.0, 5.0), (5.0, 5.0), (5.0, 10.0)]);
        assert!((parts[1][0].1 - 10.0).abs() < 1e-9 && parts[1][1] == (7.0, 5.0));
        assert!(line(&[(-1.0, -1.0), (-1.0, 11.0)], &BOX).is_empty());
        assert!(line(&[(3.0, 3.0)], &BOX).is_empty());
    }

    #[test]
    fn polygons_are_cut_at_the_edges() {
        let cut = polygon(&[(-5.0, 2.0), (5.0, 2.0), (5.0, 15.0), (-5.0, 15.0)], &BOX);
        let area: f64 = (0..cut.len())
            .map(|i| {
                let (a, b) = (cut[i], cut[(i + 1) % cut.len()]);
                (a.0 * b.1 - b.0 * a.1) / 2.0
            })
            .sum();
        assert!((area.abs() - 40.0).abs() < 1e-9, "{cut:?}");
        assert!(cut.iter().all(|p| contains(*p, &BOX)));
        assert!(polygon(&[(20.0, 2.0), (25.0, 2.0), (25.0, 15.0)], &BOX).is_empty());
    }

    #[test]
    fn thinning_keeps_the_extremes() {
        let points: Vec<Point> = (0..100_000)
            .map(|i| (f64::from(i) / 1000.0, f64::from(i * 7919 % 1009)))
            .collect();
        let few = thin(points.clone(), 0.5);
        assert!(few.len() <= 4 * 201 && few.len() > 400);
        assert_eq!(
            (few[0], few[few.len() - 1]),
            (points[0], points[points.len() - 1])
        );
        let top = |p: &[Point]| p.iter().map(|p| p.1).fold(0.0, f64::max);
        assert_eq!(top(&few), top(&points));
    }
}

//! Draws one image of the `synthetic_images` stream.
//!
//! An image is a shape filled with a texture on a background with a gradient and a wave. Shape and
//! texture belong to the class; position, size, angle, colours, contrast and its sign, phases and
//! noise are drawn anew for each image. Only the tint of the fill (`colour_cue`) and the share of
//! bright fills tell a linear model anything; shape and texture need features.

use crate::tensor::rng::Rng;

/// Height and width of an image.
pub const SIDE: usize = 32;
/// How many classes can be drawn.
pub const CLASSES: usize = 10;

/// Names of the classes, by label.
pub const CLASS_NAMES: [&str; CLASSES] = [
    "disc", "ring", "square", "triangle", "cross", "bar", "crescent", "dumbbell", "bow", "frame",
];

/// Channel means of pixels in [0, 1] at the default settings.
pub const MEAN: [f32; 3] = [0.507, 0.507, 0.507];
/// Channel standard deviations of pixels in [0, 1] at the default settings.
pub const STD: [f32; 3] = [0.183, 0.183, 0.183];

/// How hard the images are; the stream's settings of the same names say what each means.
#[derive(Debug, Clone, Copy)]
pub struct Difficulty {
    /// Standard deviation of the pixel noise, in units of [0, 1].
    pub noise: f64,
    /// Strength of the class's tint.
    pub colour_cue: f64,
    /// Largest displacement of the centre, in pixels.
    pub jitter: f64,
    /// Largest rotation, in degrees.
    pub rotation: f64,
}

/// Negative inside the shape, positive outside, about a distance in units of the shape's radius.
fn shape(class: usize, u: f32, v: f32) -> f32 {
    let (a, b) = (u.abs(), v.abs());
    match class {
        0 => (u * u + v * v).sqrt() - 0.9,
        1 => ((u * u + v * v).sqrt() - 0.75).abs() - 0.25,
        2 => a.max(b) - 0.8,
        3 => (0.866 * a + 0.5 * v).max(-v) - 0.5,
        4 => (a - 1.0).max(b - 0.3).min((b - 1.0).max(a - 0.3)),
        5 => (a - 0.35).max(b - 1.2),
        6 => {
            let cut = 0.8 - ((u - 0.5) * (u - 0.5) + v * v).sqrt();
            ((u * u + v * v).sqrt() - 1.0).max(cut)
        }
        7 => ((a - 0.6) * (a - 0.6) + v * v).sqrt() - 0.45,
        8 => (a - 0.9).max(b - 0.8 * a - 0.1),
        _ => (a.max(b) - 0.7).abs() - 0.2,
    }
}

/// The class's texture at a point, in -1 ..= 1.
fn texture(class: usize, u: f32, v: f32, frequency: f32, phase: f32) -> f32 {
    match class % 5 {
        0 => wave(frequency * u + phase),
        1 => wave(frequency * u + phase) * wave(frequency * v + phase),
        2 => wave(0.8 * frequency * (u * u + v * v).sqrt() + phase),
        3 => wave(0.5 * frequency * v + phase),
        _ => wave(frequency * 0.7 * (u + v) + phase).max(wave(frequency * 0.7 * (u - v) + phase)),
    }
}

/// A sine-like wave of period 1 made of parabolas; rounding by adding 1.5 × 2²³ keeps the loops
/// around it free of calls, so they compile to vector instructions.
fn wave(t: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let f = t - ((t + ROUND) - ROUND);
    8.0 * f * (1.0 - 2.0 * f.abs())
}

/// Draws an image of `class` into `out` (3 × 32 × 32, normalised).
pub fn render(class: usize, difficulty: &Difficulty, rng: &mut Rng, out: &mut [f32]) {
    match class {
        0 => draw::<0>(difficulty, rng, out),
        1 => draw::<1>(difficulty, rng, out),
        2 => draw::<2>(difficulty, rng, out),
        3 => draw::<3>(difficulty, rng, out),
        4 => draw::<4>(difficulty, rng, out),
        5 => draw::<5>(difficulty, rng, out),
        6 => draw::<6>(difficulty, rng, out),
        7 => draw::<7>(difficulty, rng, out),
        8 => draw::<8>(difficulty, rng, out),
        _ => draw::<9>(difficulty, rng, out),
    }
}

fn draw<const CLASS: usize>(difficulty: &Difficulty, rng: &mut Rng, out: &mut [f32]) {
    let centre = (SIDE as f64 - 1.0) / 2.0;
    let (jitter, rotation) = (difficulty.jitter, difficulty.rotation.to_radians());
    let x0 = (centre + rng.between(-jitter, jitter)) as f32;
    let y0 = (centre + rng.between(-jitter, jitter)) as f32;
    let radius = rng.between(6.0, 12.0) as f32;
    let (sin, cos) = (rng.between(-rotation, rotation) as f32).sin_cos();
    let frequency = rng.between(1.4, 2.0) as f32;
    let phase = rng.uniform() as f32;

    // colours: a grey level and a tint for the background; the fill differs from it by a contrast
    // of either sign, and by a tint that depends on the class on average
    let grey = rng.between(0.35, 0.65);
    let sign = if rng.uniform() < 0.6 { 1.0 } else { -1.0 };
    let contrast = sign * rng.between(0.08, 0.30);
    let hue = std::f64::consts::TAU * (CLASS * 3 % CLASSES) as f64 / CLASSES as f64;
    let (mut back, mut slope, mut ripple, mut fill, mut grain) =
        ([0f32; 3], [0f32; 3], [0f32; 3], [0f32; 3], [0f32; 3]);
    let grain_size = rng.between(0.10, 0.22);
    for c in 0..3 {
        let tint = 0.08 * rng.normal();
        let cue =
            0.12 * difficulty.colour_cue * (hue + std::f64::consts::TAU * c as f64 / 3.0).cos();
        back[c] = (grey + tint) as f32;
        fill[c] = (grey + contrast + cue + 0.08 * rng.normal()) as f32;
        slope[c] = (0.08 * rng.normal() / centre) as f32;
        ripple[c] = (0.05 * rng.normal()) as f32;
        grain[c] = (grain_size * rng.between(0.4, 1.0)) as f32;
    }
    let turn = std::f64::consts::TAU * rng.uniform();
    let (slope_y, slope_x) = (turn as f32).sin_cos();
    let ripple_frequency = rng.between(0.03, 0.15) as f32;
    let (ripple_y, ripple_x) = ((std::f64::consts::TAU * rng.uniform()) as f32).sin_cos();
    let ripple_phase = rng.uniform() as f32;

    let (scale, step) = (1.0 / radius, radius);
    let noise = Noise::new(difficulty.noise);
    let (red, rest) = out.split_at_mut(SIDE * SIDE);
    let (green, blue) = rest.split_at_mut(SIDE * SIDE);
    let planes = [red, green, blue];
    for y in 0..SIDE {
        let dy = y as f32 - y0;
        let yc = y as f32 - centre as f32;
        let (mut mask, mut weave) = ([0f32; SIDE], [0f32; SIDE]);
        let (mut ramp, mut swell) = ([0f32; SIDE], [0f32; SIDE]);
        for x in 0..SIDE {
            let dx = x as f32 - x0;
            let xc = x as f32 - centre as f32;
            let u = scale * (cos * dx + sin * dy);
            let v = scale * (cos * dy - sin * dx);
            mask[x] = (0.5 - step * shape(CLASS, u, v)).clamp(0.0, 1.0);
            weave[x] = texture(CLASS, u, v, frequency, phase);
            ramp[x] = slope_x * xc + slope_y * yc;
            swell[x] = wave(ripple_frequency * (ripple_x * xc + ripple_y * yc) + ripple_phase);
        }
        for c in 0..3 {
            let row = &mut planes[c][y * SIDE..][..SIDE];
            let mut grit = [0f32; SIDE];
            noise.fill(rng, &mut grit);
            for x in 0..SIDE {
                let ground = back[c] + slope[c] * ramp[x] + ripple[c] * swell[x];
                let figure = fill[c] + grain[c] * weave[x];
                let pixel = ground + mask[x] * (figure - ground) + grit[x];
                row[x] = (pixel.clamp(0.0, 1.0) - MEAN[c]) * (1.0 / STD[c]);
            }
        }
    }
}

/// Pixel noise: the sum of four bytes, which is close to normal and cheap.
struct Noise {
    factor: f32,
    shift: f32,
}

impl Noise {
    fn new(std: f64) -> Self {
        // a uniform byte has variance (256² - 1) / 12
        let factor = std / (4.0 * 65535.0 / 12.0_f64).sqrt();
        Self {
            factor: factor as f32,
            shift: (factor * 510.0) as f32,
        }
    }

    fn fill(&self, rng: &mut Rng, out: &mut [f32; SIDE]) {
        const BYTES: u64 = 0x00ff_00ff_00ff_00ff;
        const PAIRS: u64 = 0x0000_ffff_0000_ffff;
        for two in out.chunks_exact_mut(2) {
            let bits = rng.bits();
            let pairs = (bits & BYTES) + ((bits >> 8) & BYTES);
            let sums = (pairs & PAIRS) + ((pairs >> 16) & PAIRS);
            two[0] = sums as u32 as f32 * self.factor - self.shift;
            two[1] = (sums >> 32) as f32 * self.factor - self.shift;
        }
    }
}

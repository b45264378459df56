//! Medians and spread, and the clocks they come from.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Measurements of one thing, sorted.
pub struct Figures(Vec<f64>);

impl Figures {
    pub fn new(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    pub fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    /// The smallest figure that so many percent of all don't exceed; not a number if there are none.
    pub fn percentile(&self, percent: f64) -> f64 {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    pub fn max(&self) -> f64 {
        self.percentile(100.0)
    }

    pub fn min(&self) -> f64 {
        self.percentile(0.0)
    }

    /// Median and the middle eight tenths, as `+512 (498 to 561)`.
    pub fn difference(&self) -> String {
        let whole = |figure: f64| group(figure.round() as i64);
        let sign = if self.median() >= 0.0 { "+" } else { "" };
        format!(
            "{sign}{} ({} to {})",
            whole(self.median()),
            whole(self.percentile(10.0)),
            whole(self.percentile(90.0))
        )
    }

    /// Median and the middle eight tenths, as `512 (498 to 561)`.
    pub fn whole(&self) -> String {
        self.difference().trim_start_matches('+').to_owned()
    }

    /// Median and both ends, as `0.93 (0.91 to 0.95)`.
    pub fn ratio(&self) -> String {
        format!("{:.2} ({:.2} to {:.2})", self.median(), self.min(), self.max())
    }
}

/// A number with its thousands parted.
pub fn group(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if number < 0 { format!("-{grouped}") } else { grouped }
}

/// Time on the wall, and time this thread was given: on a shared machine only the second is the work's own.
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

/// What a [`Stopwatch`] read.
#[derive(Clone, Copy)]
pub struct Lap {
    pub wall: Duration,
    pub cpu: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { cpu: thread_time(), wall: Instant::now() }
    }

    pub fn lap(&self) -> Lap {
        let wall = self.wall.elapsed();
        Lap { wall, cpu: thread_time().saturating_sub(self.cpu) }
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_figures() {
        let figures = Figures::new((1..=100).rev().map(f64::from));
        assert_eq!((figures.min(), figures.median(), figures.percentile(90.0)), (1.0, 50.0, 90.0));
        assert_eq!(figures.max(), 100.0);
        assert!(Figures::new([]).median().is_nan());
    }

    #[test]
    fn thousands_are_parted() {
        assert_eq!(
            [group(0), group(999), group(-1_000), group(1_234_567)],
            ["0", "999", "-1,000", "1,234,567"]
        );
    }
}

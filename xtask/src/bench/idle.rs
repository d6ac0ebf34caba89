//! Holds what a watch of everything takes to begin, and while nothing happens, against its targets; it never
//! gives it anything to do.

use anyhow::{Context, Result};
use serde_json::Value;

use super::figure::{Figure, Target};
use super::guest::COUNTED;

/// From its start until every hook is attached.
const START_MS: f64 = 300.0;

/// Processor time of a second in which nothing happens.
const IDLE_US: f64 = 200.0;

/// The most memory that it had.
const MEMORY_MB: f64 = 20.0;

/// Runs the guest's part.
pub fn measure() -> Result<Vec<Figure>> {
    let told = COUNTED.measure("idle")?;
    figures(told.first().context("nothing was told")?)
}

fn figures(told: &Value) -> Result<Vec<Figure>> {
    let number = |name: &str| {
        let number = told[name].as_f64();
        number.with_context(|| format!("not a result: {told}"))
    };
    let figure = |name: &str, value: f64, unit, most| {
        Figure::new("idle", name, value, unit).held_to(Target::AtMost(most))
    };
    let peak_mb = number("peak_rss_kib")? * 1024.0 / 1e6;
    Ok(vec![
        figure(
            "until hooks are attached",
            number("start_ms")?,
            "ms",
            START_MS,
        ),
        figure("processor time", number("idle_us_per_s")?, "us/s", IDLE_US),
        figure("peak memory", peak_mb, "MB", MEMORY_MB),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_figure_has_its_target() {
        let told = json!({ "start_ms": 250.0, "idle_us_per_s": 300.5, "peak_rss_kib": 10_000 });
        let found = figures(&told).unwrap();
        let met: Vec<_> = found.iter().map(Figure::is_met).collect();
        assert_eq!(met, [true, false, true]);
        assert!((found[2].value - 10.24).abs() < 1e-9);
        assert!(figures(&json!({})).is_err());
    }
}

//! Measures what tracer and its peers miss of ever more connections and opens, and holds tracer's losses and
//! totals against what they must be, in one boot of a guest with two processors; it never compares two boots.

use anyhow::{Context, Result};
use serde_json::Value;

use super::figure::{Figure, Target};
use super::guest::PARALLEL;

/// Up to this share of what the guest can do while nobody watches, tracer must not lose anything.
const BORNE: f64 = 0.5;

/// Runs all watchers at all rates. Fails where one of tracer's own does.
pub fn measure() -> Result<Vec<Figure>> {
    let told = PARALLEL.measure_beside_peers("rates")?;
    let figures: Vec<_> = told.iter().map(figures).collect::<Result<_>>()?;
    Ok(figures.concat())
}

/// What a line tells.
fn figures(told: &Value) -> Result<Vec<Figure>> {
    let wrong = || format!("not a result: {told}");
    let text = |name: &str| told[name].as_str().with_context(wrong);
    let (watcher, workload) = (text("watcher")?, text("workload")?);
    let per_s = told["per_s"].as_f64().with_context(wrong)?;
    let Some(missed) = told["missed"].as_f64() else {
        let figure = Figure::new(watcher, format!("{workload} that can be done"), per_s, "/s");
        return Ok(vec![figure]);
    };
    let what = format!("{workload} missed");
    let missed = Figure::new(watcher, what, missed * 100.0, "%").at(per_s);
    let (Some(unnamed), Some(inexact)) = (told["unnamed"].as_f64(), told["inexact"].as_f64())
    else {
        return Ok(vec![missed]);
    };
    let is_borne = told["share"].as_f64().is_some_and(|share| share <= BORNE);
    let nothing = Target::AtMost(0.0);
    Ok(vec![
        if is_borne {
            missed.held_to(nothing)
        } else {
            missed
        },
        Figure::new(
            watcher,
            format!("{workload} lost and not told"),
            unnamed,
            "events",
        )
        .at(per_s)
        .held_to(nothing),
        Figure::new(
            watcher,
            format!("{workload} wrong in totals"),
            inexact,
            "events",
        )
        .at(per_s)
        .held_to(nothing),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn met(told: &Value) -> Vec<bool> {
        figures(told).unwrap().iter().map(Figure::is_met).collect()
    }

    #[test]
    fn losses_are_borne_beyond_a_rate_and_silence_never() {
        let told = |share: Option<f64>, missed: f64, unnamed: u64, inexact: u64| {
            json!({
                "watcher": "tracer", "workload": "connections", "per_s": 100.0, "share": share,
                "missed": missed, "unnamed": unnamed, "inexact": inexact,
            })
        };
        assert_eq!(met(&told(Some(0.25), 0.0, 0, 0)), [true, true, true]);
        assert_eq!(met(&told(Some(0.25), 0.01, 0, 0)), [false, true, true]);
        assert_eq!(met(&told(None, 0.01, 0, 0)), [true, true, true]);
        assert_eq!(met(&told(None, 0.01, 1, 2)), [true, false, false]);
    }

    #[test]
    fn peers_are_held_to_nothing() {
        let told = json!({
            "watcher": "peer", "workload": "connections", "per_s": 100.0, "share": 0.1, "missed": 0.5,
        });
        assert_eq!(met(&told), [true]);
        assert!(figures(&json!({ "watcher": "peer" })).is_err());
    }
}

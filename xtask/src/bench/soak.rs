//! Holds what the service's memory grows to while processes, peers and folders come and go by the thousand
//! against what it was when its tables were full; it never looks at anything else of it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::figure::{Figure, Target};
use super::guest::COUNTED;

/// How much more than when half of them had come and gone. Allocators keep some room.
const GROWTH_PERCENT: f64 = 5.0;

/// Runs the guest's part.
pub fn measure() -> Result<Vec<Figure>> {
    let told = COUNTED.measure("soak")?;
    figures(&told)
}

fn figures(rounds: &[Value]) -> Result<Vec<Figure>> {
    let number = |round: &Value, name: &str| {
        let number = round[name].as_f64();
        number.with_context(|| format!("not a result: {round}"))
    };
    let (half, last) = (rounds.get(rounds.len() / 2), rounds.last());
    let (half, last) = half.zip(last).context("nothing was told")?;
    let memory = [half, last].map(|round| number(round, "rss_kib"));
    let [half_kib, last_kib] = memory;
    let (half_kib, last_kib) = (half_kib?, last_kib?);
    ensure!(half_kib > 0.0, "no memory: {half}");
    Ok(vec![
        Figure::new(
            "soak",
            "processes that came and went",
            number(last, "processes")?,
            "",
        ),
        Figure::new("soak", "memory at the end", last_kib * 1024.0 / 1e6, "MB"),
        Figure::new(
            "soak",
            "growth in the second half",
            (last_kib / half_kib - 1.0) * 100.0,
            "%",
        )
        .held_to(Target::AtMost(GROWTH_PERCENT)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn growth_is_that_of_the_second_half() {
        let round =
            |processes: u32, rss_kib: u32| json!({ "processes": processes, "rss_kib": rss_kib });
        let rounds = [
            round(10, 500),
            round(20, 900),
            round(30, 1000),
            round(40, 1020),
        ];
        let found = figures(&rounds).unwrap();
        assert!((found[0].value - 40.0).abs() < 1e-9);
        assert!((found[2].value - 2.0).abs() < 1e-9);
        assert!(found[2].is_met());
        assert!(figures(&[]).is_err());
    }
}

//! Puts the most frequent user stack of a verdict into lines, escaped; never more frames than a person
//! reads.

use crate::analysis::report::{StackCount, StackState, Verdict};

use super::escape::Escaped;

/// Frames shown, the innermost; JSON has all.
const FRAMES_SHOWN: usize = 16;

/// The most frequent stack: how often it came and what is missing of it, then a line for each frame, the
/// innermost first. Empty where stacks were not asked for, or none came.
pub(super) fn lines(verdict: &Verdict) -> Vec<String> {
    let Some(top) = verdict.stacks.as_deref().and_then(<[_]>::first) else {
        return Vec::new();
    };
    let mut lines = vec![head(top)];
    let frames = top.frames.iter().take(FRAMES_SHOWN);
    lines.extend(frames.map(|frame| Escaped(frame).to_string()));
    let more = top.frames.len().saturating_sub(FRAMES_SHOWN);
    if more > 0 {
        lines.push(format!("… {more} more"));
    }
    lines
}

fn head(top: &StackCount) -> String {
    let count = top.count;
    let missing = match top.state {
        StackState::Whole => return format!("{count} ×, innermost first"),
        StackState::Cut => "cut: only the innermost frames were taken",
        StackState::NoFramePointers => "only one frame: this code keeps no frame pointers",
        StackState::NotLookedUp => "not looked up yet",
        StackState::ProcessEnded => "its process had ended before it could be looked up",
        StackState::NoRoom => "not taken: the kernel's table of stacks had no room for it",
        StackState::Unreadable => "the kernel could not read it",
    };
    format!("{count} ×, {missing}")
}

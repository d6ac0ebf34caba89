//! Hands what libFuzzer makes up to the way from traces to reports; never judges it.
#![no_main]

libfuzzer_sys::fuzz_target!(|trace: &[u8]| tracer_fuzz::replay(trace));

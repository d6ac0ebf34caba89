//! Hands what libFuzzer makes up to the way from records to reports; never judges it.
#![no_main]

libfuzzer_sys::fuzz_target!(|stream: &[u8]| tracer_fuzz::watch(stream));

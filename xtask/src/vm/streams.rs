//! Reads the guest's streams, each of which ends with a mark, since a port of a virtual machine
//! has no end of its own; it never shows the mark.

use std::io::{Read, Result};

/// How much is read from a port at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// What a port gave: the bytes before the mark, and whether the mark came.
pub struct Marked<R> {
    from: R,
    mark: Vec<u8>,
    held: Vec<u8>,
    ended: bool,
}

impl<R: Read> Marked<R> {
    /// Reads `from` up to `mark`.
    pub fn new(from: R, mark: &str) -> Self {
        Self {
            from,
            mark: mark.as_bytes().to_owned(),
            held: Vec::new(),
            ended: false,
        }
    }

    /// The next bytes, as soon as they come; nothing at the stream's end. Bytes that could be the
    /// start of the mark are held back until more tell.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut chunk = vec![0; CHUNK];
        while !self.ended {
            let count = self.from.read(&mut chunk)?;
            if count == 0 {
                let rest = std::mem::take(&mut self.held);
                return Ok((!rest.is_empty()).then_some(rest));
            }
            self.held.extend_from_slice(&chunk[..count]);
            let ready = self.ready();
            if ready > 0 {
                return Ok(Some(self.held.drain(..ready).collect()));
            }
        }
        Ok(None)
    }

    /// How many of the held bytes are certain to come before the mark.
    fn ready(&mut self) -> usize {
        if self.held.ends_with(&self.mark) {
            self.ended = true;
            return self.held.len() - self.mark.len();
        }
        let longest = self.mark.len().min(self.held.len());
        let start = (1..=longest)
            .rev()
            .find(|&length| self.held.ends_with(&self.mark[..length]));
        self.held.len() - start.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one piece a read, as a port does.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    /// What is shown of a stream, and whether its mark came.
    fn read(pieces: &[&'static [u8]]) -> (Vec<u8>, bool) {
        let mut marked = Marked::new(Pieces(pieces.to_vec()), "MARK");
        let mut all = Vec::new();
        while let Some(bytes) = marked.next().unwrap() {
            all.extend(bytes);
        }
        (all, marked.ended)
    }

    #[test]
    fn the_mark_ends_the_stream_however_it_is_cut() {
        assert_eq!(read(&[b"hello MARK"]), (b"hello ".to_vec(), true));
        assert_eq!(read(&[b"hello M", b"AR", b"K"]), (b"hello ".to_vec(), true));
        assert_eq!(read(&[b"MARK"]), (Vec::new(), true));
    }

    #[test]
    fn what_only_begins_like_the_mark_is_shown() {
        assert_eq!(read(&[b"MAR", b"IA MA", b"RK"]), (b"MARIA ".to_vec(), true));
    }

    #[test]
    fn a_stream_without_the_mark_is_not_whole() {
        assert_eq!(read(&[b"hello"]), (b"hello".to_vec(), false));
        assert_eq!(read(&[b"hello M"]), (b"hello M".to_vec(), false));
    }
}

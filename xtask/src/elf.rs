//! Reads the one fact about ELF files that matters here, whether they need a dynamic loader; it
//! never reads past their program headers.

/// The program header that names the dynamic loader.
const PT_INTERP: u32 = 3;

/// Whether a 64-bit little-endian ELF file runs without a dynamic loader. Anything else is not
/// taken for static.
pub fn is_static(file: &[u8]) -> bool {
    segment_kinds(file).is_some_and(|kinds| !kinds.is_empty() && !kinds.contains(&PT_INTERP))
}

fn segment_kinds(file: &[u8]) -> Option<Vec<u32>> {
    const MAGIC_64_LITTLE: &[u8] = b"\x7fELF\x02\x01";
    if !file.starts_with(MAGIC_64_LITTLE) {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(bytes_at(file, 32)?)).ok()?;
    let size = usize::from(u16::from_le_bytes(bytes_at(file, 54)?));
    let count = usize::from(u16::from_le_bytes(bytes_at(file, 56)?));
    (0..count)
        .map(|index| {
            Some(u32::from_le_bytes(bytes_at(
                file,
                table.checked_add(index * size)?,
            )?))
        })
        .collect()
}

fn bytes_at<const N: usize>(file: &[u8], offset: usize) -> Option<[u8; N]> {
    file.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with one program header of the given kind.
    fn elf(kind: u32) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&1_u16.to_le_bytes());
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        file
    }

    #[test]
    fn a_file_with_a_loader_is_not_static() {
        assert!(is_static(&elf(1)));
        assert!(!is_static(&elf(PT_INTERP)));
    }

    #[test]
    fn cut_and_foreign_files_are_not_static() {
        assert!(!is_static(&elf(1)[..66]));
        assert!(!is_static(b"#!/bin/sh\n"));
        assert!(!is_static(b""));
    }
}

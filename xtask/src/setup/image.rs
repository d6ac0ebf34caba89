//! Unpacks a kernel's image, because an emulated processor takes seconds for what this machine does
//! at once; it never changes what is inside.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

/// Where the boot protocol of x86 puts the number of sectors before the kernel proper.
const SECTORS: usize = 0x1f1;
/// Where it puts the packed kernel's offset from there, and its length.
const PAYLOAD: usize = 0x248;
/// The size of those sectors, in bytes.
const SECTOR: usize = 512;

/// How images are packed: the first bytes, and the program that unpacks them.
const PACKINGS: [(&[u8], &str); 2] = [
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0x02, 0x21, 0x4c, 0x18], "lz4"),
];

/// The ELF file inside a bootable image, or the image itself where it is packed in another way:
/// the emulator boots either.
pub fn unpacked(image: Vec<u8>) -> Result<Vec<u8>> {
    let Some((payload, size)) = payload(&image) else {
        return Ok(image);
    };
    let packing = PACKINGS
        .iter()
        .find(|(magic, _)| payload.starts_with(magic));
    let Some((_, name)) = packing else {
        return Ok(image);
    };
    let program = super::program(name, "unpacks kernels", name, name)?;
    let kernel = filtered(&program, payload)?;
    if kernel.len() != size || !kernel.starts_with(b"\x7fELF") {
        bail!("{name} made no kernel of the image: its package must be damaged or of a new form");
    }
    Ok(kernel)
}

/// The packed kernel in an image, and its size when unpacked, which stands behind it.
fn payload(image: &[u8]) -> Option<(&[u8], usize)> {
    let sectors = usize::from(*image.get(SECTORS)?).max(4) + 1;
    let start = (sectors * SECTOR).checked_add(number_at(image, PAYLOAD)?)?;
    let packed = image.get(start..)?.get(..number_at(image, PAYLOAD + 4)?)?;
    let (packed, size) = packed.split_at_checked(packed.len().checked_sub(4)?)?;
    Some((packed, number_at(size, 0)?))
}

fn number_at(bytes: &[u8], offset: usize) -> Option<usize> {
    let four = bytes.get(offset..offset.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(four)).ok()
}

fn filtered(program: &Path, input: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new(program)
        .args(["-d", "-c", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut pipe = child
        .stdin
        .take()
        .context("a child without the pipe that was asked for")?;
    // Written by a thread of its own, or both sides would wait for each other once pipes are full.
    let output = thread::scope(|scope| {
        scope.spawn(move || pipe.write_all(input));
        child.wait_with_output()
    })?;
    if !output.status.success() {
        bail!("{} could not unpack the kernel's image", program.display());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_no_packed_kernel_stays_as_it_is() {
        assert_eq!(unpacked(b"short".to_vec()).unwrap(), b"short");
        assert_eq!(unpacked(vec![0; 4096]).unwrap(), vec![0; 4096]);
    }

    #[test]
    fn the_payload_is_found_by_the_header() {
        let mut image = vec![0; 5 * SECTOR + 20];
        image[SECTORS] = 4;
        image[PAYLOAD] = 8;
        image[PAYLOAD + 4] = 10;
        image[5 * SECTOR + 8..5 * SECTOR + 18].copy_from_slice(b"packed\x07\0\0\0");
        assert_eq!(payload(&image), Some((&b"packed"[..], 7)));
        image.truncate(5 * SECTOR + 10);
        assert_eq!(payload(&image), None);
    }
}

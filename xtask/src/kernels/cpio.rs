//! Writes the archive format of an initramfs: "newc" (Documentation/driver-api/early-userspace/buffer-format).

/// The type bits of a mode (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive that grows. A directory must come before what is in it.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a directory; its path does not begin with a slash.
    pub(super) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, &[]);
    }

    /// Adds a file.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, FILE | mode, content);
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = |length: usize| u32::try_from(length).expect("no file of an initramfs has 4 GiB");
        // inode, mode, uid, gid, links, mtime, size, device, special file, length of the name, checksum.
        let fields =
            [self.entries, mode, 0, 0, 1, 0, size(content.len()), 0, 0, 0, 0, size(path.len() + 1), 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Header with name, and content, end at a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut archive = Archive::default();
        archive.directory("bin");
        archive.file("bin/sh", 0o755, b"hello");
        archive.finish()
    }

    #[test]
    fn an_entry_is_a_header_a_name_and_a_content_in_fours() {
        let bytes = archive();
        // 110 bytes of header, "bin" and its zero, two to fill up.
        let (directory, rest) = bytes.split_at(116);
        assert_eq!(
            String::from_utf8_lossy(directory),
            "07070100000001000041ED000000000000000000000001000000000000000000000000000000000000000000000000\
             0000000400000000bin\0\0\0"
        );
        // "bin/sh" and its zero make 117, and three to fill up; so does the content of five.
        let (file, trailer) = rest.split_at(120 + 8);
        let file = String::from_utf8_lossy(file);
        assert!(file.starts_with("07070100000002000081ED"), "{file}");
        assert!(file.ends_with("bin/sh\0\0\0\0hello\0\0\0"), "{file:?}");
        assert!(String::from_utf8_lossy(trailer).ends_with("TRAILER!!!\0\0\0\0"), "{trailer:?}");
        assert_eq!(bytes.len() % 4, 0);
    }
}

//! Tells whether a file has changed, without reading it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What changes when a file does. A link counts as what it leads to, so that the way in which
/// Kubernetes replaces mounted files is noticed, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// How a file looks now; `None` if it is not there.
    pub fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }
}

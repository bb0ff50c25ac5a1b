//! The configuration of a running process: notices when its file changes, and loads it again.

use super::Config;
use super::load::{Sources, load};
use super::problem::ConfigError;
use super::stamp::Stamp;

/// Where a configuration comes from, and how its file looked.
///
/// It looks instead of being told: that also works for files that a container mounts.
#[derive(Debug)]
pub struct Watch {
    sources: Sources,
    /// At the last load.
    loaded: Option<Stamp>,
    /// At the last look.
    seen: Option<Stamp>,
}

impl Watch {
    /// Nothing is loaded yet.
    pub fn new(sources: Sources) -> Self {
        Self { sources, loaded: None, seen: None }
    }

    /// Loads the configuration.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, at once.
    pub fn load(&mut self) -> Result<Config, ConfigError> {
        // Found once: if it is gone for a moment, another one in another place is not meant.
        self.sources.file = self.sources.file();
        // Before the file is read: what is written meanwhile is seen as a change.
        self.loaded = self.stamp();
        self.seen = self.loaded;
        load(&self.sources)
    }

    /// Whether the file has changed since it was loaded, and not since the last look: half a file
    /// may be sound, and is not what was meant.
    pub fn has_changed(&mut self) -> bool {
        let now = self.stamp();
        let is_settled = now == self.seen;
        self.seen = now;
        is_settled && now != self.loaded
    }

    fn stamp(&self) -> Option<Stamp> {
        Stamp::of(self.sources.file.as_ref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "backends.a.base_url = \"http://127.0.0.1:1\"\n[[routes]]\ndefault = true\nchain = [\"a\"]\n";

    #[test]
    fn a_change_counts_once_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sidestep.toml");
        std::fs::write(&file, SOUND).unwrap();
        let mut watch = Watch::new(Sources { file: Some(file.clone()), ..Sources::default() });
        watch.load().unwrap();
        assert!(!watch.has_changed());
        std::fs::write(&file, format!("server.body_timeout = \"9s\"\n{SOUND}")).unwrap();
        assert!(!watch.has_changed(), "more may be written");
        assert!(watch.has_changed());
        watch.load().unwrap();
        assert!(!watch.has_changed());
    }

    #[test]
    fn a_file_that_is_refused_or_gone_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sidestep.toml");
        std::fs::write(&file, SOUND).unwrap();
        let mut watch = Watch::new(Sources { file: Some(file.clone()), ..Sources::default() });
        watch.load().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!([watch.has_changed(), watch.has_changed()], [false, true]);
        watch.load().unwrap_err();
        assert!(!watch.has_changed());
    }
}

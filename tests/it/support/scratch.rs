use std::path::{Path, PathBuf};

/// A file that goes with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Writes it; `kind` is how its name ends.
    pub fn file(kind: &str, text: &str) -> Self {
        let path = somewhere().with_extension(kind);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    pub fn new() -> Self {
        let path = somewhere();
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn somewhere() -> PathBuf {
    std::env::temp_dir().join(format!("polylogue-{}", polylogue::words::new_ulid(0)))
}

use std::path::PathBuf;

/// A file that goes with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Writes it; `kind` is how its name ends.
    pub fn file(kind: &str, text: &str) -> Self {
        let name = format!("polylogue-{}.{kind}", polylogue::words::new_ulid(0));
        let path = std::env::temp_dir().join(name);
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

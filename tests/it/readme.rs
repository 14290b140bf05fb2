//! The README says what is so.

use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_diagram_is_the_flow() {
    let readme = read("README.md");
    let diagram = readme.split("```mermaid\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(diagram, polylogue::app::graph().unwrap(), "update it with `cargo run -- graph`");
}

#[test]
fn every_metric_it_names_exists() {
    let declared: String = ["edge", "model", "state", "turns"]
        .map(|family| read(&format!("src/telemetry/metrics/{family}.rs")))
        .concat();
    let readme = read("README.md");
    let named = readme.split('`').filter(|word| word.starts_with("polylogue_")).map(|word| {
        let end = word.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(word.len());
        word[..end].trim_start_matches("polylogue_")
    });
    let unknown: Vec<_> = named.filter(|name| !declared.contains(&format!("\"{name}\""))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_path_it_names_is_served() {
    let readme = read("README.md");
    let paths = readme
        .split(|c: char| c.is_whitespace() || "`'\"".contains(c))
        .filter(|word| word.starts_with("/api/v1/"));
    let served: Vec<_> = polylogue::http::api::OPERATIONS.iter().map(|(_, path, _)| *path).collect();
    for path in paths {
        assert!(path == "/api/v1/chat/ws" || served.contains(&path), "{path}");
    }
}

//! The table of events is complete.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|it| it == "rs")).collect()
}

/// The code of all sources, without their tests and comments.
fn code() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let product = sources(&root).into_iter().map(|path| {
        let text = fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    });
    product.collect()
}

#[test]
fn every_event_of_the_source_is_in_the_table_and_the_other_way_round() {
    let code = code();
    let said = code.split("event = \"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let said: BTreeSet<_> = said.collect();
    let documented = include_str!("../../../docs/logs.md").split("## Events").nth(1).unwrap();
    let documented: BTreeSet<_> =
        documented.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(said.len() > 50, "the check sees what it looks for");
    assert_eq!(said, documented);
}

#[test]
fn every_line_above_debug_has_the_name_of_an_event() {
    let code = code();
    let nameless = ["info!(", "warn!(", "error!("].into_iter().flat_map(|call| {
        let calls = code.match_indices(call).filter(|(at, _)| !code[..*at].ends_with('_'));
        calls.map(|(at, _)| code[at..].lines().take(2).collect::<Vec<_>>().join(" "))
    });
    let nameless: Vec<_> = nameless.filter(|line| !line.contains("event = \"")).collect();
    assert!(nameless.is_empty(), "{nameless:#?}");
}

//! The shape of the source tree is what `design.md` §11 and the style promise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Everybody may name these; they name nothing of ours but what [`arrows`] says.
const LEAVES: [&str; 6] = ["words", "config", "telemetry", "resilience", "shutdown", "exit"];

/// What a module may name beside itself.
fn arrows(module: &str) -> BTreeSet<&'static str> {
    let below: &[&str] = match module {
        "main" => &["app", "cli"],
        "cli" => &["app", "auth"],
        "app" => &[
            "http",
            "connections",
            "chat",
            "graph",
            "llm",
            "turnlog",
            "memory",
            "limits",
            "fleet",
            "flags",
            "auth",
            "redis",
            "simulator",
        ],
        "http" => &["connections", "chat", "limits", "auth"],
        "connections" => &["limits", "fleet", "auth"],
        "chat" => &["graph", "llm", "turnlog", "memory", "limits", "fleet", "flags"],
        "llm" | "simulator" | "flags" | "auth" => &[],
        "turnlog" | "memory" | "limits" | "fleet" => &["redis"],
        "redis" => &[],
        "resilience" => return ["config", "telemetry"].into(),
        "graph" | "telemetry" | "shutdown" | "exit" => return ["config"].into(),
        "words" | "config" => return BTreeSet::new(),
        other => panic!("the module {other} is not in the table of arrows"),
    };
    below.iter().chain(&LEAVES).copied().collect()
}

/// One file of ours.
struct Source {
    /// Relative to the repository.
    path: PathBuf,
    /// The first level below `src`: `chat`, `main`.
    module: String,
    text: String,
    /// Without comments, which may name what they explain.
    code: String,
    /// Without the tests either, which may build what they need.
    product: String,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>();
        let path = path.strip_prefix(root).unwrap().to_owned();
        let module = path.iter().nth(1).unwrap().to_string_lossy();
        let module = module.trim_end_matches(".rs").to_owned();
        let code = code.join("\n");
        let product = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let product = if path.ends_with("tests.rs") { String::new() } else { product.to_owned() };
        Self { path, module, text, code, product }
    }

    /// The identifiers that follow `prefix` where it begins a word, also within braces.
    fn after(&self, prefix: &str) -> BTreeSet<String> {
        let places =
            self.product.match_indices(prefix).filter(|(place, _)| begins_word(&self.product[..*place]));
        let rests = places.map(|(place, _)| &self.product[place + prefix.len()..]);
        rests.flat_map(first_names).collect()
    }

    /// Whether the code uses a crate of this name; our own module may have the same name.
    fn uses_crate(&self, name: &str) -> bool {
        let path = format!("{name}::");
        let mut places = self.product.match_indices(&path).map(|(place, _)| &self.product[..place]);
        places.any(|before| begins_word(before) && !before.ends_with("::"))
    }
}

fn begins_word(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn name_at(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// `chat::Turn` is chat; `{chat::Turn, words}` is both.
fn first_names(rest: &str) -> Vec<String> {
    let Some(inner) = rest.strip_prefix('{') else { return vec![name_at(rest)] };
    let (mut depth, mut names, mut fresh) = (1, Vec::new(), true);
    for (place, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            c if fresh && c.is_alphabetic() => {
                names.push(name_at(&inner[place..]));
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn sources_below(folder: &str) -> Vec<Source> {
    let root = root();
    files_below(&root.join(folder)).iter().map(|path| Source::read(&root, path)).collect()
}

/// Fails with all of them, one per line.
fn none(violations: Vec<String>, rule: &str) {
    assert!(violations.is_empty(), "{rule}:\n{}", violations.join("\n"));
}

#[test]
fn modules_name_only_what_their_arrows_point_to() {
    let mut wrong = Vec::new();
    for source in sources_below("src").iter().filter(|source| source.module != "lib") {
        let allowed = arrows(&source.module);
        let prefix = if source.module == "main" { "polylogue::" } else { "crate::" };
        for name in source.after(prefix) {
            if name != source.module && !allowed.contains(name.as_str()) {
                wrong.push(format!("{} names {name}", source.path.display()));
            }
        }
    }
    none(
        wrong,
        "main → app → http → {connections, chat} → {graph, llm, turnlog, memory, limits, fleet, flags}",
    );
}

#[test]
fn only_the_composition_root_names_adapters() {
    let sources = sources_below("src");
    let mut adapters = BTreeMap::new();
    for source in &sources {
        for prefix in ["pub struct Local", "pub struct Redis"] {
            let kind = &prefix["pub struct ".len()..];
            let names = source.after(prefix).into_iter().filter(|rest| !rest.is_empty());
            adapters.extend(names.map(|rest| (format!("{kind}{rest}"), source.module.clone())));
        }
    }
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| source.module != "app") {
        for (name, _) in adapters.iter().filter(|(_, module)| **module != source.module) {
            let used = source.product.match_indices(name.as_str()).any(|(place, _)| {
                begins_word(&source.product[..place]) && name_at(&source.product[place..]) == *name
            });
            if used {
                wrong.push(format!("{} names {name}", source.path.display()));
            }
        }
    }
    none(wrong, "adapters are chosen in app.rs");
}

#[test]
fn each_library_stays_in_its_place() {
    let sources = sources_below("src");
    let users = |name: &str| sources.iter().filter(move |source| source.uses_crate(name)).collect::<Vec<_>>();
    let mut wrong = Vec::new();
    for name in ["poem", "poem_openapi"] {
        let outside = users(name).into_iter().filter(|s| !matches!(s.module.as_str(), "http" | "simulator"));
        wrong.extend(outside.map(|source| format!("{} uses {name}", source.path.display())));
    }
    let openai = users("async_openai");
    if openai.len() > 1 {
        wrong.extend(openai.iter().map(|source| format!("{} uses async_openai", source.path.display())));
    }
    let outside = users("redis").into_iter().filter(|s| s.module != "redis" && !s.path.ends_with("redis.rs"));
    wrong.extend(outside.map(|source| format!("{} uses redis", source.path.display())));
    let outside = users("tokio_rustls").into_iter().filter(|s| {
        let place = s.path.to_string_lossy();
        !place.starts_with("src/http/accept/") && !place.starts_with("src/cli/")
    });
    wrong.extend(outside.map(|source| format!("{} uses tokio_rustls", source.path.display())));
    none(
        wrong,
        "poem only in http and simulator, async_openai in one file, redis in redis/ and */redis.rs, tokio_rustls in http/accept/ and cli/",
    );
}

#[test]
fn only_main_reads_the_environment() {
    let mut wrong = Vec::new();
    for source in sources_below("src").iter().filter(|source| source.module != "main") {
        for call in ["env::var", "env::args", "env::set_var", "env::remove_var", "env::current_dir"] {
            if source.product.contains(call) {
                wrong.push(format!("{} calls {call}", source.path.display()));
            }
        }
    }
    none(wrong, "everything else takes it from Config");
}

#[test]
fn every_task_has_an_owner() {
    let mut wrong = Vec::new();
    for source in sources_below("src") {
        if source.product.contains("tokio::spawn(") && source.module != "shutdown" {
            wrong.push(source.path.display().to_string());
        }
    }
    none(wrong, "tasks are spawned through Shutdown");
}

fn is_test(source: &Source) -> bool {
    source.path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"))
}

#[test]
fn files_are_short_enough_to_read() {
    let lines = |source: &Source| source.text.lines().count();
    let all: Vec<Source> = sources_below("src").into_iter().chain(sources_below("tests")).collect();
    let long = |source: &&Source| lines(source) > if source.module == "main" { 80 } else { 400 };
    let long = all.iter().filter(long).map(|source| format!("{}: {}", source.path.display(), lines(source)));
    none(long.collect(), "at most 400 lines, main.rs 80");

    let graph: usize = all.iter().filter(|it| it.module == "graph" && !is_test(it)).map(lines).sum();
    assert!(graph <= 600, "graph/ has {graph} lines, at most 600 are allowed");
}

#[test]
fn the_map_has_no_logic() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let lib = lib.replace("#[cfg(test)]\n#[path = \"../tests/fuzz/mod.rs\"]\nmod fuzz;\n", "");
    let other = |line: &&str| !(line.is_empty() || line.starts_with("//!") || line.starts_with("pub mod "));
    none(lib.lines().filter(other).map(str::to_owned).collect(), "lib.rs lists modules");
}

#[test]
fn every_module_with_parts_is_a_folder_with_a_mod_file() {
    let mut wrong = Vec::new();
    for path in files_below(&root().join("src")) {
        let folder = path.parent().unwrap();
        if !folder.ends_with("src") && !folder.join("mod.rs").exists() {
            wrong.push(format!("{} has no mod.rs", folder.display()));
        }
        if path.with_extension("").is_dir() {
            wrong.push(format!("{} stands beside a folder of its name", path.display()));
        }
    }
    none(wrong, "mod.rs style");
}

#[test]
fn an_exception_from_a_lint_is_expected_and_has_a_reason() {
    let mut wrong = Vec::new();
    for source in sources_below("src").iter().chain(&sources_below("tests")) {
        for attribute in [["#[", "allow("], ["#![", "allow("]].map(|parts| parts.concat()) {
            if source.code.contains(&attribute) {
                wrong.push(source.path.display().to_string());
            }
        }
    }
    none(wrong, "#[expect(lint, reason = \"…\")]");
}

#[test]
fn these_checks_see_what_they_look_for() {
    let code = "use crate::{chat::{Turn, x}, words};\nuse crate::llm::Model;\nlet y = redis::Client; // crate::graph\n";
    let source = Source {
        path: "src/x.rs".into(),
        module: "x".into(),
        text: code.into(),
        code: code.into(),
        product: code.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect(),
    };
    assert_eq!(source.after("crate::").into_iter().collect::<Vec<_>>(), ["chat", "llm", "words"]);
    assert!(source.uses_crate("redis") && !source.uses_crate("llm") && !source.uses_crate("dis"));
    assert!(!arrows("limits").contains("http") && arrows("chat").contains("words"));
}

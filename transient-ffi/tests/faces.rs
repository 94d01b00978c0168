//! `docs/faces.md` names everything that the core offers, and its counterparts: nothing is missing in C, and every
//! row has a Python name, which `tests/python/test_faces.py` looks up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use syn::{Fields, ImplItem, Item, UseTree, Visibility};

/// The functions that are no methods.
const FUNCTIONS: [&str; 14] = [
    "build",
    "check",
    "pull",
    "tag",
    "import",
    "export",
    "run",
    "start",
    "create",
    "ssh",
    "copy",
    "commit",
    "appliance::build",
    "appliance::find",
];

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn read(below: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(ROOT).join(below)).unwrap()
}

/// Returns the items of a source file, and of the modules below it.
fn items(folder: &Path) -> Vec<Item> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(items(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.extend(syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap().items);
        }
    }
    all
}

/// Returns the names that the crate's root exports.
fn exported() -> BTreeSet<String> {
    fn leaves(tree: &UseTree, names: &mut BTreeSet<String>) {
        match tree {
            UseTree::Path(path) => leaves(&path.tree, names),
            UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, names)),
            UseTree::Name(name) => drop(names.insert(name.ident.to_string())),
            UseTree::Rename(rename) => drop(names.insert(rename.rename.to_string())),
            UseTree::Glob(_) => panic!("a glob hides what is exported"),
        }
    }
    let mut names = BTreeSet::new();
    for item in syn::parse_file(&read("transient-core/src/lib.rs")).unwrap().items {
        if let Item::Use(item) = item
            && matches!(item.vis, Visibility::Public(_))
        {
            leaves(&item.tree, &mut names);
        }
    }
    names
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Returns what the exported types and the appliance offer: `Type::function`, `Type.field`, `Enum::Variant`.
fn offered() -> BTreeSet<String> {
    let mut types = exported();
    types.extend(["Appliance", "Description", "IncludedFile", "Inputs"].map(str::to_owned));
    // its numbers are compared where the statuses are
    let variants_elsewhere = ["ErrorKind"];
    let mut offered = BTreeSet::from(FUNCTIONS.map(str::to_owned));
    for item in items(&Path::new(ROOT).join("transient-core/src")) {
        match item {
            Item::Struct(item) if types.contains(&item.ident.to_string()) => {
                let Fields::Named(fields) = item.fields else { continue };
                let public = fields.named.iter().filter(|field| is_public(&field.vis));
                offered
                    .extend(public.map(|field| format!("{}.{}", item.ident, field.ident.as_ref().unwrap())));
            }
            Item::Enum(item)
                if types.contains(&item.ident.to_string())
                    && !variants_elsewhere.contains(&item.ident.to_string().as_str()) =>
            {
                offered
                    .extend(item.variants.iter().map(|variant| format!("{}::{}", item.ident, variant.ident)));
            }
            Item::Impl(item) if item.trait_.is_none() => {
                let syn::Type::Path(path) = &*item.self_ty else { continue };
                let Some(name) = path.path.get_ident().filter(|name| types.contains(&name.to_string()))
                else {
                    continue;
                };
                for member in &item.items {
                    if let ImplItem::Fn(function) = member
                        && is_public(&function.vis)
                    {
                        offered.insert(format!("{name}::{}", function.sig.ident));
                    }
                }
            }
            _ => {}
        }
    }
    offered
}

/// Returns the names in backquotes of one column of the page.
fn column(page: &str, number: usize) -> BTreeSet<String> {
    let rows = page.lines().filter(|line| line.starts_with('|') && !line.starts_with("| ---"));
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert!(cells.len() == 3 && cells.iter().all(|cell| !cell.trim().is_empty()), "an empty cell: {row}");
        let cell = cells[number];
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn everything_has_a_name_in_c() {
    let page = read("docs/faces.md");
    let (rust, c) = (column(&page, 0), column(&page, 1));
    let missing: Vec<_> = offered().difference(&rust).cloned().collect();
    assert!(missing.is_empty(), "docs/faces.md lacks {missing:?}");
    let header = read("include/transient.h");
    let words: BTreeSet<&str> = header
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let unknown: Vec<_> = c.iter().filter(|name| !words.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "docs/faces.md names what the header lacks: {unknown:?}");
    let functions =
        header.lines().filter(|line| !line.starts_with(['/', ' ', '#', '}']) && !line.starts_with("typedef"));
    let functions = functions.filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next());
    let unnamed: Vec<_> = functions.filter(|name| !name.is_empty() && !c.contains(*name)).collect();
    assert!(unnamed.is_empty(), "docs/faces.md lacks these functions of the header: {unnamed:?}");
}

//! The workspace as the checks see it: its members, from `cargo metadata`, and its files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::process;

const METADATA_LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) members: Vec<Member>,
    /// Every file of the project, relative to the root, sorted.
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Default)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Absolute path of its `Cargo.toml`.
    pub(crate) manifest: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) has_features: bool,
}

#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self, String> {
        let root = root()?;
        let mut command = process::cargo(&root);
        command.args(["metadata", "--no-deps", "--format-version", "1", "--color", "never"]);
        let metadata = process::capture(&mut command, METADATA_LIMIT)?;
        let mut files = Vec::new();
        walk(&root, Path::new(""), &mut files)?;
        files.sort();
        Ok(Self { members: members(&metadata)?, root, files })
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The project's files with this ending, relative to the root.
    pub(crate) fn files_ending(&self, ending: &str) -> impl Iterator<Item = &Path> {
        self.files
            .iter()
            .map(PathBuf::as_path)
            .filter(move |path| path.extension().is_some_and(|e| e == ending))
    }

    pub(crate) fn read(&self, file: &Path) -> Result<String, String> {
        fs::read_to_string(self.root.join(file))
            .map_err(|error| format!("cannot read {}: {error}", file.display()))
    }
}

fn root() -> Result<PathBuf, String> {
    let own = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let parent = Path::new(&own).parent().ok_or("the workspace's root cannot be found")?;
    Ok(parent.to_path_buf())
}

/// Walks the tree instead of asking git, so that a downloaded archive is checked like a clone.
/// Build output, installed packages and hidden folders are not the project's.
fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot list {}: {error}", root.join(folder).display());
    for entry in fs::read_dir(root.join(folder)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let kind = entry.file_type().map_err(failed)?;
        let hidden = name.to_string_lossy().starts_with('.');
        if kind.is_file() {
            files.push(folder.join(name));
        } else if kind.is_dir() && !hidden && name != "target" && name != "node_modules" {
            walk(root, &folder.join(name), files)?;
        }
    }
    Ok(())
}

fn members(metadata: &str) -> Result<Vec<Member>, String> {
    let metadata: Value =
        serde_json::from_str(metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    packages
        .iter()
        .map(|package| member(package).ok_or_else(|| format!("cargo metadata: {package}")))
        .collect()
}

fn member(package: &Value) -> Option<Member> {
    let dependencies = package["dependencies"].as_array()?;
    Some(Member {
        name: package["name"].as_str()?.to_owned(),
        manifest: package["manifest_path"].as_str()?.into(),
        dependencies: dependencies.iter().map(dependency).collect::<Option<_>>()?,
        has_features: !package["features"].as_object()?.is_empty(),
    })
}

fn dependency(dependency: &Value) -> Option<Dependency> {
    let kind = match dependency["kind"].as_str() {
        None => Kind::Normal,
        Some("build") => Kind::Build,
        Some("dev") => Kind::Dev,
        Some(_) => return None,
    };
    Some(Dependency { name: dependency["name"].as_str()?.to_owned(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_with_their_dependencies_by_kind() {
        let metadata = r#"{"packages": [{
            "name": "a", "manifest_path": "/r/a/Cargo.toml", "features": {"default": []},
            "dependencies": [
                {"name": "serde", "kind": null, "rename": "s"},
                {"name": "cc", "kind": "build"},
                {"name": "proptest", "kind": "dev"}]}]}"#;
        let members = members(metadata).unwrap();
        assert_eq!(members.len(), 1);
        assert!(members[0].has_features);
        let kinds: Vec<_> = members[0].dependencies.iter().map(|d| (d.name.as_str(), d.kind)).collect();
        assert_eq!(kinds, [("serde", Kind::Normal), ("cc", Kind::Build), ("proptest", Kind::Dev)]);
    }

    #[test]
    fn metadata_of_another_shape_is_an_error() {
        assert!(members("{}").is_err());
        assert!(members(r#"{"packages": [{"name": "a"}]}"#).is_err());
    }

    #[test]
    fn the_project_itself_loads_and_skips_build_output() {
        let workspace = Workspace::load().unwrap();
        assert!(workspace.member("xtask").is_some());
        assert!(workspace.files.contains(&PathBuf::from("xtask/src/workspace.rs")));
        assert!(workspace.files.iter().all(|file| !file.starts_with("target") && !file.starts_with(".git")));
    }
}

//! Which workspace crate may depend on which: core ← cloakroom ← stores and adapters ← server; one crate opens any store.
//!
//! Development dependencies are free: a store's tests need the suite, an adapter's tests need a store.

use super::Report;
use crate::workspace::{Kind, Member, Workspace};

/// A crate's place in the house. What it may use follows from its place alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Core,
    Engine,
    /// Knows nothing of cookies or adapters.
    Store,
    /// The conformance suite that every store passes.
    Suite,
    /// Names no store.
    Adapter,
    /// Opens any store by its URL.
    Opener,
    /// The only layer that sees both stores and adapters.
    Application,
    /// Real engines, for tests.
    Engines,
    /// Tools of the project's own.
    Tool,
}

impl Layer {
    fn may_use(self) -> &'static [Self] {
        match self {
            Self::Core | Self::Engines => &[],
            Self::Tool => &[Self::Engines],
            Self::Engine => &[Self::Core],
            Self::Store | Self::Adapter => &[Self::Engine],
            // It makes records of its own, secrets and all.
            Self::Suite => &[Self::Core, Self::Engine],
            Self::Opener => &[Self::Engine, Self::Store],
            Self::Application => &[Self::Engine, Self::Opener, Self::Adapter],
        }
    }
}

/// Every crate of the workspace. A new one is one line, and its place is a decision.
const LAYERS: &[(&str, Layer)] = &[
    ("cloakroom-core", Layer::Core),
    ("cloakroom", Layer::Engine),
    ("cloakroom-sealed", Layer::Store),
    ("cloakroom-sqlite", Layer::Store),
    ("cloakroom-postgres", Layer::Store),
    ("cloakroom-mysql", Layer::Store),
    ("cloakroom-redis", Layer::Store),
    ("cloakroom-memcached", Layer::Store),
    ("cloakroom-dynamodb", Layer::Store),
    ("cloakroom-stores", Layer::Opener),
    ("cloakroom-store-test", Layer::Suite),
    ("cloakroom-tower", Layer::Adapter),
    ("cloakroom-actix", Layer::Adapter),
    ("cloakroom-server", Layer::Application),
    ("probe", Layer::Application),
    ("engines", Layer::Engines),
    ("xtask", Layer::Tool),
];

pub(super) fn check(workspace: &Workspace, report: &mut Report) {
    for member in &workspace.members {
        check_member(member, &workspace.members, report);
    }
}

fn check_member(member: &Member, members: &[Member], report: &mut Report) {
    let Some(layer) = layer(&member.name) else {
        report.fail(format!(
            "arrows: no place is stated for the crate `{}`: add it to LAYERS in xtask/src/house/arrows.rs",
            member.name
        ));
        return;
    };
    let inside = |name: &str| members.iter().any(|other| other.name == name);
    for dependency in member.dependencies.iter().filter(|d| d.kind != Kind::Dev && inside(&d.name)) {
        let allowed = self::layer(&dependency.name).is_some_and(|used| layer.may_use().contains(&used));
        if !allowed {
            report.fail(format!(
                "arrows: `{}` ({layer:?}) depends on `{}`; it may depend on {}",
                member.name,
                dependency.name,
                names(layer.may_use())
            ));
        }
    }
}

fn layer(name: &str) -> Option<Layer> {
    LAYERS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, layer)| *layer)
}

fn names(layers: &[Layer]) -> String {
    let allowed = LAYERS.iter().filter(|(_, layer)| layers.contains(layer)).map(|(name, _)| *name);
    let allowed: Vec<_> = allowed.collect();
    if allowed.is_empty() { "no crate of the workspace".to_owned() } else { allowed.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn member(name: &str, dependencies: &[(&str, Kind)]) -> Member {
        let dependencies = dependencies.iter().map(|&(name, kind)| Dependency { name: name.into(), kind });
        Member { name: name.into(), dependencies: dependencies.collect(), ..Member::default() }
    }

    fn failures(members: Vec<Member>) -> Vec<String> {
        let mut report = Report::default();
        check(&Workspace { root: "/".into(), members, files: Vec::new() }, &mut report);
        report.failures
    }

    fn sound() -> Vec<Member> {
        use Kind::{Dev, Normal};
        vec![
            member("cloakroom-core", &[("serde", Normal)]),
            member("cloakroom", &[("cloakroom-core", Normal), ("cloakroom-store-test", Dev)]),
            member("cloakroom-store-test", &[("cloakroom", Normal)]),
            member("cloakroom-sqlite", &[("cloakroom", Normal), ("cloakroom-store-test", Dev)]),
            member("cloakroom-tower", &[("cloakroom", Normal), ("cloakroom-sqlite", Dev)]),
            member(
                "cloakroom-server",
                &[("cloakroom", Normal), ("cloakroom-stores", Normal), ("cloakroom-tower", Normal)],
            ),
            member("cloakroom-stores", &[("cloakroom", Normal), ("cloakroom-sqlite", Normal)]),
            member("xtask", &[("serde_json", Normal)]),
        ]
    }

    #[test]
    fn the_intended_arrows_pass() {
        assert_eq!(failures(sound()), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_the_wrong_way_fails() {
        let wrong = [
            ("cloakroom-core", "cloakroom"),
            ("cloakroom", "cloakroom-sqlite"),
            ("cloakroom-sqlite", "cloakroom-core"),
            ("cloakroom-sqlite", "cloakroom-tower"),
            ("cloakroom-tower", "cloakroom-sqlite"),
            ("cloakroom-store-test", "cloakroom-sqlite"),
            ("cloakroom-server", "cloakroom-core"),
            ("cloakroom-server", "cloakroom-sqlite"),
            ("cloakroom-stores", "cloakroom-tower"),
            ("xtask", "cloakroom"),
        ];
        for (from, to) in wrong {
            for kind in [Kind::Normal, Kind::Build] {
                let mut members = sound();
                let member = members.iter_mut().find(|member| member.name == from).unwrap();
                member.dependencies.push(Dependency { name: to.into(), kind });
                let failures = failures(members);
                assert_eq!(failures.len(), 1, "{from} -> {to}: {failures:?}");
                assert!(failures[0].contains(&format!("depends on `{to}`")), "{failures:?}");
            }
        }
    }

    #[test]
    fn a_crate_without_a_place_fails_and_says_where_to_add_it() {
        let mut members = sound();
        members.push(member("cloakroom-papyrus", &[]));
        let failures = failures(members);
        assert!(
            failures.len() == 1 && failures[0].contains("LAYERS in xtask/src/house/arrows.rs"),
            "{failures:?}"
        );
    }
}

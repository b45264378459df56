//! A ring in a file that its owner alone can read.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cloakroom_core::keyring::KeyRing;

use super::{RingSource, fresh_key};
use crate::{
    Error,
    clock::{Clock, OsEntropy, SystemClock},
    store::Answer,
};

/// A ring in a file of this machine, or of a file system that the fleet shares.
///
/// Changes replace the file whole, so a reader sees the old ring or the new one; those who change it take turns by
/// locking a file beside it.
#[derive(Debug)]
pub struct RingFile {
    path: PathBuf,
    /// Whether whoever follows it is reading it.
    is_being_read: Arc<AtomicBool>,
}

impl Clone for RingFile {
    /// Of the same file, and followed by itself.
    fn clone(&self) -> Self {
        Self::new(&self.path)
    }
}

/// More than any ring has. What is longer is some other file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// How long a change waits for others': less than what waits for it, so that none that was given up is made later.
const TURN_MAX: Duration = Duration::from_secs(5);
const TURN_POLL_PERIOD: Duration = Duration::from_millis(20);

impl RingFile {
    /// The ring at this path, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), is_being_read: Arc::default() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a ring of one fresh key, and keeps it in a new file.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if there is a file already, or none can be made there; [`Error::is_entropy`] if there
    /// are no random bytes; [`Error::is_unavailable`] if another program is changing the ring for longer than five
    /// seconds.
    pub fn create(&self) -> Result<KeyRing, Error> {
        let (id, material) = fresh_key(&OsEntropy)?;
        let ring = KeyRing::new(id, material, SystemClock.now())?;
        let _turn = self.lock(Instant::now() + TURN_MAX)?;
        if self.path.exists() {
            return Err(Error::invalid(format!(
                "{} exists: keys are never overwritten; rotate them, or name another file",
                self.path.display()
            )));
        }
        self.write(&ring)?;
        Ok(ring)
    }

    /// Reads the ring.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if there is no file, it is no ring, or others than its owner and group may read it;
    /// [`Error::is_unavailable`] if reading fails.
    pub fn read(&self) -> Result<KeyRing, Error> {
        let shown = self.path.display();
        let file = File::open(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::invalid(format!("there is no key ring at {shown}: make one with `cloakroom keys new`"))
            }
            io::ErrorKind::PermissionDenied => Error::invalid(format!(
                "the key ring {shown} can't be read by this user: make it the file's owner"
            )),
            _ => Error::unavailable(format!("the key ring {shown} can't be read"), error),
        })?;
        let failed = |error| Error::unavailable(format!("the key ring {shown} can't be read"), error);
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(Error::invalid(format!(
                "{shown} is no key ring: give the path of the file with the keys"
            )));
        }
        self.check_rights(&metadata)?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::invalid(format!("{shown} is no key ring: it isn't text")))?;
        KeyRing::parse(&text).map_err(|error| Error::invalid(format!("{shown}: {error}")))
    }

    /// Keeps another ring in its place, unless it isn't the expected one any more; `false` if it isn't. The new ring
    /// is on the disk when this returns, with the owner, group and mode of the old one: whoever could read that can read
    /// it.
    ///
    /// # Errors
    /// As [`RingFile::read`]; [`Error::is_unavailable`] if writing fails, this user can't give the file to its owner, or
    /// another program is changing the ring for longer than five seconds: the old ring is kept then.
    pub fn replace(&self, expected: &KeyRing, ring: &KeyRing) -> Result<bool, Error> {
        self.replace_until(Instant::now() + TURN_MAX, expected, ring)
    }

    fn replace_until(&self, latest: Instant, expected: &KeyRing, ring: &KeyRing) -> Result<bool, Error> {
        let _turn = self.lock(latest)?;
        if !self.read()?.is_same(expected) {
            return Ok(false);
        }
        self.write(ring)?;
        Ok(true)
    }

    #[cfg(unix)]
    fn check_rights(&self, metadata: &fs::Metadata) -> Result<(), Error> {
        use std::os::unix::fs::PermissionsExt as _;

        // A group may read it, as secrets mounted into a container are; nobody else, and only the owner may write.
        let mode = metadata.permissions().mode();
        if mode & 0o027 == 0 {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "others than its owner can read or write the key ring {0} (mode {1:03o}), and forge sessions: run \
             `chmod 600 {0}`, and rotate the keys if somebody may have read them",
            self.path.display(),
            mode & 0o777
        )))
    }

    #[cfg(not(unix))]
    fn check_rights(&self, _: &fs::Metadata) -> Result<(), Error> {
        Ok(())
    }

    fn write(&self, ring: &KeyRing) -> Result<(), Error> {
        let path = self.target();
        let new = beside(&path, ".new");
        self.write_to(ring, &new, &path).map_err(|error| {
            let _ = fs::remove_file(&new);
            Error::unavailable(
                format!("the key ring {} can't be written: {error}", self.path.display()),
                error,
            )
        })
    }

    fn write_to(&self, ring: &KeyRing, new: &Path, path: &Path) -> io::Result<()> {
        // Left behind by a process that was killed. The lock is ours.
        if new.exists() {
            fs::remove_file(new)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(new)?;
        if let Ok(old) = fs::metadata(path) {
            keep_rights(&file, &old)?;
        }
        file.write_all(ring.expose().as_bytes())?;
        file.sync_all()?;
        drop(file);
        fs::rename(new, path)?;
        // The name is on the disk when its folder is.
        #[cfg(unix)]
        File::open(folder_of(path))?.sync_all()?;
        Ok(())
    }

    /// The file itself, where the path is a link to it: a link is to stay one.
    fn target(&self) -> PathBuf {
        fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    /// Waits for its turn to change the ring, which ends when the answer is dropped; or until then, and not for ever: the
    /// change is dated, and whoever wanted it has given it up.
    fn lock(&self, latest: Instant) -> Result<File, Error> {
        let lock = beside(&self.target(), ".lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let failed = |error| {
            Error::invalid(format!(
                "the key ring {} can't be changed, for the lock file {} can't be had: {error}",
                self.path.display(),
                lock.display()
            ))
        };
        let file = options.open(&lock).map_err(failed)?;
        loop {
            let tried = file.try_lock();
            match tried {
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                // Even with the lock: this thread may have waited for its turn to run.
                _ if Instant::now() >= latest => {
                    let message = format!(
                        "another program is changing the key ring {}, and takes long: see who holds {}",
                        self.path.display(),
                        lock.display()
                    );
                    return Err(Error::unavailable(message, "the lock wasn't free in time"));
                }
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => thread::sleep(TURN_POLL_PERIOD),
            }
        }
        if let Ok(ring) = fs::metadata(self.target()) {
            // So that the ring's owner can take his turn as well. Who can't do it took over a lock that he has.
            let _ = keep_rights(&file, &ring);
        }
        Ok(file)
    }
}

impl RingSource for RingFile {
    fn load(&self) -> Answer<'_, KeyRing> {
        if self.is_being_read.swap(true, Ordering::Acquire) {
            // A thread waits for it, and more of them would wait no less.
            let message = format!("the key ring {} is being read, and that takes long", self.path.display());
            return Answer::ready(Err(Error::unavailable(message, "its file system may hang")));
        }
        let (file, being_read) = (self.clone(), BeingRead(Arc::clone(&self.is_being_read)));
        Answer::later(in_background(move || {
            let ring = file.read();
            drop(being_read);
            ring
        }))
    }

    fn replace(&self, expected: &KeyRing, ring: &KeyRing) -> Answer<'_, bool> {
        let (file, expected, ring) = (self.clone(), expected.clone(), ring.clone());
        let latest = Instant::now() + TURN_MAX;
        Answer::later(in_background(move || file.replace_until(latest, &expected, &ring)))
    }
}

/// Says that the file isn't being read any more when it is dropped: read or not, or in a panic.
struct BeingRead(Arc<AtomicBool>);

impl Drop for BeingRead {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A file system of the network can hang: that is no reason to hold up others' requests.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let failed = |error| Error::unavailable("the key ring's file couldn't be looked at", error);
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// Gives a file the owner, group and mode that another has.
#[cfg(unix)]
fn keep_rights(file: &File, of: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};

    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (of.uid(), of.gid()) {
        fchown(file, Some(of.uid()), Some(of.gid())).map_err(|error| {
            let message = format!(
                "it belongs to another user or group ({}:{}), who couldn't read it any more: change it as its owner, or as \
                 root ({error})",
                of.uid(),
                of.gid()
            );
            io::Error::new(error.kind(), message)
        })?;
    }
    file.set_permissions(of.permissions())
}

#[cfg(not(unix))]
fn keep_rights(_: &File, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(unix)]
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(all(test, unix))]
mod tests;

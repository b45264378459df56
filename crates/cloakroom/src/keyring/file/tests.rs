//! A ring in a file.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

struct Folder(PathBuf);

fn folder(name: &str) -> Folder {
    let path = std::env::temp_dir().join(format!("cloakroom-ring-{name}-{}", std::process::id()));
    let _ = fs::create_dir_all(&path);
    Folder(path)
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_ring_is_made_once_and_its_owner_alone_reads_it() {
    let folder = folder("made");
    let file = RingFile::new(folder.0.join("keys"));
    assert!(file.read().unwrap_err().to_string().contains("cloakroom keys new"));
    let ring = file.create().unwrap();
    assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(file.read().unwrap().is_same(&ring));
    assert!(file.create().unwrap_err().to_string().contains("never overwritten"));
    assert!(file.read().unwrap().is_same(&ring));
}

#[test]
fn a_ring_that_others_can_read_is_refused_with_the_mend() {
    let folder = folder("rights");
    let file = RingFile::new(folder.0.join("keys"));
    file.create().unwrap();
    for (mode, is_fine) in
        [(0o600, true), (0o400, true), (0o440, true), (0o644, false), (0o620, false), (0o602, false)]
    {
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        let read = file.read();
        assert_eq!(read.is_ok(), is_fine, "{mode:o}");
        if let Err(error) = read {
            assert!(error.is_invalid() && error.to_string().contains("chmod 600"), "{error}");
        }
    }
}

#[test]
fn what_is_no_ring_is_refused_and_never_repeated() {
    let folder = folder("wrong");
    let file = RingFile::new(folder.0.join("keys"));
    for text in [&b"hunter2"[..], b"\xff\xfe", &vec![b'x'; 70_000]] {
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        let error = file.read().unwrap_err();
        assert!(error.is_invalid() && !error.to_string().contains("hunter2"), "{error}");
    }
    assert!(RingFile::new(&folder.0).read().unwrap_err().is_invalid(), "a folder");
}

#[test]
fn of_many_who_change_it_at_once_each_change_counts_once() {
    let folder = folder("race");
    let file = RingFile::new(folder.0.join("keys"));
    let start = file.create().unwrap();
    let won: usize = std::thread::scope(|scope| {
        let one = || {
            let mut next = start.clone();
            let (id, material) = fresh_key(&OsEntropy).unwrap();
            next.publish(id, material, SystemClock.now()).unwrap();
            usize::from(file.replace(&start, &next).unwrap())
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(won, 1);
    assert_eq!(file.read().unwrap().keys().len(), 2);
}

/// Bug: `sudo cloakroom keys rotate` left a ring that the service couldn't read. Cause: the new file was the caller's
/// own, whatever the old one was. Mend: it gets the old one's owner, group and mode.
#[test]
fn a_changed_ring_stays_its_owners() {
    use std::os::unix::fs::{MetadataExt as _, chown};

    let folder = folder("owner");
    let file = RingFile::new(folder.0.join("keys"));
    let start = file.create().unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
    // Only root can give a file away.
    let is_given = chown(file.path(), Some(12_345), Some(12_346)).is_ok();
    let mut next = start.clone();
    let (id, material) = fresh_key(&OsEntropy).unwrap();
    next.publish(id, material, SystemClock.now()).unwrap();
    assert!(file.replace(&start, &next).unwrap());
    let now = fs::metadata(file.path()).unwrap();
    assert_eq!(now.permissions().mode() & 0o777, 0o640);
    if is_given {
        assert_eq!((now.uid(), now.gid()), (12_345, 12_346));
        let lock = fs::metadata(folder.0.join("keys.lock")).unwrap();
        assert_eq!(lock.uid(), 12_345);
    }
}

/// Bug: a ring was never followed again once a look at it was given up before it began, and of two who followed clones
/// of one file, one was refused while the other read. Cause: the mark that it is being read was set when the look was
/// asked for, was taken back at the end of the read alone, and was shared by clones. Mend: a guard takes it back,
/// and each clone has its own.
#[tokio::test]
async fn a_look_that_was_given_up_is_no_look_under_way() {
    let folder = folder("given-up");
    let file = RingFile::new(folder.0.join("keys"));
    let ring = file.create().unwrap();
    drop(file.load());
    let under_way = file.load();
    assert!(file.load().await.unwrap_err().is_unavailable(), "one thread is enough");
    assert!(file.clone().load().await.unwrap().is_same(&ring));
    assert!(under_way.await.unwrap().is_same(&ring));
    assert!(file.load().await.unwrap().is_same(&ring));
}

#[test]
fn a_link_stays_a_link() {
    let folder = folder("link");
    let real = RingFile::new(folder.0.join("real"));
    let start = real.create().unwrap();
    let link = RingFile::new(folder.0.join("link"));
    std::os::unix::fs::symlink(real.path(), link.path()).unwrap();
    let mut next = start.clone();
    let (id, material) = fresh_key(&OsEntropy).unwrap();
    next.publish(id, material, SystemClock.now()).unwrap();
    assert!(link.replace(&start, &next).unwrap());
    assert!(fs::symlink_metadata(link.path()).unwrap().is_symlink());
    assert!(real.read().unwrap().is_same(&next));
}

/// Bug: a change that had been given up was made hours later, dated as of when it was wanted, so that a key became the
/// primary as soon as it was published; and each try left a thread behind. Cause: a change waited for its turn for ever.
/// Mend: it waits for less time than is waited for it, and isn't made afterwards.
#[tokio::test]
async fn a_change_whose_turn_doesnt_come_is_not_made() {
    let folder = folder("held");
    let file = RingFile::new(folder.0.join("keys"));
    let start = file.create().unwrap();
    let mut next = start.clone();
    let (id, material) = fresh_key(&OsEntropy).unwrap();
    next.publish(id, material, SystemClock.now()).unwrap();
    let holder = File::open(folder.0.join("keys.lock")).unwrap();
    holder.lock().unwrap();
    let change = RingSource::replace(&file, &start, &next).await;
    assert!(change.unwrap_err().is_unavailable());
    holder.unlock().unwrap();
    // Whoever waited would have it now.
    assert!(file.replace(&start, &start).unwrap());
    assert!(file.read().unwrap().is_same(&start));
    // One whose time is over when its turn comes.
    assert!(file.replace_until(Instant::now(), &start, &next).unwrap_err().is_unavailable());
    assert!(file.read().unwrap().is_same(&start));
    assert!(RingSource::replace(&file, &start, &next).await.unwrap());
}

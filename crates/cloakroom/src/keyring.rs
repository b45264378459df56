//! Key rings: where they are kept, and how a running program follows them.
//!
//! [`KeyRing`] is the ring itself, a value. [`LiveRing`] is a program's view of one that is kept elsewhere and changes: in
//! a [file](RingFile), an [environment variable](LiveRing::from_environment), or a source of the application's own. It
//! reads the ring anew from time to time, and at once when something names a key that it doesn't know.
//!
//! ```
//! # let folder = std::env::temp_dir().join(format!("cloakroom-keyring-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("cloakroom.keys");
//! use cloakroom::keyring::{LiveRing, RingFile};
//!
//! # async fn demo(path: std::path::PathBuf) -> Result<(), cloakroom::Error> {
//! let file = RingFile::new(&path);
//! file.create()?; // As `cloakroom keys new` does.
//! let ring = LiveRing::open(file).await?;
//! assert_eq!(ring.now().keys().len(), 1);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(demo(path)).unwrap();
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod file;
mod live;
mod rotate;
mod unknown;

pub use cloakroom_core::keyring::{Key, KeyId, KeyRing, Material, Plan, Schedule, State, Step};
pub use file::RingFile;
pub use live::{LiveRing, RingSource};
pub use rotate::{apply, fresh_key};

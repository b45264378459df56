//! The scripts: each is one change, made whole or not at all, in one round trip.

use std::sync::OnceLock;

use redis::{Cmd, Script};

/// A script, known to the engine by its hash once it has run there.
pub(crate) struct Lua {
    code: &'static str,
    hash: OnceLock<String>,
}

macro_rules! lua {
    ($flags:literal, $($file:literal),+) => {
        Lua {
            code: concat!("#!lua", $flags, "\n", $(include_str!(concat!("lua/", $file))),+),
            hash: OnceLock::new(),
        }
    };
}

pub(crate) static CREATE: Lua = lua!("", "common.lua", "enter.lua", "create.lua");
pub(crate) static REPLACE: Lua = lua!("", "common.lua", "enter.lua", "replace.lua");
pub(crate) static ENTER: Lua = lua!("", "common.lua", "enter.lua", "enter_alone.lua");
// The others make nothing grow that lasts, and a logout must work when the engine's memory is full.
pub(crate) static TOUCH: Lua = lua!(" flags=allow-oom", "common.lua", "touch.lua");
pub(crate) static END: Lua = lua!(" flags=allow-oom", "common.lua", "end.lua");
pub(crate) static HEAL: Lua = lua!(" flags=allow-oom", "common.lua", "heal.lua");
pub(crate) static NOTE: Lua = lua!(" flags=allow-oom", "common.lua", "note.lua");
pub(crate) static CUT: Lua = lua!(" flags=allow-oom", "common.lua", "cut.lua");

/// What a script works on: keys, all of one shard, and arguments.
pub(crate) struct Call<'a> {
    pub(crate) keys: &'a [&'a [u8]],
    pub(crate) arguments: &'a [&'a [u8]],
}

impl Lua {
    /// By its hash, which an engine refuses that doesn't know it.
    pub(crate) fn by_hash(&self, call: &Call<'_>) -> Cmd {
        let hash = self.hash.get_or_init(|| Script::new(self.code).get_hash().to_owned());
        call.command("EVALSHA", hash)
    }

    /// By its text, by which the engine comes to know it.
    pub(crate) fn by_text(&self, call: &Call<'_>) -> Cmd {
        call.command("EVAL", self.code)
    }
}

impl Call<'_> {
    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(self.keys).arg(self.arguments);
        command
    }
}

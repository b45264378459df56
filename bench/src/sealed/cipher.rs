//! Sealing and opening 256 bytes, beside the bare cipher.

use std::{hint::black_box, sync::Arc};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use cloakroom_sealed::Sealer;

use crate::{
    figures::{Figures, Stopwatch},
    sealed::ring,
    table::Table,
};

/// A sealed value costs at most this many times the bare cipher.
const BOUND: f64 = 4.0;

const ROUNDS: usize = 1_000;
const CALLS: u32 = 1_000;

pub(super) fn run() {
    let sealer = Sealer::new(Arc::new(ring()), "__Host-session", "session").expect("the name is a cookie's");
    let bare = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[0x3c; 32]).expect("32 bytes are a key"));
    let plaintext = [0x5a; 256];
    let (mut bare_ns, mut sealed_ns) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare_ns.push(per_call_ns(|counter| {
            let mut nonce = [0; 12];
            nonce[..4].copy_from_slice(&counter.to_le_bytes());
            let unique = || Nonce::assume_unique_for_key(nonce);
            let mut buffer = [0; 272];
            buffer[..256].copy_from_slice(&plaintext);
            let tag = bare.seal_in_place_separate_tag(unique(), Aad::empty(), &mut buffer[..256]);
            buffer[256..].copy_from_slice(tag.expect("it is short").as_ref());
            black_box(bare.open_in_place(unique(), Aad::empty(), &mut buffer).expect("it was sealed"));
        }));
        sealed_ns.push(per_call_ns(|counter| {
            let mut salt = [0; 24];
            salt[..4].copy_from_slice(&counter.to_le_bytes());
            let value = sealer.seal(black_box(&plaintext), &salt).expect("it is short");
            black_box(sealer.open(value.as_bytes()).expect("it was sealed"));
        }));
    }
    let ratio = Figures::new(sealed_ns.iter().zip(&bare_ns).map(|(sealed, bare)| sealed / bare));
    println!("## The seal\n\n{ROUNDS} rounds of {CALLS} calls, in turns.\n");
    let mut table = Table::new(["seal and open 256 bytes", "ns of CPU time, median (p10 to p90)"]);
    table.row(["AES-256-GCM alone, one key".to_owned(), Figures::new(bare_ns).whole()]);
    table.row(["sealed: keys derived, committed, base64url".to_owned(), Figures::new(sealed_ns).whole()]);
    let verdict = if ratio.median() <= BOUND { "holds" } else { "MISSED" };
    println!("{table}\n- {verdict}: at most {BOUND} times the bare cipher: {:.2} times\n", ratio.median());
}

fn per_call_ns(mut call: impl FnMut(u32)) -> f64 {
    let stopwatch = Stopwatch::start();
    (0..CALLS).for_each(&mut call);
    stopwatch.lap().cpu.as_nanos() as f64 / f64::from(CALLS)
}

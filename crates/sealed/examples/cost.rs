//! What sealing costs beside the bare cipher: `cargo run --release -p cloakroom-sealed --example cost`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::{hint::black_box, process::ExitCode, sync::Arc, time::Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use cloakroom::{
    Timestamp,
    keyring::{KeyId, KeyRing, Material},
};
use cloakroom_sealed::Sealer;

/// Short enough that many samples aren't interrupted. The least of each kind counts: what else the machine does only ever
/// adds.
const ROUNDS: u32 = 1_000;
const SAMPLES: usize = 1_000;

/// A sealed cookie costs at most this many times the bare cipher.
const RATIO_MAX: f64 = 4.0;

fn main() -> ExitCode {
    let mut random = [0; 32];
    getrandom::fill(&mut random).unwrap();
    let material = Material::new(random).unwrap();
    let ring = KeyRing::new(KeyId::from_bytes([7; 4]), material, Timestamp::ZERO).unwrap();
    let sealer = Sealer::new(Arc::new(ring), "__Host-session", "session").unwrap();
    let bare = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &random).unwrap());
    let plaintext = [0x5a; 256];

    let (mut bare_ns_min, mut sealed_ns_min) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..SAMPLES {
        let bare_ns = per_round_ns(|counter| {
            let mut nonce = [0; 12];
            nonce[..4].copy_from_slice(&counter.to_le_bytes());
            let mut buffer = [0; 272];
            buffer[..256].copy_from_slice(&plaintext);
            let unique = || Nonce::assume_unique_for_key(nonce);
            let tag = bare.seal_in_place_separate_tag(unique(), Aad::empty(), &mut buffer[..256]).unwrap();
            buffer[256..].copy_from_slice(tag.as_ref());
            black_box(bare.open_in_place(unique(), Aad::empty(), &mut buffer).unwrap());
        });
        let sealed_ns = per_round_ns(|counter| {
            let mut salt = [0; 24];
            salt[..4].copy_from_slice(&counter.to_le_bytes());
            let value = sealer.seal(black_box(&plaintext), &salt).unwrap();
            black_box(sealer.open(value.as_bytes()).unwrap());
        });
        (bare_ns_min, sealed_ns_min) = (bare_ns_min.min(bare_ns), sealed_ns_min.min(sealed_ns));
    }
    let (bare_ns, sealed_ns) = (bare_ns_min, sealed_ns_min);
    println!(
        "seal and open of 256 bytes: bare AES-256-GCM {bare_ns:.0} ns, sealed cookie {sealed_ns:.0} ns, {:.2} times",
        sealed_ns / bare_ns
    );
    if sealed_ns <= RATIO_MAX * bare_ns { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn per_round_ns(mut round: impl FnMut(u32)) -> f64 {
    let start = Instant::now();
    (0..ROUNDS).for_each(&mut round);
    start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
}

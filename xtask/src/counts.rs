//! How many tests ran, read from the closing lines of the test runners.

use std::ops::AddAssign;

/// Tests that ran: skipped and ignored ones are in neither number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    pub(crate) fn total(self) -> u64 {
        self.passed + self.failed
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Whose closing line is looked for. One at a time: nextest repeats a failed test's output, and with it the closing
/// line of the one-test libtest run that nextest itself made.
#[derive(Clone, Copy)]
pub(crate) enum Runner {
    Nextest,
    Libtest,
}

impl Runner {
    /// The counts, if this line is a closing line of the runner.
    pub(crate) fn counts_in(self, line: &str) -> Option<Counts> {
        match self {
            Self::Nextest => nextest(line.trim()),
            Self::Libtest => libtest(line.trim()),
        }
    }
}

/// `Summary [   4.111s] 4 tests run: 2 passed (1 leaky), 1 failed, 1 timed out, 1 skipped`
fn nextest(line: &str) -> Option<Counts> {
    let (_, after_time) = line.strip_prefix("Summary [")?.split_once(']')?;
    let (_, numbers) = after_time.split_once("run:")?;
    let mut counts = Counts::default();
    for part in without_parentheses(numbers).split(',') {
        let (number, what) = part.trim().split_once(' ')?;
        match (number.parse::<u64>().ok()?, what.trim()) {
            (number, "passed") => counts.passed += number,
            (_, "skipped") => {}
            // Failed, timed out, could not be started: every other end is a failure.
            (number, _) => counts.failed += number,
        }
    }
    Some(counts)
}

/// `test result: FAILED. 5 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.12s`
fn libtest(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |what: &str| {
        let part = numbers.split(';').find_map(|part| part.trim().strip_suffix(what))?;
        part.trim().parse().ok()
    };
    Some(Counts { passed: number("passed")?, failed: number("failed")? })
}

fn without_parentheses(text: &str) -> String {
    let mut depth = 0_u32;
    let outside = |character: &char| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    };
    text.chars().filter(outside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u64, failed: u64) -> Option<Counts> {
        Some(Counts { passed, failed })
    }

    #[test]
    fn nextest_summaries() {
        let all = [
            ("     Summary [   0.012s] 12 tests run: 12 passed, 0 skipped", counts(12, 0)),
            ("     Summary [   0.012s] 1 test run: 1 passed, 5 skipped", counts(1, 0)),
            (
                "     Summary [   4.1s] 9 tests run: 4 passed (1 slow, 2 leaky), 3 failed, 2 timed out",
                counts(4, 5),
            ),
            (
                "     Summary [   1.0s] 3/30 tests run: 1 passed, 1 failed, 1 exec failed, 2 skipped",
                counts(1, 2),
            ),
            ("     Summary [   0.000s] 0 tests run: 0 passed, 5 skipped", counts(0, 0)),
        ];
        for (line, expected) in all {
            assert_eq!(Runner::Nextest.counts_in(line), expected, "{line}");
        }
    }

    #[test]
    fn libtest_summaries() {
        let tail = "0 ignored; 0 measured; 0 filtered out; finished in 0.12s";
        let ok = format!("test result: ok. 5 passed; 0 failed; {tail}\n");
        let failed = format!("test result: FAILED. 1 passed; 13 failed; {tail}");
        assert_eq!(Runner::Libtest.counts_in(&ok), counts(5, 0));
        assert_eq!(Runner::Libtest.counts_in(&failed), counts(1, 13));
    }

    #[test]
    fn other_lines_count_nothing() {
        let lines = [
            "",
            "        PASS [   0.006s] (1/2) xt ok",
            "running 4 tests",
            "test result: unknown",
            "Summary [x",
        ];
        for line in lines {
            assert_eq!(Runner::Nextest.counts_in(line), None, "{line}");
            assert_eq!(Runner::Libtest.counts_in(line), None, "{line}");
        }
    }

    #[test]
    fn a_runner_ignores_the_closing_line_of_the_other() {
        assert_eq!(Runner::Nextest.counts_in("test result: FAILED. 0 passed; 1 failed; 0 ignored"), None);
        assert_eq!(Runner::Libtest.counts_in("Summary [ 1s] 1 test run: 1 passed, 0 skipped"), None);
    }
}

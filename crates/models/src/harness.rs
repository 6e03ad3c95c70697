//! Runs models: with bounds where three threads need them, and in a process of their own where they must
//! fail.

use std::env;
use std::process::Command;

/// Names the test that the child process is to run as a bare model.
const BARE: &str = "MMAP_RPC_BARE_MUTANT";

/// Explores every interleaving of a model of two threads.
pub(crate) fn unbounded(model: impl Fn() + Sync + Send + 'static) {
    explore(None, model);
}

/// Explores a model with at most `preemptions` involuntary thread switches per execution.
///
/// Where a thread blocks or ends, switching is free; the known bugs of this kind need one or two.
pub(crate) fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    explore(Some(preemptions), model);
}

fn explore(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(model);
}

/// Runs `model`, which a mutant has broken, and fails unless the model fails, saying `fails_with`.
///
/// `test` is the full name of the calling test. The model runs in a child process: a failed model unwinds
/// through guards that touch loom's objects again, and that may abort.
///
/// # Panics
/// If the mutant survives, or the model fails for another reason.
pub(crate) fn must_fail(test: &str, fails_with: &str, model: fn()) {
    if env::var(BARE).is_ok_and(|bare| bare == test) {
        return model();
    }
    let child = Command::new(env::current_exe().expect("the path of this test binary"))
        .args([test, "--exact", "--nocapture"])
        .env(BARE, test)
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("the test binary runs");
    assert!(!child.status.success(), "mutant survived: {test}");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(said.contains(fails_with), "the model failed, but not with {fails_with:?}:\n{said}");
}

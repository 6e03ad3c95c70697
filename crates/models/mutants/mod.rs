//! The table of mutants: what is changed, and which model must notice.

mod calls;
mod fill;
mod flow;
mod lead;
mod park;
mod ring;
mod slab;
mod space;

/// One change to the library that a model must catch.
pub(crate) struct Mutant {
    /// Names the module and the test: `mutants::NAME::is_caught`.
    pub(crate) name: &'static str,
    /// The changed file, seen from the library's `src`; or `models/FILE.rs`, where a rule binds the caller.
    pub(crate) file: &'static str,
    /// What is replaced, and by what; each snippet stands in the file exactly once, or the build fails.
    pub(crate) edits: &'static [(&'static str, &'static str)],
    /// The model that must fail, as `file::function`.
    pub(crate) model: &'static str,
    /// What the failure says, so that a model that fails for another reason does not count.
    pub(crate) fails_with: &'static str,
}

/// All mutants, by the model file that must notice.
pub(crate) const TABLES: [&[Mutant]; 8] = [
    slab::MUTANTS,
    fill::MUTANTS,
    ring::MUTANTS,
    park::MUTANTS,
    lead::MUTANTS,
    calls::MUTANTS,
    space::MUTANTS,
    flow::MUTANTS,
];

//! Names that the program gives, and refusals that hand back what was given.

/// The caller's own name for a descriptor or a read, echoed in every event about it; sitar-io never
/// looks inside. A slab index with a generation makes events about something long gone easy to
/// recognise.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Key(pub u64);

/// A request that could not be taken now: a table is full. Everything that was handed over comes
/// back in it.
#[derive(Debug)]
#[must_use = "a refusal holds what was handed over"]
pub struct Busy<T = ()>(pub T);

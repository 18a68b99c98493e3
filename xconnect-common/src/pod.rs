//! What may be copied from and to a map byte by byte.
#![expect(unsafe_code, reason = "aya takes a type as plain bytes on an unsafe promise alone")]

use crate::{Flow, Gate, Offsets, Traced};

// SAFETY: integers alone, `repr(C)`, and as large as their sum (asserted): no padding, and any bytes are a value.
unsafe impl aya::Pod for Flow {}
// SAFETY: as above.
unsafe impl aya::Pod for Traced {}
// SAFETY: as above.
unsafe impl aya::Pod for Gate {}
// SAFETY: as above.
unsafe impl aya::Pod for Offsets {}

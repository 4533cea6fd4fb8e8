//! Versions and constraints: the order is total, and what is printed reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconcile::model::{Constraint, Prereleases, Version};

fuzz_target!(|texts: (&str, &str, &str)| {
    let (Ok(a), Ok(b)) = (texts.0.parse::<Version>(), texts.1.parse::<Version>()) else { return };
    assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
    assert_eq!(a.to_string().parse::<Version>().as_ref(), Ok(&a));
    if let Ok(constraint) = texts.2.parse::<Constraint>() {
        let _ = constraint.accepts(&a, Prereleases::Wanted);
        assert_eq!(constraint.to_string().parse::<Constraint>().as_ref(), Ok(&constraint));
    }
});

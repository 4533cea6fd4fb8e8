//! Constraints that nothing can fit.

use crate::model::version::Comparison;

/// Whether there is nothing between two bounds.
pub(super) fn contradict(comparisons: &[Comparison]) -> bool {
    use Comparison::{Above, AtLeast, AtMost, Below, Equal};
    let least = comparisons.iter().filter(|c| matches!(c, AtLeast(_) | Above(_) | Equal(_)));
    let most = comparisons.iter().filter(|c| matches!(c, AtMost(_) | Below(_) | Equal(_)));
    let bounds = least.map(Comparison::version).max().zip(most.map(Comparison::version).min());
    let strict = |c: &Comparison, bound| matches!(c, Above(v) | Below(v) if v == bound);
    bounds.is_some_and(|(least, most)| {
        least > most || least == most && comparisons.iter().any(|c| strict(c, least))
    })
}

#[cfg(test)]
mod tests {
    use crate::model::Constraint;

    #[test]
    fn bounds_with_nothing_between_them_are_refused() {
        for text in [">2, <1", ">=2, <=1.9", "^1, >=2.1", "1.x, >3", ">=1.2, <1.2"] {
            let why = text.parse::<Constraint>().unwrap_err();
            assert!(why.contains("no version can be all of that"), "{text}: {why}");
        }
        for text in [">=1, <2", ">=1, <=1", ">1, <1.0.1", "^1, !=1.5", "<2", ">=1"] {
            text.parse::<Constraint>().unwrap();
        }
    }
}

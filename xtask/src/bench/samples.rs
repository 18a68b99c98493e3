//! Samples of one row by figure and round: medians, and ratios within a round.

use std::collections::BTreeMap;

use super::stats::median;

/// One sample a figure and round.
#[derive(Debug)]
pub(crate) struct Samples<F> {
    by_figure: BTreeMap<F, BTreeMap<u32, f64>>,
}

impl<F> Default for Samples<F> {
    fn default() -> Self {
        Self { by_figure: BTreeMap::new() }
    }
}

impl<F: Ord + Copy> Samples<F> {
    /// The sample of a round.
    pub(crate) fn add(&mut self, round: u32, figure: F, value: f64) {
        self.by_figure.entry(figure).or_default().insert(round, value);
    }

    /// All figures, in their order, with the samples of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (F, Vec<f64>)> {
        self.by_figure.iter().map(|(figure, rounds)| (*figure, rounds.values().copied().collect()))
    }

    /// The sample of one round.
    pub(crate) fn of_round(&self, round: u32, figure: F) -> Option<f64> {
        self.by_figure.get(&figure)?.get(&round).copied()
    }

    /// Over the rounds.
    pub(crate) fn median(&self, figure: F) -> Option<f64> {
        Some(median(&self.by_figure.get(&figure)?.values().copied().collect::<Vec<_>>()))
    }

    /// The median of the ratios to another row in the same round: what slows the machine for a while slows
    /// both.
    pub(crate) fn ratio(&self, figure: F, to: Option<&Self>) -> Option<f64> {
        let (own, other) = (self.by_figure.get(&figure)?, to?.by_figure.get(&figure)?);
        let ratios: Vec<_> = own
            .iter()
            .filter_map(|(round, own)| Some(own / other.get(round).filter(|it| **it != 0.0)?))
            .collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(of: &[(u32, f64)]) -> Samples<()> {
        let mut samples = Samples::default();
        for (round, value) in of {
            samples.add(*round, (), *value);
        }
        samples
    }

    #[test]
    fn ratios_are_those_of_one_round() {
        let (own, direct) = (samples(&[(0, 1.0), (1, 5.0), (2, 30.0)]), samples(&[(0, 2.0), (1, 10.0)]));
        assert_eq!(own.ratio((), Some(&direct)), Some(0.5));
        assert_eq!(own.median(()), Some(5.0));
        assert_eq!((own.of_round(2, ()), own.of_round(3, ())), (Some(30.0), None));
        assert_eq!(own.iter().collect::<Vec<_>>(), [((), vec![1.0, 5.0, 30.0])]);
    }

    #[test]
    fn without_the_other_row_there_is_no_ratio() {
        let own = samples(&[(0, 1.0)]);
        assert_eq!(own.ratio((), None), None);
        assert_eq!(own.ratio((), Some(&Samples::default())), None);
        assert_eq!(own.ratio((), Some(&samples(&[(0, 0.0)]))), None);
        assert_eq!(own.ratio((), Some(&samples(&[(1, 2.0)]))), None);
    }
}

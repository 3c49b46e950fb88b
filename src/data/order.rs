//! The order in which a finite set of examples is gone through.

use std::sync::{Arc, Mutex, PoisonError};

use super::checks;
use crate::error::Result;
use crate::tensor::rng::Key;

/// Maps positions to examples: epoch after epoch, each in an order of its own.
#[derive(Debug)]
pub(crate) struct Order {
    len: u64,
    epochs: Option<u64>,
    /// `None`: always the order given.
    shuffle: Option<Key>,
    /// The permutations used last; a batch touches two where it crosses an epoch's end.
    recent: Mutex<Vec<(u64, Arc<Vec<u32>>)>>,
}

impl Order {
    /// `len` examples, `epochs` times (endlessly if `None`), shuffled by (seed, epoch) or in the
    /// order given.
    pub(crate) fn new(len: usize, epochs: Option<u64>, shuffle: bool, seed: u64) -> Self {
        Self {
            len: len as u64,
            epochs,
            shuffle: shuffle.then(|| Key::new(seed).label("order of examples")),
            recent: Mutex::default(),
        }
    }

    /// Number of examples.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether examples come in the order given.
    pub(crate) fn in_order(&self) -> bool {
        self.shuffle.is_none()
    }

    /// Number of positions, `None` if endless.
    pub(crate) fn positions(&self) -> Option<u64> {
        self.epochs.map(|epochs| epochs.saturating_mul(self.len))
    }

    /// The examples at positions `start .. start + size`.
    pub(crate) fn examples(&self, stream: &str, start: u64, size: usize) -> Result<Vec<usize>> {
        checks::positions(stream, start, size, Some(self.len), self.positions())?;
        let mut examples = Vec::with_capacity(size);
        let (mut epoch, mut within) = (start / self.len, start % self.len);
        while examples.len() < size {
            let end = self.len.min(within + (size - examples.len()) as u64);
            match self.permutation(epoch) {
                None => examples.extend((within..end).map(|i| i as usize)),
                Some(order) => {
                    let taken = &order[within as usize..end as usize];
                    examples.extend(taken.iter().map(|&i| i as usize));
                }
            }
            (epoch, within) = (epoch + 1, 0);
        }
        Ok(examples)
    }

    fn permutation(&self, epoch: u64) -> Option<Arc<Vec<u32>>> {
        let key = self.shuffle?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = recent.iter().find(|(known, _)| *known == epoch) {
            return Some(order.clone());
        }
        let order = Arc::new(key.fold(epoch).rng().permutation(self.len as usize));
        if recent.len() == 2 {
            recent.remove(0);
        }
        recent.push((epoch, order.clone()));
        Some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_holds_each_example_once_in_an_order_of_its_own() {
        let order = Order::new(10, Some(3), true, 1);
        let all = order.examples("s", 0, 30).unwrap();
        for epoch in all.chunks(10) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(all[..10], all[10..20]);
        assert_ne!(all[10..20], all[20..]);
        assert_ne!(
            all[..10],
            Order::new(10, Some(3), true, 2)
                .examples("s", 0, 10)
                .unwrap()
        );
        assert!(order.examples("s", 25, 6).is_err());
    }

    #[test]
    fn batches_cross_epochs_and_do_not_depend_on_what_was_asked_before() {
        let order = Order::new(7, None, true, 5);
        let all = order.examples("s", 0, 100).unwrap();
        for (start, size) in [(95, 5), (0, 3), (5, 4), (3, 40), (6, 1)] {
            assert_eq!(
                order.examples("s", start, size).unwrap(),
                all[start as usize..start as usize + size]
            );
        }
        assert_eq!(order.positions(), None);
        assert_eq!(order.examples("s", 7 << 50, 3).unwrap().len(), 3);
    }

    #[test]
    fn the_order_given_is_kept_without_shuffling() {
        let order = Order::new(3, Some(2), false, 0);
        assert_eq!(order.examples("s", 0, 6).unwrap(), vec![0, 1, 2, 0, 1, 2]);
        assert_eq!(order.positions(), Some(6));
    }
}

//! Places for guests: few for each, and never the half of all that is the operators'.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of guests, by name.
#[derive(Debug, Clone)]
pub(super) struct Guests {
    open: Arc<Mutex<HashMap<String, usize>>>,
    each: usize,
    all: usize,
}

/// One guest's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    guests: Guests,
    name: String,
}

impl Guests {
    /// Room for `all` connections, `each` at most under one name.
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self { open: Arc::default(), each, all }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place under this name, if there is room.
    pub(super) fn enter(&self, name: String) -> Option<Place> {
        let mut open = self.lock();
        if open.values().sum::<usize>() >= self.all {
            return None;
        }
        let count = open.entry(name.clone()).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Place { guests: self.clone(), name })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.guests.lock();
        if let Some(count) = open.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_guest_leaves_room_for_the_others() {
        let guests = Guests::new(5, 2);
        let enter = |name: &str| guests.enter(name.to_owned());
        let (first, _second) = (enter("a").unwrap(), enter("a").unwrap());
        assert!(enter("a").is_none());
        let _others = [enter("b").unwrap(), enter("b").unwrap(), enter("c").unwrap()];
        assert!(enter("d").is_none(), "the house is full");
        drop(first);
        assert!(enter("d").is_some());
        assert_eq!(guests.lock().len(), 3, "nothing is kept of those that left");
    }
}

//! A worker's connections and listeners, by a key that cannot be mistaken for a later one.

use crate::mesh::edge::unix::{HeldConsumer, Relay};

/// Where something is, and which of those that were ever there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mesh::edge) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// What epoll watches for a worker.
pub(in crate::mesh::edge) enum Slot {
    /// The listening socket of the link with this number.
    Listener(u64),
    /// A consumer whose provider is not connected yet.
    Held(HeldConsumer),
    /// A connection.
    Relay(Box<Relay>),
}

#[derive(Default)]
struct Place {
    generation: u32,
    slot: Option<Slot>,
}

/// The slots of one worker.
#[derive(Default)]
pub(in crate::mesh::edge) struct Slots {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Slots {
    pub(in crate::mesh::edge) fn insert(&mut self, slot: Slot) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            // Each place holds at least one descriptor, of which there are fewer than 2^30.
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        place.slot = Some(slot);
        Key { index, generation: place.generation }
    }

    pub(in crate::mesh::edge) fn get(&mut self, key: Key) -> Option<&mut Slot> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation == key.generation { place.slot.as_mut() } else { None }
    }

    pub(in crate::mesh::edge) fn remove(&mut self, key: Key) -> Option<Slot> {
        self.get(key)?;
        let place = &mut self.places[key.index as usize];
        // The all-ones generation is left out: with it a token could be the bell's.
        place.generation = if place.generation >= u32::MAX - 1 { 0 } else { place.generation + 1 };
        self.free.push(key.index);
        place.slot.take()
    }

    /// The consumer held under this key.
    pub(in crate::mesh::edge) fn held(&mut self, key: Key) -> Option<&mut HeldConsumer> {
        match self.get(key)? {
            Slot::Held(held) => Some(held),
            _ => None,
        }
    }

    /// Keys of all slots that `wanted` names.
    pub(in crate::mesh::edge) fn keys(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<Key> {
        let places = self.places.iter().enumerate();
        places
            .filter(|(_, place)| place.slot.as_ref().is_some_and(&wanted))
            .map(|(index, place)| Key { index: index as u32, generation: place.generation })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_nothing() {
        let mut slots = Slots::default();
        let first = slots.insert(Slot::Listener(1));
        assert!(slots.remove(first).is_some());
        let second = slots.insert(Slot::Listener(2));
        assert_eq!(first.index, second.index);
        assert!(slots.get(first).is_none() && slots.remove(first).is_none());
        assert!(matches!(slots.get(second), Some(Slot::Listener(2))));
        assert_eq!(slots.keys(|_| true), vec![second]);
    }
}

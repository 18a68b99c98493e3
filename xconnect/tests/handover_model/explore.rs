//! Breadth-first search through all states: none is left out, none is guessed by its hash alone.

use std::hash::{Hash, Hasher};

use crate::scenario::Scenario;
use crate::state::{Broken, State};
use crate::steps::{Name, Steps};

/// What was found, or what was covered.
pub(crate) struct Report {
    pub(crate) states: usize,
    pub(crate) violation: Option<Violation>,
    pub(crate) reached: Vec<State>,
}

pub(crate) struct Violation {
    pub(crate) kind: Kind,
    pub(crate) trace: Vec<Name>,
}

impl Violation {
    /// One step a line.
    pub(crate) fn describe(&self) -> String {
        let lines = self.trace.iter().map(|(who, what)| format!("\n  {who}: {what}"));
        format!("{:?} after {} steps:{}", self.kind, self.trace.len(), lines.collect::<String>())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Broken(Broken),
    /// From the trace's end no state can be reached in which all was delivered (or cut).
    Stall,
}

/// All states of `scenario`, until a property is violated: by the shortest way, as the search goes in breadth.
pub(crate) fn explore(scenario: &Scenario) -> Report {
    let mut seen = Seen::default();
    let mut graph = Graph::default();
    let mut steps = Steps::default();
    seen.add(State::start(scenario));
    graph.parents.push(0);
    let mut next = 0;
    while next < seen.states.len() {
        let state = seen.states[next];
        if let Some(broken) = state.check() {
            let trace = graph.trace(&seen.states, scenario, next);
            let violation = Some(Violation { kind: Kind::Broken(broken), trace });
            return Report { states: seen.states.len(), violation, reached: Vec::new() };
        }
        graph.starts.push(graph.edges.len());
        Steps::of(&state, scenario, &mut steps);
        for (_, to) in steps.0.drain(..) {
            let (index, is_new) = seen.add(to);
            if is_new {
                graph.parents.push(next as u32);
            }
            graph.edges.push(index);
        }
        next += 1;
    }
    graph.starts.push(graph.edges.len());
    let hopeful = graph.can_reach(|index| seen.states[index].is_good(scenario));
    let violation = hopeful
        .iter()
        .position(|hopeful| !hopeful)
        .map(|index| Violation { kind: Kind::Stall, trace: graph.trace(&seen.states, scenario, index) });
    Report { states: seen.states.len(), violation, reached: seen.states }
}

#[derive(Default)]
struct Graph {
    /// By which state each one was found first.
    parents: Vec<u32>,
    /// The successors of state `i` are `edges[starts[i]..starts[i + 1]]`.
    starts: Vec<usize>,
    edges: Vec<u32>,
}

impl Graph {
    fn trace(&self, states: &[State], scenario: &Scenario, mut index: usize) -> Vec<Name> {
        let mut names = Vec::new();
        let mut steps = Steps::default();
        while index != 0 {
            let parent = self.parents[index] as usize;
            Steps::of(&states[parent], scenario, &mut steps);
            names.extend(steps.0.iter().find(|(_, to)| *to == states[index]).map(|(name, _)| *name));
            index = parent;
        }
        names.reverse();
        names
    }

    /// From which states a `good` one can be reached.
    fn can_reach(&self, good: impl Fn(usize) -> bool) -> Vec<bool> {
        let len = self.parents.len();
        let mut ends = vec![0_usize; len + 1];
        for &to in &self.edges {
            ends[to as usize + 1] += 1;
        }
        for i in 0..len {
            ends[i + 1] += ends[i];
        }
        let mut fill = ends.clone();
        let mut back = vec![0_u32; self.edges.len()];
        for from in 0..len {
            for &to in &self.edges[self.starts[from]..self.starts[from + 1]] {
                back[fill[to as usize]] = from as u32;
                fill[to as usize] += 1;
            }
        }
        let mut reaches: Vec<bool> = (0..len).map(good).collect();
        let mut todo: Vec<usize> = (0..len).filter(|&i| reaches[i]).collect();
        while let Some(index) = todo.pop() {
            for &from in &back[ends[index]..ends[index + 1]] {
                if !std::mem::replace(&mut reaches[from as usize], true) {
                    todo.push(from as usize);
                }
            }
        }
        reaches
    }
}

/// The states in the order in which they were found, and a table of their indices.
#[derive(Default)]
struct Seen {
    states: Vec<State>,
    /// Index plus one, by hash, open addressing.
    table: Vec<u32>,
}

impl Seen {
    fn add(&mut self, state: State) -> (u32, bool) {
        if self.states.len() * 2 >= self.table.len() {
            self.grow();
        }
        let mask = self.table.len() - 1;
        let mut place = hash(&state) as usize & mask;
        while self.table[place] != 0 {
            let index = self.table[place] - 1;
            if self.states[index as usize] == state {
                return (index, false);
            }
            place = (place + 1) & mask;
        }
        self.states.push(state);
        self.table[place] = self.states.len() as u32;
        (self.states.len() as u32 - 1, true)
    }

    fn grow(&mut self) {
        self.table = vec![0; (self.table.len() * 4).max(1 << 12)];
        let mask = self.table.len() - 1;
        for (index, state) in self.states.iter().enumerate() {
            let mut place = hash(state) as usize & mask;
            while self.table[place] != 0 {
                place = (place + 1) & mask;
            }
            self.table[place] = index as u32 + 1;
        }
    }
}

fn hash(state: &State) -> u64 {
    let mut hasher = Folding(0);
    state.hash(&mut hasher);
    hasher.0 ^ (hasher.0 >> 29)
}

/// Quick; what it confuses the comparison of the states tells apart.
struct Folding(u64);

impl Hasher for Folding {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }
}

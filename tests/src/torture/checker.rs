//! The judge of one stream: which words were lost, came twice, or came out of order.
//!
//! Words of one thread must come in the order in which it wrote them; how the words of several threads
//! mix is the kernel's business, as they write without a lock.

use std::collections::BTreeMap;

use super::words::{THREADS, WORD, parts, word};

/// No stream is as long, in words: a jump further than this is no hole but a torn word.
const LONGEST: u64 = 1 << 32;

/// Wrong words, counted by what is wrong with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Never came.
    pub(crate) lost: u64,
    /// Came again.
    pub(crate) duplicated: u64,
    /// Came after a later one of the same thread.
    pub(crate) reordered: u64,
    /// No word that was sent in this stream: another stream's, or torn bytes.
    pub(crate) alien: u64,
}

/// The first wrong word of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct First {
    /// Its place, in bytes from the stream's begin.
    pub(crate) position: u64,
    /// What is wrong.
    pub(crate) what: String,
}

/// Whether all that was written has to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// It has: what is missing at the end is lost.
    Wanted,
    /// The stream was cut or its sender killed: what arrived must only have no holes.
    Open,
}

/// Checks a stream while it comes.
#[derive(Debug)]
pub(crate) struct Checker {
    base: u16,
    next: [u64; THREADS],
    /// Holes, begin to end, by thread.
    missing: [BTreeMap<u64, u64>; THREADS],
    /// The begin of a word whose rest has not come.
    torn: Vec<u8>,
    position: u64,
    found: Found,
    first: Option<First>,
}

impl Checker {
    /// For threads whose numbers begin with `base`.
    pub(crate) fn new(base: u16) -> Self {
        Self {
            base,
            next: [0; THREADS],
            missing: Default::default(),
            torn: Vec::new(),
            position: 0,
            found: Found::default(),
            first: None,
        }
    }

    /// Bytes so far.
    pub(crate) fn received(&self) -> u64 {
        self.position + self.torn.len() as u64
    }

    /// The first wrong word so far.
    pub(crate) fn first(&self) -> Option<&First> {
        self.first.as_ref()
    }

    /// The next bytes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        if !self.torn.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(WORD - self.torn.len()));
            self.torn.extend(head);
            bytes = rest;
            let Ok(whole) = self.torn.as_slice().try_into() else { return };
            self.word(u64::from_le_bytes(whole));
            self.torn.clear();
        }
        let (words, rest) = bytes.as_chunks::<WORD>();
        for bytes in words {
            self.word(u64::from_le_bytes(*bytes));
        }
        self.torn.extend(rest);
    }

    fn word(&mut self, word: u64) {
        let (thread, number) = parts(word);
        match self.next.get_mut(usize::from(thread.wrapping_sub(self.base))) {
            Some(next) if *next == number => *next += 1,
            _ => self.wrong(word),
        }
        self.position += WORD as u64;
    }

    #[cold]
    fn wrong(&mut self, word: u64) {
        let (thread, number) = parts(word);
        let index = usize::from(thread.wrapping_sub(self.base));
        let Some(next) = self.next.get_mut(index).filter(|_| number < LONGEST) else {
            self.found.alien += 1;
            return self.note(format!("{word:#018x} is no word of this stream"));
        };
        let wanted = *next;
        if number > wanted {
            self.missing[index].insert(wanted, number);
            *next = number + 1;
        } else if self.take_missing(index, number) {
            self.found.reordered += 1;
        } else {
            self.found.duplicated += 1;
        }
        self.note(format!("thread {index}: word {number} came, {wanted} was next"));
    }

    /// Fills a hole with a word that came late; false where it is no hole.
    fn take_missing(&mut self, index: usize, number: u64) -> bool {
        let holes = &mut self.missing[index];
        let Some((&begin, &end)) = holes.range(..=number).next_back() else { return false };
        if number >= end {
            return false;
        }
        holes.remove(&begin);
        if begin < number {
            holes.insert(begin, number);
        }
        if number + 1 < end {
            holes.insert(number + 1, end);
        }
        true
    }

    fn note(&mut self, what: String) {
        let position = self.position;
        self.first.get_or_insert(First { position, what });
    }

    /// The sum, once no more comes; `sent` are the words that each thread wrote.
    pub(crate) fn finish(&mut self, sent: &[u64; THREADS], tail: Tail) -> Found {
        for index in 0..THREADS {
            let holes: u64 = self.missing[index].iter().map(|(begin, end)| end - begin).sum();
            self.found.lost += holes;
            if tail == Tail::Open {
                continue;
            }
            let (came, sent) = (self.next[index], sent[index]);
            if came < sent {
                self.found.lost += sent - came;
                self.note(format!("thread {index}: the end came after {came} of {sent} words"));
            } else if came > sent {
                self.found.alien += came - sent;
                self.note(format!("thread {index}: {came} words came, {sent} were sent"));
            }
        }
        self.torn_end(tail);
        self.found
    }

    /// Half a word at the end is right only as the begin of what a killed sender wrote next.
    fn torn_end(&mut self, tail: Tail) {
        if self.torn.is_empty() {
            return;
        }
        let torn = &self.torn;
        let of_next = (self.base..)
            .zip(self.next)
            .any(|(thread, number)| word(thread, number).to_le_bytes().starts_with(torn));
        if tail == Tail::Wanted || !of_next {
            self.found.alien += 1;
            self.note(format!("{} bytes of a word at the end", self.torn.len()));
        }
    }
}

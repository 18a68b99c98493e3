//! The judge sees every kind of fault, and none where there is none.

use super::checker::{Checker, Found, Tail};
use super::words::{THREADS, word};

const BASE: u16 = 16;

fn stream(words: &[(u16, u64)]) -> Vec<u8> {
    words.iter().flat_map(|(thread, number)| word(BASE + thread, *number).to_le_bytes()).collect()
}

fn sent(counts: &[u64]) -> [u64; THREADS] {
    let mut sent = [0; THREADS];
    sent[..counts.len()].copy_from_slice(counts);
    sent
}

fn judge(bytes: &[u8], counts: &[u64], tail: Tail) -> (Found, Option<u64>) {
    // However the bytes are cut into reads.
    let results = [1, 3, 8, 13, 1 << 20].map(|size| {
        let mut checker = Checker::new(BASE);
        bytes.chunks(size).for_each(|chunk| checker.feed(chunk));
        assert_eq!(checker.received(), bytes.len() as u64);
        let found = checker.finish(&sent(counts), tail);
        (found, checker.first().map(|first| first.position))
    });
    assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
    results[0]
}

fn one(numbers: &[u64], count: u64) -> (Found, Option<u64>) {
    let words: Vec<_> = numbers.iter().map(|number| (0, *number)).collect();
    judge(&stream(&words), &[count], Tail::Wanted)
}

#[test]
fn a_whole_stream_is_right() {
    assert_eq!(one(&[0, 1, 2, 3], 4), (Found::default(), None));
}

#[test]
fn a_lost_word_is_found() {
    assert_eq!(one(&[0, 1, 3, 4], 5), (Found { lost: 1, ..Found::default() }, Some(16)));
    assert_eq!(one(&[3, 4], 5).0, Found { lost: 3, ..Found::default() });
}

#[test]
fn a_doubled_word_is_found() {
    assert_eq!(one(&[0, 1, 1, 2], 3), (Found { duplicated: 1, ..Found::default() }, Some(16)));
}

#[test]
fn swapped_words_are_found_and_not_lost() {
    assert_eq!(one(&[0, 2, 1, 3], 4), (Found { reordered: 1, ..Found::default() }, Some(8)));
    // A block of three overtaken by another block; of one hole the middle comes first.
    assert_eq!(one(&[0, 4, 5, 2, 1, 3, 6], 7).0, Found { reordered: 3, ..Found::default() });
    // Late, and then once more.
    assert_eq!(one(&[1, 0, 0], 2).0, Found { reordered: 1, duplicated: 1, ..Found::default() });
}

#[test]
fn threads_may_overtake_each_other() {
    let bytes = stream(&[(1, 0), (0, 0), (0, 1), (2, 0), (1, 1), (0, 2)]);
    assert_eq!(judge(&bytes, &[3, 2, 1], Tail::Wanted), (Found::default(), None));
    let bytes = stream(&[(1, 0), (0, 1), (0, 0)]);
    assert_eq!(judge(&bytes, &[2, 1], Tail::Wanted).0, Found { reordered: 1, ..Found::default() });
}

#[test]
fn a_truncated_end_is_found_where_it_counts() {
    let bytes = stream(&[(0, 0), (0, 1)]);
    assert_eq!(judge(&bytes, &[5], Tail::Wanted), (Found { lost: 3, ..Found::default() }, Some(16)));
    assert_eq!(judge(&bytes, &[5], Tail::Open), (Found::default(), None));
    // A hole is a loss whoever ended the stream.
    let bytes = stream(&[(0, 0), (0, 2)]);
    assert_eq!(judge(&bytes, &[5], Tail::Open).0, Found { lost: 1, ..Found::default() });
}

#[test]
fn half_a_word_is_the_begin_of_the_next_one_or_wrong() {
    let mut bytes = stream(&[(0, 0), (0, 1)]);
    bytes.truncate(13);
    assert_eq!(judge(&bytes, &[5], Tail::Open).0, Found::default());
    assert_eq!(judge(&bytes, &[2], Tail::Wanted).0, Found { lost: 1, alien: 1, ..Found::default() });
    bytes[8] ^= 0xff;
    assert_eq!(judge(&bytes, &[5], Tail::Open).0, Found { alien: 1, ..Found::default() });
}

#[test]
fn words_of_another_stream_and_too_many_are_found() {
    let bytes = stream(&[(0, 0), (8, 0), (0, 1)]);
    assert_eq!(judge(&bytes, &[2], Tail::Wanted), (Found { alien: 1, ..Found::default() }, Some(8)));
    assert_eq!(one(&[0, 1, 2], 2).0, Found { alien: 1, ..Found::default() });
    // A lost byte shifts all that follow: no word is what it was.
    let mut bytes = stream(&[(0, 0), (0, 1), (0, 2), (0, 3)]);
    bytes.remove(9);
    assert_ne!(judge(&bytes, &[4], Tail::Wanted).0, Found::default());
}

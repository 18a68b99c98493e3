//! Tests of the rules: what fits, what is denied, what is refused as ambiguous.

use proptest::prelude::*;

use super::*;

fn rules(list: &[(&[&str], &str)]) -> Vec<RestRule> {
    list.iter()
        .map(|(methods, path)| {
            let methods: Vec<String> = methods.iter().map(|method| (*method).to_owned()).collect();
            let methods = (!methods.is_empty()).then_some(methods);
            RestRule::new(methods, path).unwrap_or_else(|error| panic!("{path}: {error}"))
        })
        .collect()
}

fn allowed(rule: &str, target: &str) -> bool {
    decide(&rules(&[(&[], rule)]), "GET", target) == Decision::Allowed
}

#[test]
fn which_paths_a_rule_fits() {
    for (rule, fits, others) in [
        (
            "/api",
            &["/api", "/api/", "/api/x", "/api/x/y?q=/secret", "/api?x"][..],
            &["/apix", "/ap", "/", "/API", "*"][..],
        ),
        ("/api/", &["/api/", "/api/x", "/api/?q"], &["/api", "/apix/"]),
        ("/", &["/", "/x", "/x/y", "/.hidden", "*"], &[]),
        ("/a b/é", &["/a%20b/%C3%A9", "/a%20b/%c3%a9/x"], &["/a+b/%C3%A9"]),
        ("/v1/*", &["/v1/x", "/v1/", "/v1/x?y=/z"], &["/v1", "/v1/x/y", "/v1/x/"]),
        ("/v1/*/log", &["/v1/x/log", "/v1/%2e%2e%2e/log"], &["/v1/log", "/v1/x/y/log", "/v1/x/log/"]),
        ("/v?/x", &["/v1/x", "/v%C3%A9/x"], &["/v/x", "/v12/x", "/v//x"]),
        ("/a/**", &["/a/", "/a/b", "/a/b/c"], &["/a", "/ab"]),
        ("/**/x", &["/a/x", "/a/b/x", "/x/x"], &["/x", "/a/xy"]),
        ("/a**z", &["/az", "/abz", "/a/b/z"], &["/a/b"]),
        ("/*.json", &["/x.json", "/.json", "/a.json.json"], &["/a/x.json", "/x.jsonp"]),
        (
            "/**b/*.png",
            &["/xb/yb/z.png", "/b/.png", "/xb/yb/zb/a.png"],
            &["/xb/yb/z.gif", "/b.png", "/xb/y/z.png"],
        ),
        ("/**/*.png", &["/a/b/c.png", "/a/c.png"], &["/c.png", "/a/b/c.png/", "/a/b/c.pngx"]),
        ("/**/a*b", &["/x/ab", "/x/a/ab", "/x/y/aXb", "/x/ab/ab"], &["/x/a/b", "/x/ab/a"]),
        ("**", &["/", "/x/y", "*"], &[]),
        ("*", &["*"], &["/", "/x"]),
    ] {
        for target in fits {
            assert!(allowed(rule, target), "{rule} must fit {target}");
        }
        for target in others {
            assert!(!allowed(rule, target), "{rule} must not fit {target}");
        }
    }
}

/// Paths that nearly fit at each of their places: followed one after the other, the ways to read them would be
/// millions, and this would not end.
#[test]
fn paths_that_nearly_fit_everywhere_are_decided_all_the_same() {
    let denied = |rule: &str, target: &str| {
        let decision = decide(&rules(&[(&[], rule)]), "GET", target);
        assert!(matches!(decision, Decision::Denied { .. }), "{rule}: {decision:?}");
    };
    // As long as a path may be.
    let same = |letter: &str| format!("/{}", letter.repeat(8180));
    let (dashes, letters) = (same("-"), same("x"));
    let all_x = format!("/**x*{}y", "x".repeat(100));
    for _ in 0..200 {
        denied("/**-*.png", &dashes);
    }
    for _ in 0..5 {
        denied(&all_x, &letters);
        denied("/**a*b**c*d*e", &format!("/{}", "abcd".repeat(2000)));
    }
    assert!(allowed("/**-*.png", &format!("{dashes}.png")));
    denied("/**-*.png", &format!("{dashes}/.png"));
    assert!(allowed(&all_x, &format!("{letters}y")));
    denied(&all_x, &format!("{letters}/y"));
}

#[test]
fn methods_are_compared_exactly_and_head_is_a_get() {
    let rules = rules(&[(&["GET", "PUT"], "/v1"), (&["OPTIONS"], "/")]);
    let of = |method: &str, target: &str| decide(&rules, method, target);
    assert_eq!(of("GET", "/v1/x"), Decision::Allowed);
    assert_eq!(of("HEAD", "/v1/x"), Decision::Allowed);
    assert_eq!(of("OPTIONS", "*"), Decision::Allowed);
    assert_eq!(of("OPTIONS", "/other"), Decision::Allowed);
    let denied = |rule: &str| Decision::Denied { rule: rule.to_owned() };
    assert_eq!(of("DELETE", "/v1/x"), denied("only GET,PUT /v1"));
    assert_eq!(of("get", "/v1/x"), denied("only GET,PUT /v1"));
    assert_eq!(of("HEAD", "/"), denied("only OPTIONS /"));
    assert_eq!(of("GET", "*"), denied("only OPTIONS /"));
    assert_eq!(decide(&[], "GET", "/"), denied("no rule has this path"));
}

#[test]
fn how_a_path_is_understood() {
    for (target, path) in [
        ("/", "/"),
        ("/a/b?x=%zz//..", "/a/b"),
        ("/%61", "/a"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b/.", "/b/"),
        ("/a/b/..", "/a/"),
        ("/a/..", "/"),
        ("/.", "/"),
        ("/...", "/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/100%25", "/100%"),
        ("/100%25x", "/100%x"),
        ("/a%3Fb", "/a?b"),
        ("/a;x=1/b", "/a;x=1/b"),
        ("*", "*"),
    ] {
        assert_eq!(normal_path(target).as_deref(), Ok(path), "{target}");
    }
}

#[test]
fn what_could_be_understood_in_two_ways_is_refused() {
    for (target, part) in [
        ("/a%2Fb", "encoded slash"),
        ("/a%2f..", "encoded slash"),
        ("/a\\b", "backslash"),
        ("/a%5cb", "backslash"),
        ("/a%00", "control"),
        ("/a%0a", "control"),
        ("/a%7F", "control"),
        ("/a%C2%85", "control"),
        ("/a\tb", "control"),
        ("/%252e%252e/x", "twice"),
        ("/%25%32%65", "twice"),
        ("/a//b", "empty"),
        ("//a", "empty"),
        ("/a/..//b", "empty"),
        ("/..", "above"),
        ("/a/../../b", "above"),
        ("/%2e%2e/", "above"),
        ("/a/..;/b", "parameter"),
        ("/a/.;x/b", "parameter"),
        ("/a/%2e.%3bx/b", "parameter"),
        ("/%", "invalid"),
        ("/%4", "invalid"),
        ("/%g1", "invalid"),
        ("/%+1", "invalid"),
        ("/%ff", "UTF-8"),
        ("/%c0%ae", "UTF-8"),
        ("/a#b", "#"),
        ("", "no path"),
        ("a/b", "no path"),
        ("http://x/y", "no path"),
        ("?x", "no path"),
        ("**", "no path"),
    ] {
        let everything = rules(&[(&[], "/"), (&[], "**")]);
        match decide(&everything, "GET", target) {
            Decision::Ambiguous(reason) => assert!(reason.contains(part), "{target}: {reason}"),
            other => panic!("{target}: {other:?}"),
        }
    }
    let long = format!("/{}", "x".repeat(8192));
    assert!(matches!(decide(&[], "GET", &long), Decision::Ambiguous(reason) if reason.contains("longer")));
}

#[test]
fn plain_paths_are_not_copied() {
    assert!(matches!(normal_path("/v1/x.json?a=%41"), Ok(Cow::Borrowed("/v1/x.json"))));
}

/// The plainest way to compare with a pattern, and the slowest.
fn naive(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*', rest @ ..] => (0..=path.len()).any(|end| naive(rest, &path[end..])),
        ['*', rest @ ..] => {
            let run = path.iter().take_while(|c| **c != '/').count();
            (0..=run).any(|end| naive(rest, &path[end..]))
        }
        ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/') && naive(rest, &path[1..]),
        [c, rest @ ..] => path.first() == Some(c) && naive(rest, &path[1..]),
    }
}

/// A provider: decodes once, whatever it meets, then walks the segments as a file system does.
fn provider(target: &str) -> Option<Vec<u8>> {
    let path = target.split('?').next()?.as_bytes();
    let digit = |at: usize| path.get(at).and_then(|&b| char::from(b).to_digit(16));
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < path.len() {
        match (path[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high << 4 | low).ok()?);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    let mut walked: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|b| matches!(b, b'/' | b'\\')) {
        match segment {
            b"" | b"." => {}
            b".." => {
                walked.pop();
            }
            name => walked.push(name),
        }
    }
    Some(walked.iter().flat_map(|name| [b"/", *name].concat()).collect())
}

/// A path with some of its bytes encoded, and with detours that a provider takes out again.
fn disguised() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "secret", "api", "open", ".", "..", "/..", "/.", "//", "\\", "%2f", "%2F", "%5c", "%2e",
        "%2E%2e", "%25", "%252e", "%252f", "%00", ";", "..;", "%3b", "x", "%73ecret", "s%65cret", "%c0%af",
        "%", "%e9", "?", "%3f", "*",
    ]);
    let start = prop::sample::select(vec!["/", "/api/", "/open/", "/x"]);
    (start, prop::collection::vec(piece, 0..9))
        .prop_map(|(start, pieces)| format!("{start}{}", pieces.concat()))
}

fn any_pattern() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec!["a", "b", "é", "/", "*", "**", "?", "a", "/a"]);
    prop::collection::vec(piece, 0..9).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn any_path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec!["a", "b", "é", "/", "a", "ab"]);
    prop::collection::vec(piece, 0..10).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Whatever is allowed means to a provider what it means here, and no rule for /api or /open reaches /secret.
    #[test]
    fn no_disguise_reaches_a_denied_path(target in disguised()) {
        let some = rules(&[(&[], "/api"), (&["GET"], "/open/*"), (&[], "/x**x")]);
        if decide(&some, "GET", &target) == Decision::Allowed {
            let meant = provider(&target).unwrap();
            prop_assert!(!meant.starts_with(b"/secret"), "{target}");
            let ours = normal_path(&target).unwrap().into_owned().into_bytes();
            let ours: &[u8] = ours.strip_suffix(b"/").unwrap_or(&ours);
            prop_assert_eq!(ours, &meant[..]);
        }
    }

    /// The same, with every way to encode single characters of a path.
    #[test]
    fn an_encoded_path_means_the_plain_one(
        path in "(/[a-z.;]{1,3}){1,4}/?",
        encode in prop::collection::vec(any::<bool>(), 32),
    ) {
        let target: String = path.bytes().zip(encode.iter().cycle())
            .map(|(b, encode)| if *encode && b != b'/' { format!("%{b:02X}") } else { char::from(b).to_string() })
            .collect();
        let some = rules(&[(&[], "/a"), (&[], "/b/"), (&[], "/**/c")]);
        prop_assert_eq!(decide(&some, "GET", &target), decide(&some, "GET", &path));
    }

    #[test]
    fn patterns_fit_as_the_plain_way_says(pattern in any_pattern(), path in any_path()) {
        prop_assume!(!pattern.contains("***"));
        let naive = naive(&pattern.chars().collect::<Vec<_>>(), &path.chars().collect::<Vec<_>>());
        if let Some(rule) = RestRule::new(None, &pattern).ok().filter(RestRule::is_pattern) {
            prop_assert_eq!(fit::path(&rule, &path), naive);
        }
    }

    #[test]
    fn any_target_gives_a_decision(target in "[ -~é\u{0}-\u{7}]{0,40}", method in "[A-Za-z]{0,6}") {
        let some = rules(&[(&[], "/**a?*"), (&["GET"], "/")]);
        let _ = decide(&some, &method, &target);
    }
}

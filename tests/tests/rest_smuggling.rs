//! Requests that no honest client sends: refused before the provider sees a byte of them, or understood in exactly
//! one way. However the bytes are cut into pieces, the same comes of them.

use std::collections::BTreeMap;

use xconnect_tests::rest::corpus::{Case, all, shown};
use xconnect_tests::rest::{Client, Pace, Plan, Provider, Rest, judge, replay};
use xconnect_tests::wait::{OrFail, ensure};
use xconnect_tests::{Container, Link, Mesh, Sandbox, eventually, run};

/// Only cases whose names contain this.
const ONLY: &str = "XCONNECT_REST_CASE";

/// A link with a provider of its own for each set of options that a case asks for.
struct Stage {
    mesh: Mesh,
    consumer: Container,
    _house: Container,
    links: BTreeMap<String, (Link, Provider)>,
}

fn options(case: &Case) -> String {
    format!("{:?}", case.options)
}

impl Stage {
    fn start(sandbox: &Sandbox, cases: &[Case]) -> Self {
        let (consumer, house) = (Container::start(sandbox), Container::start(sandbox));
        let mut links = BTreeMap::new();
        for case in cases {
            let service = format!("api{}", links.len());
            links.entry(options(case)).or_insert_with(|| {
                let link = Rest::link(&service, "consumer", &consumer, &house);
                let link = case.options.iter().fold(link, |link, (name, value)| link.rest(name, value.clone()));
                let provider = Provider::start(&house.listen(link.socket()), Plan::new());
                (link, provider)
            });
        }
        let graph: Vec<_> = links.values().map(|(link, _)| link.clone()).collect();
        let mesh = Mesh::start_with(sandbox, None, &graph);
        mesh.wait_all(&graph, "up");
        Self { mesh, consumer, _house: house, links }
    }

    fn play(&self, case: &Case, pace: Pace) -> Vec<String> {
        let (link, provider) = &self.links[&options(case)];
        let before = provider.records();
        let outcome = {
            let mut client = Client::from(self.consumer.connect(link.target()));
            replay(&mut client, case, pace)
        };
        // What the provider has a beginning of is cut, which may be seen late.
        let opened = || self.mesh.counter(link, "/http/upstream/opened");
        if case.cut {
            self.mesh.wait_counter(link, "/connections/open", 0);
        }
        let seen = eventually("the provider has all that comes", || {
            let records = provider.records();
            ensure(!case.cut || records.0.len() as u64 == opened(), "a connection is on its way")?;
            ensure(records.is_settled(), format_args!("{}: {records:#?}", case.name))?;
            Ok::<_, String>(records.since(&before))
        });
        judge(case, &outcome, &seen, link.text("consumer"), link.text("role"))
    }
}

fn all_cases(pace: Pace) {
    run(|sandbox| {
        let only = std::env::var(ONLY).unwrap_or_default();
        let cases: Vec<_> = all().into_iter().filter(|case| case.name.contains(&only)).collect();
        let stage = Stage::start(sandbox, &cases);
        let mut failed = 0;
        for case in &cases {
            let wrong = stage.play(case, pace);
            if !wrong.is_empty() {
                failed += 1;
                println!("FAIL {:60} {}\n     sent: {}", case.name, wrong.join("\n     "), shown(&case.bytes()));
            }
            if failed > 40 {
                println!("… and no more are tried");
                break;
            }
        }
        println!("{} cases, {pace:?}: {failed} failed", cases.len());
        assert_eq!(failed, 0, "cases failed, see above");
    });
}

#[test]
fn every_case_as_it_is() {
    all_cases(Pace::Parts);
}

#[test]
fn every_case_byte_by_byte() {
    all_cases(Pace::Bytes);
}

#[test]
fn every_case_line_by_line() {
    all_cases(Pace::Lines);
}

#[test]
fn what_a_refused_request_left_on_the_way_is_no_ones() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        for number in 0..20 {
            let mut bad = rest.connect();
            bad.send(format!(
                "POST /bad{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
                 0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
            ));
            let mut good = rest.connect();
            assert_eq!(good.get(&format!("/good{number}")).json()["line"], format!("GET /good{number} HTTP/1.1"));
            assert_eq!(bad.answer().status, 400);
            bad.ends();
        }
        let seen = rest.provider.records();
        assert_eq!(seen.requests().count(), 20);
        assert!(seen.requests().all(|seen| seen.path().starts_with("/good")));
        let raw: String = seen.0.iter().map(|connection| connection.raw.as_str()).collect();
        assert!(!raw.contains("smuggled") && !raw.contains("/bad"), "{raw}");
    });
}

#[test]
fn no_case_hides_behind_an_environment() {
    assert!(std::env::var(ONLY).is_err() || std::env::var("CI").is_err(), "{ONLY} leaves cases out");
    all().first().or_fail("cases");
}

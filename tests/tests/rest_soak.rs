//! Many connections while the provider is killed and comes back: every answer is its own request's, with its own
//! identity, and nothing is left. The long run is `cargo xtask torture --rest`.

use std::time::Duration;

use xconnect_tests::rest::soak::{Options, soak, summary};
use xconnect_tests::run_alone;

fn survive(options: &Options) {
    run_alone(|sandbox| {
        let tally = soak(sandbox, options);
        let summary = summary(&tally);
        println!("{} connections for {:?}: {summary:?}", options.connections, options.time);
        let faults = tally.faults();
        assert!(faults.is_empty(), "{faults:#?}");
        assert!(summary["lives"] > 0 && summary["answered"] > 0, "{summary:?}");
    });
}

#[test]
fn requests_survive_a_provider_that_comes_and_goes() {
    survive(&Options { time: Duration::from_secs(10), connections: 40, consumers: 4 });
}

#[test]
#[ignore = "as long as XCONNECT_REST_SOAK_… says: run by cargo xtask torture --rest"]
fn requests_survive_a_long_soak() {
    survive(&Options::from_env());
}

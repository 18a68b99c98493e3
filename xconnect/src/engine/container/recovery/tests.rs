use super::*;

const SHORT: Duration = Duration::from_millis(1);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn recovery(policy: Policy) -> Recovery {
    Recovery::new(RecoveryPolicy { policy, retry_delay: secs(1), ..RecoveryPolicy::default() })
}

#[test]
fn each_policy_by_exit() {
    let failures = [Exit::Code(1), Exit::Signal(9), Exit::NotCreated, Exit::Unknown];
    for exit in failures.into_iter().chain([Exit::Code(0)]) {
        let decide = |policy| recovery(policy).on_exit(exit, SHORT, 0.5);
        assert_eq!(decide(Policy::No), Decision::Rest);
        assert_eq!(decide(Policy::Always), Decision::Restart(secs(1)));
        assert_eq!(decide(Policy::UnlessStopped), Decision::Restart(secs(1)));
        let on_failure = if exit.is_success() { Decision::Rest } else { Decision::Restart(secs(1)) };
        assert_eq!(decide(Policy::OnFailure), on_failure, "{exit}");
    }
}

#[test]
fn waits_grow_up_to_the_cap() {
    let mut recovery = recovery(Policy::Always);
    recovery.policy.backoff_factor = 2.0;
    recovery.policy.max_delay = secs(10);
    let waits: Vec<_> = (0..6).map(|_| recovery.on_exit(Exit::Code(1), SHORT, 0.5)).collect();
    assert_eq!(waits, [1, 2, 4, 8, 10, 10].map(|n| Decision::Restart(secs(n))));
}

#[test]
fn jitter_is_ten_per_cent() {
    for (random, millis) in [(0.0, 900), (0.5, 1000), (1.0, 1100)] {
        let decision = recovery(Policy::Always).on_exit(Exit::Code(1), SHORT, random);
        assert_eq!(decision, Decision::Restart(Duration::from_millis(millis)));
    }
}

#[test]
fn odd_factors_do_not_panic() {
    for factor in [f64::NAN, f64::INFINITY, -3.0, 0.0, 1e300] {
        let mut recovery = recovery(Policy::Always);
        recovery.policy.backoff_factor = factor;
        for _ in 0..1000 {
            let Decision::Restart(wait) = recovery.on_exit(Exit::Code(1), SHORT, 1.0) else { panic!() };
            assert!(wait <= secs(331));
        }
    }
}

#[test]
fn no_busy_loop_without_a_delay() {
    let mut recovery = recovery(Policy::Always);
    recovery.policy.retry_delay = Duration::ZERO;
    for _ in 1..FLOOR_FROM {
        assert_eq!(recovery.on_exit(Exit::Code(1), SHORT, 0.5), Decision::Restart(Duration::ZERO));
    }
    assert_eq!(recovery.on_exit(Exit::Code(1), SHORT, 0.5), Decision::Restart(FLOOR));
}

#[test]
fn retries_end_as_the_backoff_policy_says() {
    let exhausted = |backoff_policy| {
        let mut recovery = recovery(Policy::OnFailure);
        recovery.policy.max_retries = 2;
        recovery.policy.backoff_policy = backoff_policy;
        recovery.on_exit(Exit::Code(1), SHORT, 0.5);
        recovery.on_exit(Exit::Code(1), SHORT, 0.5);
        let decision = recovery.on_exit(Exit::Code(1), SHORT, 0.5);
        (decision, recovery)
    };
    let (decision, recovery) = exhausted(BackoffPolicy::Reboot);
    assert_eq!((decision, recovery.failed), (Decision::GiveUp { reboot: true }, true));
    let (decision, recovery) = exhausted(BackoffPolicy::Never);
    assert_eq!((decision, recovery.failed), (Decision::GiveUp { reboot: false }, true));
    let (decision, mut recovery) = exhausted(BackoffPolicy::After(secs(60)));
    assert_eq!((decision, recovery.failed, recovery.retries), (Decision::Restart(secs(60)), false, 0));
    assert_eq!(recovery.on_exit(Exit::Code(1), SHORT, 0.5), Decision::Restart(secs(1)));
}

#[test]
fn a_long_run_resets_the_retries() {
    let mut recovery = recovery(Policy::Always);
    recovery.policy.max_retries = 1;
    recovery.policy.reset_window = secs(30);
    recovery.on_exit(Exit::Code(1), SHORT, 0.5);
    assert_eq!(recovery.on_exit(Exit::Code(1), secs(31), 0.5), Decision::Restart(secs(1)));
    assert_eq!(recovery.on_exit(Exit::Code(1), secs(29), 0.5), Decision::GiveUp { reboot: true });
    recovery.reset();
    assert!(!recovery.failed);
}

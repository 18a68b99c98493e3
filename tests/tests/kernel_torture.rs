//! The torture of unix links: nothing is lost, doubled, reordered or left behind, in user space and in the
//! kernel. The long run is `cargo xtask torture`.

use xconnect_tests::run_alone;
use xconnect_tests::torture::{Forward, Options, run};

fn torture(options: &Options) {
    run_alone(|sandbox| {
        let report = run(sandbox, options);
        report.print();
        report.write();
        if let Err(wrong) = report.verdict() {
            panic!("{wrong}");
        }
    });
}

#[test]
fn links_in_the_kernel_lose_nothing() {
    torture(&Options::seconds(Forward::Kernel, 60));
}

#[test]
fn links_in_user_space_lose_nothing() {
    torture(&Options::seconds(Forward::User, 10));
}

#[test]
#[ignore = "as long as XCONNECT_TORTURE_… says: run by cargo xtask torture"]
fn links_lose_nothing_in_a_long_run() {
    torture(&Options::from_env());
}

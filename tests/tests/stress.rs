//! Everything at once: graphs, containers and sockets that change under traffic. In the end all is as the
//! last graph says, and nothing else is left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use xconnect_tests::payload::bytes;
use xconnect_tests::process::{fd_count, wait_fds_at_most};
use xconnect_tests::wait::{Raise, ensure};
use xconnect_tests::{Container, Kind, Link, Mesh, OrFail, Sandbox, eventually, run};

/// Three consumers with two links each to one provider that echoes.
struct World {
    mesh: Mesh,
    consumers: Vec<Container>,
    provider: Container,
    links: Vec<Link>,
}

impl World {
    fn new(sandbox: &Sandbox) -> Self {
        let consumers = Container::start_many(sandbox, 3);
        let provider = Container::start(sandbox);
        let links = (0..6).map(|number: usize| {
            let consumer = number % 3;
            Link::new(&format!("s{number}"), &format!("consumer{consumer}"), "provider")
                .between(&consumers[consumer], &provider)
        });
        let links: Vec<_> = links.collect();
        for link in &links {
            provider.echo(link.socket());
        }
        Self { mesh: Mesh::start(sandbox), consumers, provider, links }
    }

    fn consumer_of(&self, link: &Link) -> &Container {
        let number = link.text("consumer").trim_start_matches("consumer");
        &self.consumers[number.parse::<usize>().or_fail("a number")]
    }

    /// Lets all consumers connect all the time while `change` goes on.
    fn under_traffic(&self, change: impl FnOnce()) {
        let over = &AtomicBool::new(false);
        thread::scope(|scope| {
            let _over = Raise(over);
            for link in &self.links {
                let agent = self.consumer_of(link).another();
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        // It fails where the link is away at this moment.
                        let _ = agent.churn(link.target(), 20);
                    }
                });
            }
            change();
        });
    }

    #[track_caller]
    fn all_serve(&self) {
        self.mesh.wait_all(&self.links, "up");
        for link in &self.links {
            self.consumer_of(link).connect(link.target()).echo(b"in the end");
        }
        for (number, consumer) in self.consumers.iter().enumerate() {
            let wanted = [format!("s{number}.sock"), format!("s{}.sock", number + 3)];
            assert_eq!(consumer.list("/run/pv/services"), wanted);
        }
    }

    #[track_caller]
    fn all_end(&self) {
        self.mesh.apply(&[]);
        eventually("all are gone", || ensure(self.mesh.links()?.is_empty(), "some are there"));
        for consumer in &self.consumers {
            assert!(consumer.list("/run/pv/services").is_empty());
        }
    }
}

#[test]
fn graphs_that_change_under_traffic_leave_nothing_behind() {
    run(|sandbox| {
        let world = World::new(sandbox);
        world.mesh.apply(&world.links);
        world.all_serve();
        world.all_end();
        let before = fd_count(world.mesh.pid());
        world.under_traffic(|| {
            for dice in bytes(1, 6 * 150).chunks(6) {
                let graph = world.links.iter().zip(dice).filter_map(|(link, die)| match die % 4 {
                    0 => None,
                    // Another limit makes another edge, another pid another provider.
                    1 => Some(link.clone().option("max_connections", 1 + u32::from(*die))),
                    2 => Some(link.clone().with("provider_pid", -1)),
                    _ => Some(link.clone()),
                });
                world.mesh.apply(&graph.collect::<Vec<_>>());
                assert!(world.mesh.links().is_ok());
            }
            world.mesh.apply(&world.links);
            world.mesh.wait_all(&world.links, "up");
        });
        world.all_serve();
        world.all_end();
        wait_fds_at_most(world.mesh.pid(), before);
    });
}

#[test]
fn sockets_that_consumers_delete_under_traffic_are_always_put_back() {
    run(|sandbox| {
        let world = World::new(sandbox);
        world.mesh.apply(&world.links);
        world.all_serve();
        world.under_traffic(|| {
            for (round, link) in world.links.iter().cycle().take(120).enumerate() {
                let consumer = world.consumer_of(link);
                match round % 3 {
                    0 if consumer.exists("/run/pv/services") => {
                        consumer.rename("/run/pv/services", &format!("/run/pv/gone{round}"));
                    }
                    1 if consumer.exists(link.target()) => consumer.remove(link.target()),
                    _ => consumer.mount_tmpfs("/run/pv"),
                }
            }
        });
        for link in &world.links {
            world.consumer_of(link).eventually_echoes(link.target());
        }
        world.all_serve();
        world.all_end();
    });
}

#[test]
fn a_provider_that_comes_and_goes_all_the_time_fails_no_connection_that_it_did_not_take() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = Link::new("raw", "consumer", "provider")
            .between(&consumer, &provider)
            .option("connect_timeout", 600);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "waiting");
        for round in 0..150 {
            let client = consumer.connect(link.target());
            client.send(b"x");
            let listener = provider.listen(link.socket());
            let server = listener.accept();
            assert_eq!(server.recv_exact(1).bytes, b"x", "round {round}");
            listener.close();
            provider.remove(link.socket());
            server.send(b"y");
            assert_eq!(client.recv_exact(1).bytes, b"y", "round {round}");
        }
        assert_eq!(mesh.counter(&link, "/connections/failed"), 0);
        mesh.wait(&link, "waiting");
    });
}

#[test]
fn containers_that_are_killed_under_traffic_take_nothing_with_them() {
    run(|sandbox| {
        let mut world = World::new(sandbox);
        world.mesh.apply(&world.links);
        world.all_serve();
        for _ in 0..10 {
            let victim = world.consumers.remove(0);
            let open = victim.connect(world.links[0].target());
            open.echo(b"x");
            victim.kill();
            assert!(open.ends());
            world.consumers.insert(0, Container::start(sandbox));
            for number in [0, 3] {
                world.links[number] =
                    world.links[number].clone().between(&world.consumers[0], &world.provider);
            }
            world.mesh.apply(&world.links);
            world.all_serve();
        }
        assert!(world.consumers[0].try_connect("/run/pv/services/s1.sock", Kind::Stream).is_err());
        world.all_end();
    });
}

// The program that the tests' containers run: does what its arguments say.
use std::io::Write;

extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn getuid() -> u32;
}

extern "C" fn on_term(_: i32) {
    std::process::exit(7);
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |n: usize| args[n].parse::<i64>().unwrap();
    match args[1].as_str() {
        "exit" => std::process::exit(number(2) as i32),
        "fault" => unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
        "sleep" => forever(),
        "polite" => {
            if args.len() > 2 {
                std::thread::sleep(std::time::Duration::from_millis(number(2) as u64));
            }
            unsafe { signal(15, on_term as *const () as usize) };
            println!("polite");
            forever()
        }
        "stubborn" => {
            unsafe { signal(15, 1) };
            println!("stubborn");
            forever()
        }
        "say" => {
            println!("{}", args[2]);
            eprintln!("error: {}", args[2]);
        }
        "flood" => {
            let line = [b'x'; 1024];
            for _ in 0..number(2) {
                std::io::stdout().write_all(&line).unwrap();
            }
            println!("end");
        }
        "look" => {
            println!("pid {}", std::process::id());
            println!("uid {}", unsafe { getuid() });
            println!("host {}", std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
            println!("root {}", names("/"));
            println!("net {}", names("/sys/class/net"));
            println!("lo {}", std::net::TcpListener::bind("127.0.0.1:0").is_ok());
            println!("flags {}", std::fs::read_to_string("/sys/class/net/lo/flags").unwrap().trim());
            println!("fds {}", names("/proc/self/fd"));
            println!("write {}", std::fs::write("/written", "x").is_ok());
            println!("null {}", std::fs::write("/dev/null", "x").is_ok());
            println!("kmsg {}", std::fs::metadata("/dev/kmsg").is_ok());
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            for line in status.lines().filter(|l| ["CapEff", "SigIgn", "NoNewP", "Seccom"].iter().any(|p| l.starts_with(p))) {
                println!("{line}");
            }
        }
        other => panic!("{other}"),
    }
}

fn names(dir: &str) -> String {
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.join(",")
}

fn forever() {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1000));
    }
}

//! Following the graph: a page that is redrawn on a terminal, lines of JSON for programs.

use std::io::{self, Write as _};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::rates::Rates;
use super::rows;
use super::view::Link;
use super::{Look, TARGET, fetch};
use crate::cli::out::note;
use crate::cli::pvcontrol::args::Format;
use crate::cli::pvcontrol::failure::Failure;
use crate::cli::pvcontrol::session::{Detail, Session};
use crate::cli::text;

/// How long to wait before a lost server is asked again.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) async fn watch(session: &Session, every: Duration) -> Result<(), Failure> {
    match session.format {
        Format::Dot => Err(Failure::NotAGraph),
        Format::Table | Format::Wide if session.out.is_terminal() => redraw(session, every).await,
        _ => follow(session, every).await,
    }
}

/// One graph a line (or one table) whenever it differs from the last one printed.
async fn follow(session: &Session, every: Duration) -> Result<(), Failure> {
    let mut rates = Rates::default();
    let mut printed = Vec::new();
    let mut look = fetch(session).await?;
    let mut lost = false;
    loop {
        if printed != look.body {
            let links = look.links()?;
            rates.look(&links, look.at);
            match session.format {
                Format::Table | Format::Wide => {
                    let page = rows::page(session, &links, &rates, detail(session), look.note.as_deref());
                    session.print((page + "\n").as_bytes())?;
                }
                // Compact, so that it stays one line.
                _ => session.print(look.value.to_string().as_bytes())?,
            }
            printed.clone_from(&look.body);
        }
        look = loop {
            sleep(every).await;
            match fetch(session).await {
                Ok(look) => break look,
                Err(failure) if !lost => note(format_args!("pvcontrol: {failure}; asking on")),
                Err(_) => {}
            }
            lost = true;
        };
        lost = false;
    }
}

/// The desired state as the server pushes it. A server that cannot push (Pantavisor) is asked again.
pub(crate) async fn desired(session: &Session) -> Result<(), Failure> {
    let target = format!("{TARGET}?watch=1");
    let mut printed = Vec::new();
    let mut lines = session.client.lines(&target).await?;
    loop {
        loop {
            match lines.next().await {
                Ok(Some(line)) if line.is_empty() || line == printed => {}
                Ok(Some(line)) => {
                    session.print(&line)?;
                    printed = line;
                }
                Ok(None) => break,
                Err(error) => {
                    note(format_args!("pvcontrol: {error}; asking on"));
                    break;
                }
            }
        }
        lines = loop {
            sleep(AGAIN).await;
            match session.client.lines(&target).await {
                Ok(lines) => break lines,
                Err(error) => session.trace(format_args!("* {error}")),
            }
        };
    }
}

/// The other screen of the terminal, without a cursor and without wrapping long lines; the drop gives back
/// the first one.
struct Screen;

impl Screen {
    fn open() -> io::Result<Self> {
        let screen = Self;
        screen.put("\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l")?;
        Ok(screen)
    }

    fn put(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing back.
        drop(self.put("\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l"));
    }
}

async fn redraw(session: &Session, every: Duration) -> Result<(), Failure> {
    let gone = |source| Failure::Output { target: "the terminal".to_owned(), source };
    // A first failure is told on the ordinary screen.
    let mut last = fetch(session).await?;
    let mut rates = Rates::default();
    let mut stop = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(|kind| signal(kind).map_err(Failure::Runtime));
    let [interrupt, terminate, hangup] = &mut stop;
    let (Ok(interrupt), Ok(terminate), Ok(hangup)) = (interrupt, terminate, hangup) else {
        let [first, second, third] = stop;
        return first.and(second).and(third).map(drop);
    };
    let mut resized = signal(SignalKind::window_change()).map_err(Failure::Runtime)?;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let screen = Screen::open().map_err(gone)?;
    rates.look(&last.links()?, last.at);
    let mut trouble: Option<String> = None;
    loop {
        let page = draw(session, &last, &rates, every, trouble.as_deref())?;
        screen.put(&page).map_err(gone)?;
        tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = resized.recv() => continue,
            _ = ticks.tick() => {}
        }
        let looked = tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            looked = fetch(session) => looked,
        };
        match looked {
            Ok(look) => {
                rates.look(&look.links()?, look.at);
                last = look;
                trouble = None;
            }
            Err(failure) => trouble = Some(failure.to_string()),
        }
    }
}

/// One page: a summary, the table and the explanations, cut to the terminal's height. Every line is
/// cleared to its end, so that nothing flickers.
fn draw(
    session: &Session,
    look: &Look,
    rates: &Rates,
    every: Duration,
    trouble: Option<&str>,
) -> Result<String, Failure> {
    let links = look.links()?;
    let (_, rows) = session.out.size().unwrap_or((80, 24));
    let up = links.iter().filter(|link| Link::is_up(link)).count();
    let mut lines =
        vec![format!("{} links, {up} up; every {} s; Ctrl-C ends", links.len(), every.as_secs_f32())];
    lines.extend(trouble.map(|trouble| format!("as it was: {}", text::harmless(trouble))));
    let page = rows::page(session, &links, rates, detail(session), look.note.as_deref());
    lines.extend(page.lines().map(str::to_owned));
    if lines.len() > rows {
        let hidden = lines.len() + 1 - rows;
        lines.truncate(rows.saturating_sub(1));
        lines.push(format!("and {hidden} more lines: enlarge the terminal, or use graph ls"));
    }
    Ok(format!("\u{1b}[H{}\u{1b}[K\u{1b}[J", lines.join("\u{1b}[K\n")))
}

fn detail(session: &Session) -> Detail {
    if session.format == Format::Wide { Detail::Wide } else { Detail::Table }
}

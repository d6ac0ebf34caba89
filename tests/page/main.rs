//! The page of a report in headless Chromium: what it draws, that it asks for nothing, and that no
//! name of a watched program becomes script; never how the report came about.
//!
//! With `PAGE_PICTURES=FOLDER` in the environment pictures of the page are left there to be looked at.

mod browser;
mod incident;

use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;
use tracer::{
    analysis::{Engine, SeriesRecorder, Thresholds},
    model::{Input, Session},
    sink::{Provenance, html},
};

use browser::{Browser, Screen, with_browser};
use incident::{Names, Told, told};

const DESKTOP: Screen = Screen {
    width: 1440,
    height: 900,
    is_dark: false,
};

const PHONE: Screen = Screen {
    width: 390,
    height: 844,
    is_dark: true,
};

/// How many pixels of the page lie beyond the right edge.
const BEYOND_THE_SCREEN: &str = "const { scrollWidth, clientWidth } = document.documentElement; \
                                 return scrollWidth - clientWidth";

/// A page in a folder of its own.
struct Page {
    folder: TempDir,
}

impl Page {
    fn of(told: &Told) -> Self {
        let provenance = Provenance {
            files: vec!["<script>shop-07.trace".into()],
            notes: vec!["It was cut at 14:04:29 UTC.".into()],
        };
        let folder = TempDir::new().unwrap();
        let text = html::render(&told.report, &told.series, &provenance);
        std::fs::write(folder.path().join("report.html"), text).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("report.html")
    }
}

/// The page loaded nothing but itself, and nobody complained.
async fn assert_clean(browser: &Browser, file: &Path) {
    let log = browser.log().await;
    assert_eq!(log.messages, Vec::<String>::new());
    assert_eq!(log.requests, [format!("file://{}", file.display())]);
}

/// Names that try to become script, markup, or something else than what is read.
fn hostile() -> Names {
    Names {
        server: "</script><script>window.hacked=1</script>".into(),
        cmdline: "<img src=x onerror=window.hacked=2> \" ' ` & <!-- --> </style> \u{1b}[2J \
                  \u{202e}gpj.exe javascript:window.hacked=3 \u{2028}window.hacked=4"
            .into(),
        container: "\"><iframe src=//example.invalid/>".into(),
        // Fifteen bytes are all that a thread's name has.
        thread: "<b>'\"&\u{1b}]0;x".into(),
        dir: "/srv/</script><svg onload=window.hacked=5>/${window.hacked=6}".into(),
    }
}

#[test]
fn hostile_names_are_text() {
    with_browser(async |browser| {
        let page = Page::of(&told(&hostile(), 3));
        browser.open(&page.path(), DESKTOP).await;
        assert_eq!(
            browser.ask("return window.hacked ?? null").await,
            json!(null)
        );
        let strangers = "return document.querySelectorAll('img, iframe, svg, body b b, a[href^=j], \
                         script:not([type]):not(:last-of-type)').length";
        assert_eq!(browser.ask(strangers).await, json!(0));
        assert_eq!(
            browser.ask("return document.scripts.length").await,
            json!(2)
        );
        let name = "</script><script>window.hacked=1</script>[4711]";
        for part in ["#verdicts", "#story", "#timeline", "#verdict-table"] {
            let text = browser
                .ask(&format!(
                    "return document.querySelector('{part}').textContent"
                ))
                .await;
            assert!(text.as_str().unwrap().contains(name), "{part}: {text}");
        }
        // What would act on a reader's eye is told by its number.
        let shown = browser
            .ask("return document.querySelector('#processes td:last-child').title")
            .await;
        let shown = shown.as_str().unwrap();
        for escaped in ["\\u{1b}[2J", "\\u{202e}gpj.exe", "\\u{2028}window"] {
            assert!(shown.contains(escaped), "{shown}");
        }
        assert_clean(&browser, &page.path()).await;
    });
}

#[test]
fn charts_are_drawn_and_nothing_is_wider_than_the_screen() {
    with_browser(async |browser| {
        let page = Page::of(&told(&Names::default(), 17));
        for screen in [DESKTOP, PHONE] {
            browser.open(&page.path(), screen).await;
            let titles =
                "return [...document.querySelectorAll('figure h3')].map(h => h.textContent)";
            assert_eq!(
                browser.ask(titles).await,
                json!([
                    "Open descriptors against the limit",
                    "Files opened a second, by directory",
                    "Connections a second: opened above, ended below",
                    "Failures a second",
                    "TIME_WAIT sockets by owner",
                    "Lost a second: all numbers here are lower bounds",
                ])
            );
            let painted = "return [...document.querySelectorAll('figure canvas')].map(canvas => \
                           canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height) \
                           .data.some((value, at) => at % 4 === 3 && value === 255))";
            browser
                .wait_for(painted, json!([true, true, true, true, true, true]))
                .await;
            assert_eq!(browser.ask(BEYOND_THE_SCREEN).await, json!(0));
            let legends = browser
                .ask("return [...document.querySelectorAll('.u-label')].map(l => l.textContent)")
                .await;
            for said in [
                "limit 4,096",
                "java[4711] (peak 4,096)",
                "/srv/tomcat/webapps/shop/WEB-INF/lib/*.jar (228)",
                "connect: ECONNREFUSED (11)",
            ] {
                assert!(
                    legends.as_array().unwrap().contains(&json!(said)),
                    "{legends}"
                );
            }
            assert_clean(&browser, &page.path()).await;
            if let Some(folder) = std::env::var_os("PAGE_PICTURES") {
                let name = format!("report-{}.png", screen.width);
                browser
                    .picture(screen, &Path::new(&folder).join(name))
                    .await;
            }
        }
    });
}

#[test]
fn a_verdict_leads_to_its_place_in_the_timeline() {
    with_browser(async |browser| {
        let page = Page::of(&told(&Names::default(), 3));
        browser.open(&page.path(), DESKTOP).await;
        let range = "return document.querySelector('.tools output').value";
        assert_eq!(
            browser.ask(range).await,
            json!("14:03:00.0 – 14:04:30.0 UTC")
        );
        browser
            .click(".verdict.fd_burst button[data-verdict]")
            .await;
        browser
            .wait_for(range, json!("14:03:27.0 – 14:03:33.1 UTC (zoomed)"))
            .await;
        browser.click(".tools button:nth-of-type(5)").await;
        browser
            .wait_for(range, json!("14:03:00.0 – 14:04:30.0 UTC"))
            .await;
        // Another process is added to the charts.
        browser.click(".chip:nth-of-type(2)").await;
        let labels = "return [...document.querySelectorAll('.u-label')] \
                      .some(label => label.textContent.startsWith('nginx[812]'))";
        browser.wait_for(labels, json!(true)).await;
        assert_clean(&browser, &page.path()).await;
    });
}

#[test]
fn tables_sort_and_filter() {
    with_browser(async |browser| {
        let page = Page::of(&told(&Names::default(), 3));
        browser.open(&page.path(), DESKTOP).await;
        let names = "return [...document.querySelectorAll('#processes tbody td:first-child')] \
                     .map(cell => cell.textContent)";
        let first = "return document.querySelector('#processes tbody td').textContent";
        // Those with verdicts come first.
        assert_eq!(browser.ask(first).await, json!("java"));
        browser.click("#processes th:nth-child(1) button").await;
        assert_eq!(
            browser.ask(names).await,
            json!([
                "java",
                "nginx",
                "redis-server",
                "systemd-journal",
                "zookeeper"
            ])
        );
        browser.click("#processes th:nth-child(1) button").await;
        assert_eq!(browser.ask(first).await, json!("zookeeper"));
        assert_eq!(
            browser
                .ask("return document.querySelector('#processes th').getAttribute('aria-sort')")
                .await,
            json!("descending")
        );
        // By PID, which are numbers: the greatest first.
        browser.click("#processes th:nth-child(2) button").await;
        assert_eq!(
            browser.ask(names).await,
            json!([
                "java",
                "redis-server",
                "zookeeper",
                "nginx",
                "systemd-journal"
            ])
        );
        // A container's id is cut in its cell and found whole.
        browser
            .enter("#processes input", "3f2a9c81d0b7e6f5a4b3c2 TOMCAT")
            .await;
        assert_eq!(browser.ask(names).await, json!(["java"]));
        assert_eq!(
            browser
                .ask("return document.querySelector('#processes output').value")
                .await,
            json!("1 of 1 shown (of 5)")
        );
    });
}

#[test]
fn of_ten_thousand_sockets_a_part_is_in_the_page() {
    with_browser(async |browser| {
        let page = Page::of(&told(&Names::default(), 10_000));
        browser.open(&page.path(), DESKTOP).await;
        let rows =
            "return document.querySelectorAll('#time-wait .rows:last-of-type tbody tr').length";
        let said = "return document.querySelectorAll('#time-wait output')[1].value";
        assert_eq!(browser.ask(rows).await, json!(50));
        assert_eq!(browser.ask(said).await, json!("50 of 10,036 shown"));
        browser.click("#time-wait > .more:last-of-type").await;
        assert_eq!(browser.ask(rows).await, json!(550));
        browser
            .enter("#time-wait .filter:nth-of-type(3) input", "10.0.0.7:29999")
            .await;
        assert_eq!(browser.ask(said).await, json!("1 of 1 shown (of 10,036)"));
    });
}

#[test]
fn nothing_seen_is_said_instead_of_drawn() {
    with_browser(async |browser| {
        let mut engine = Engine::new(Thresholds::default());
        let mut recorder = SeriesRecorder::default();
        let mut session = Session::default();
        session.selection.fds = false;
        let input = Input::Session(Box::new(session));
        engine.apply(&input);
        recorder.observe(&engine, &input);
        let page = Page::of(&Told {
            report: engine.report(),
            series: recorder.series(&engine),
        });
        browser.open(&page.path(), PHONE).await;
        assert_eq!(
            browser
                .ask("return document.querySelectorAll('canvas').length")
                .await,
            json!(0)
        );
        assert_eq!(
            browser
                .ask(
                    "return [...document.querySelectorAll('figcaption p')].map(p => p.textContent)"
                )
                .await,
            json!([
                "Not watched: descriptors were left out (--no-fds).",
                "Not watched: descriptors were left out (--no-fds).",
                "These processes opened and ended no connection.",
                "No connect failed, and no descriptor was refused, of what was watched of these processes.",
                "Not known: TIME_WAIT sockets were never listed.",
            ])
        );
        assert_clean(&browser, &page.path()).await;
    });
}

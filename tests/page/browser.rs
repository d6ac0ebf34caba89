//! A headless Chromium, driven by its own `WebDriver`; never one that opens anything but the test's
//! files.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use fantoccini::{Client, ClientBuilder, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a test opens its pages in.
#[derive(Clone)]
pub struct Browser {
    client: Client,
}

/// What the browser was asked to load, and what it complained about.
#[derive(Debug, Default)]
pub struct Log {
    /// Addresses, less those that hold their own data.
    pub requests: Vec<String>,
    /// Messages on the console, and violations of the page's own policy.
    pub messages: Vec<String>,
}

/// A page's size and its colours.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    pub width: u32,
    pub height: u32,
    pub is_dark: bool,
}

/// Runs a test in a browser of its own, which is closed however the test ends.
pub fn with_browser<F>(test: impl FnOnce(Browser) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let profile = TempDir::new().unwrap();
    let (mut driver, port) = start_driver();
    let ended = runtime.block_on(async {
        let client = connect(port, &profile).await;
        let browser = Browser {
            client: client.clone(),
        };
        // In a task of its own a panic comes back as a value.
        let ended = tokio::spawn(test(browser)).await;
        let closed = client.close().await;
        (ended, closed)
    });
    driver.kill().unwrap();
    driver.wait().unwrap();
    let (ended, closed) = ended;
    if let Err(error) = ended {
        std::panic::resume_unwind(error.into_panic());
    }
    closed.unwrap();
}

/// The driver, and the port that it chose.
fn start_driver() -> (Child, u16) {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "chromedriver does not start ({error}): `cargo xtask setup` installs it \
                 (packages chromium and chromium-driver)"
            )
        });
    let stdout = BufReader::new(driver.stdout.take().unwrap());
    let mut said = String::new();
    for line in stdout.lines() {
        let Ok(line) = line else { break };
        if let Some((_, port)) = line.rsplit_once("on port ")
            && let Ok(port) = port.trim_end_matches('.').parse()
            && port != 0
        {
            return (driver, port);
        }
        said.push_str(&line);
        said.push('\n');
    }
    let status = driver.wait().unwrap();
    panic!("chromedriver ended without a port ({status}): {said}");
}

async fn connect(port: u16, profile: &TempDir) -> Client {
    let capabilities = json!({
        "goog:chromeOptions": {
            "args": [
                "--headless",
                // Its sandbox cannot be had as root, nor in most containers.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                format!("--user-data-dir={}", profile.path().display()),
            ],
        },
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
    });
    let Value::Object(capabilities) = capabilities else {
        unreachable!("it is written as one above");
    };
    ClientBuilder::new(HttpConnector::new())
        .capabilities(capabilities)
        .connect(&format!("http://127.0.0.1:{port}"))
        .await
        .unwrap_or_else(|error| {
            panic!(
                "Chromium does not start: {error}; `cargo xtask setup` installs it (packages \
                 chromium and chromium-driver)"
            )
        })
}

impl Browser {
    /// Opens a file and waits until it is loaded.
    pub async fn open(&self, file: &std::path::Path, screen: Screen) {
        self.show_on(screen).await;
        // The page of a new tab loads much, and that is not of interest.
        self.client.goto("about:blank").await.unwrap();
        self.log().await;
        let url = format!("file://{}", file.display());
        self.client.goto(&url).await.unwrap();
    }

    /// Pretends to be a screen of this size, and of a user who wants it dark or light.
    pub async fn show_on(&self, screen: Screen) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({
                "width": screen.width, "height": screen.height, "deviceScaleFactor": 1,
                "mobile": screen.width < 600,
            }),
        )
        .await;
        let scheme = if screen.is_dark { "dark" } else { "light" };
        let wish = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", wish).await;
    }

    /// A picture of the whole page, for somebody to look at.
    pub async fn picture(&self, screen: Screen, file: &std::path::Path) {
        let height = self
            .ask("return document.documentElement.scrollHeight")
            .await;
        let height = u32::try_from(height.as_u64().unwrap()).unwrap();
        self.show_on(Screen { height, ..screen }).await;
        std::fs::write(file, self.client.screenshot().await.unwrap()).unwrap();
    }

    /// What a script returns in the page.
    pub async fn ask(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Waits until a script returns this.
    pub async fn wait_for(&self, script: &str, expected: Value) {
        let mut found = Value::Null;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::time::Instant::now() < deadline {
            found = self.ask(script).await;
            if found == expected {
                return;
            }
        }
        panic!("{script} is {found}, not {expected}");
    }

    /// The element with this selector, clicked as a person does.
    pub async fn click(&self, selector: &str) {
        let element = self
            .client
            .find(fantoccini::Locator::Css(selector))
            .await
            .unwrap();
        element.click().await.unwrap();
    }

    /// Text typed into the element with this selector.
    pub async fn enter(&self, selector: &str, text: &str) {
        let element = self
            .client
            .find(fantoccini::Locator::Css(selector))
            .await
            .unwrap();
        element.send_keys(text).await.unwrap();
    }

    /// What was loaded and complained about since the last call.
    pub async fn log(&self) -> Log {
        let mut log = Log::default();
        for entry in self.entries("browser").await {
            log.messages.push(entry["message"].to_string());
        }
        for entry in self.entries("performance").await {
            let text = entry["message"].as_str().unwrap_or_default();
            let message: Value = serde_json::from_str(text).unwrap();
            if message["message"]["method"] == "Network.requestWillBeSent" {
                let url = &message["message"]["params"]["request"]["url"];
                let url = url.as_str().unwrap_or_default();
                if !url.starts_with("data:") {
                    log.requests.push(url.to_owned());
                }
            }
        }
        log
    }

    async fn entries(&self, kind: &str) -> Vec<Value> {
        let path = "se/log";
        let body = json!({ "type": kind });
        let entries = self.client.issue_cmd(Extension { path, body }).await;
        entries.unwrap().as_array().cloned().unwrap_or_default()
    }

    async fn devtools(&self, method: &str, params: Value) {
        let path = "goog/cdp/execute";
        let body = json!({ "cmd": method, "params": params });
        let done = self.client.issue_cmd(Extension { path, body }).await;
        done.unwrap();
    }
}

/// A command that only Chromium's `WebDriver` knows.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/{}", self.path))
    }

    fn method_and_body(&self, _request: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

//! `tracer serve`: a watch that runs as a service; never another way of watching.

use anyhow::{Result, anyhow};

use super::{
    action::Action, code, exports, http::Server, is_broken_pipe, otlp::Deliveries, output::Output,
    print, pump, pump::Watch, record, scope_options,
};
use crate::cli::{ServeArgs, Settings, exit};

/// Watches until SIGTERM; gives the code to end with.
pub(super) fn serve(args: &ServeArgs, settings: Option<Settings>) -> Result<u8> {
    if args.check {
        print(&settings.map_or_else(String::new, |settings| settings.render()))?;
        return Ok(exit::CLEAN);
    }
    let collector = args.otlp.otlp.clone().map(Server::new).transpose()?;
    let watch = Watch {
        settings,
        action: Action::new(&args.action)?,
        deliveries: collector.map(|collector| Deliveries::new(collector, args.otlp.events())),
        keeps_privileges: args.rights.keep_privileges,
        exports: exports(Some(args.metrics), &args.metrics_detail),
        ..Watch::new(&args.scope, &args.thresholds, &args.flight)
    };
    watch_and_tell(args, watch).map_err(|error| {
        // Of a service it is a failure that nobody listens any more: it is to be started again.
        if is_broken_pipe(&error) {
            return anyhow!("nobody reads standard output any more: {error:#}");
        }
        error
    })
}

fn watch_and_tell(args: &ServeArgs, watch: Watch) -> Result<u8> {
    let mut output = Output::service();
    let ended = pump(&scope_options(&args.scope, &args.cost)?, watch, &mut output)?;
    output.end(&ended.report)?;
    record::tell(&ended);
    Ok(code(&args.scope, &ended.report))
}

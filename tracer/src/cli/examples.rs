//! What stands below the help of every command; never what one command alone has.

/// Examples, exit codes and the environment.
pub(super) const EXAMPLES: &str = "\
Examples:
  Who keeps opening and closing connections to port 2181? Watch until Ctrl-C:
      sudo tracer watch --port 2181
  Half a minute, for a script: the verdicts as JSON, exit code 3 if there was one:
      sudo tracer watch --port 2181 --duration 30s --format json --fail-on-verdict
  Who fills the descriptor table of process 4711?
      sudo tracer watch --pid 4711 --no-tcp
  Keep the evidence: record until Ctrl-C, then look at it again, on any machine, without root:
      sudo tracer record -o incident.arrows
      tracer replay incident.arrows --port 2181
      tracer report incident.arrows -o incident.html
  Run all the time, and keep the five minutes before each fault:
      sudo tracer record --flight 5m --dump-dir /var/lib/tracer
  The same as a service, with metrics and health at 127.0.0.1:9740:
      sudo tracer serve --dump-dir /var/lib/tracer
  The connections of a trace, a line each; all of it for SQL; what a deploy has changed:
      tracer events incident.arrows --lives
      tracer export incident.arrows -o incident.parquet
      tracer diff before.arrows after.arrows
  Whose are these TIME_WAIT sockets?
      sudo tracer timewait --port 2181
  What can tracer do on this machine, and what is missing?
      tracer doctor

Exit codes:
  0  all went well
  1  something failed on the way
  2  this machine cannot trace (`tracer doctor` says why), or the command line is wrong
  3  there was a verdict, with --fail-on-verdict
  4  a trace is cut or damaged, with --strict

Environment:
  NO_COLOR  no colours, unless --color always
  RUST_LOG  what to log to standard error, such as debug or tracer=trace; goes before -v and -q";

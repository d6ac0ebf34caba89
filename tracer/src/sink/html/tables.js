// Tables that sort and filter. Of long ones a part is in the page at once.

/** Of an id or a command line; the whole is in the cell's title, and is what the filter looks at. */
const cut = (length) => (text) => (text.length > length ? `${text.slice(0, length)}…` : text);
/** Of a container the digits that its runtime shows; a unit's name is for people. */
const cutPlace = (text) => cut(/^[0-9a-f]{13,}$/.test(text) ? 12 : 32)(text);
const container = { label: "Container or unit", absent: "not known, or none", cut: cutPlace };

const FIRST_ROWS = 50;
const MORE_ROWS = 500;

const isMissing = (value) => value === null || value === undefined || value === "";

/** What a cell says; null is not known. */
const shownCell = (column, value) => {
  if (isMissing(value)) return column.absent ?? "not known";
  if (column.show) return column.show(value);
  return column.number ? number(value) : value;
};

/** In this way, 1 or -1; what is not known comes last in both. */
const compare = (a, b, way) => {
  if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b);
  return way * (typeof a === "number" ? a - b : collator.compare(a, b));
};
const collator = new Intl.Collator("en", { numeric: true });

/** Rows are arrays of values, one for each column. */
const makeTable = (section, label, columns, rows, none) => {
  if (rows.length === 0) {
    section.append(element("p", { class: "empty" }, none));
    return;
  }
  let [order, shown, sorted] = [rows, FIRST_ROWS, null];
  const words = new WeakMap();
  const wordsOf = (row) => {
    let text = words.get(row);
    if (text === undefined) {
      text = row.map((value, at) => shownCell(columns[at], value)).join(" ").toLowerCase();
      words.set(row, text);
    }
    return text;
  };
  const filter = element("input", { type: "search", placeholder: "Filter: name, address, container …", "aria-label": `Filter ${label}` });
  const count = element("output", { class: "quiet", "aria-live": "polite" });
  const body = element("tbody");
  const head = element("tr");
  const more = element("button", { type: "button", class: "more" });
  const update = () => {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = wanted.length === 0 ? order : order.filter((row) => wanted.every((word) => wordsOf(row).includes(word)));
    body.replaceChildren(...found.slice(0, shown).map((row) => element("tr", {}, ...row.map((value, at) => {
      const column = columns[at];
      const absent = isMissing(value);
      const kinds = [column.number && "number", column.long && "long", absent && "unknown", column.bad && value > 0 && "bad"];
      const text = shownCell(column, value);
      const short = column.cut && !absent ? column.cut(text) : text;
      const title = short === text ? null : text;
      return element("td", { class: kinds.filter(Boolean).join(" ") || null, title }, short);
    }))));
    const all = found.length === rows.length ? "" : ` (of ${number(rows.length)})`;
    count.value = `${number(Math.min(shown, found.length))} of ${number(found.length)} shown${all}`;
    more.hidden = found.length <= shown;
    more.textContent = `Show ${number(Math.min(MORE_ROWS, found.length - shown))} more`;
  };
  columns.forEach((column, at) => {
    const button = element("button", { type: "button" }, column.label);
    const cell = element("th", { scope: "col", class: column.number ? "number" : null, "aria-sort": "none" }, button);
    button.addEventListener("click", () => {
      // Numbers are asked for from the greatest, names from the first.
      const first = column.number ? -1 : 1;
      sorted = sorted && sorted.at === at ? { at, way: -sorted.way } : { at, way: first };
      order = [...rows].sort((a, b) => compare(a[at], b[at], sorted.way));
      for (const other of head.children) other.setAttribute("aria-sort", "none");
      cell.setAttribute("aria-sort", sorted.way > 0 ? "ascending" : "descending");
      update();
    });
    head.append(cell);
  });
  filter.addEventListener("input", () => { shown = FIRST_ROWS; update(); });
  more.addEventListener("click", () => { shown += MORE_ROWS; update(); });
  section.append(
    element("div", { class: "filter" }, filter, count),
    element("div", { class: "rows", role: "region", "aria-label": label, tabindex: "0" },
      element("table", {}, element("thead", {}, head), body)),
    more);
  update();
};

const section = (id) => document.getElementById(id);
const timeCell = { show: (at) => clock(at, false) };

makeTable(section("verdict-table"), "verdicts", [
  { label: "Verdict" }, { label: "Who" }, container,
  { label: "From (UTC)", ...timeCell }, { label: "To (UTC)", ...timeCell }, { label: "State" }, { label: "What", long: true, cut: cut(140) },
], data.verdicts.map((row) => [
  row.label, row.who, row.container, row.from_ms / 1000, row.to_ms / 1000,
  row.ongoing ? "still going on" : "over", row.says,
]), "None.");

const tcpColumns = ["Connects", "Failed", "Accepts", "Ended", "Live"];
const fdColumns = ["Opens", "EMFILE", "FDs", "Limit"];
makeTable(section("processes"), "processes", [
  { label: "Process" }, { label: "PID", number: true, show: String }, { label: "Verdicts", number: true },
  container, { label: "User" },
  ...(data.tcp ? tcpColumns.map((label) => ({ label, number: true, bad: label === "Failed" })) : []),
  ...(data.fds ? fdColumns.map((label) => ({ label, number: true, bad: label === "EMFILE" })) : []),
  ...(data.fds ? [{ label: "Holds", absent: "", cut: cut(60) }] : []),
  { label: "Command line", cut: cut(60) },
], [...data.process_rows].sort((a, b) => b.verdicts - a.verdicts).map((row) => [
  row.ended ? `${row.name} (ended)` : row.name, row.pid, row.verdicts, row.container, row.user,
  ...(data.tcp ? [row.connects, row.failed, row.accepts, row.closed, row.open] : []),
  ...(data.fds ? [row.opens, row.refused, row.fds, row.limit, row.holds] : []),
  row.cmdline,
]), "No process was seen.");

const noSockets = data.time_wait_listed
  ? "None were there when they were listed last."
  : "Not known: TIME_WAIT sockets were never listed.";
makeTable(section("time-wait"), "owners of TIME_WAIT sockets", [
  { label: "Owner", absent: "not known" }, { label: "Sockets", number: true }, { label: "Thread" },
  { label: "Local" }, { label: "Remote" }, { label: "Found by" },
], data.owner_rows.map(([sockets, owner, thread, local, remote, found]) => [
  owner === "-" ? null : owner, sockets, thread, local, remote, found,
]), noSockets);
if (data.time_wait_rows.length > 0) {
  section("time-wait").append(element("h3", {}, "Each socket"));
  makeTable(section("time-wait"), "TIME_WAIT sockets", [
    { label: "Local" }, { label: "Remote" }, { label: "Owner" }, { label: "Thread" },
    container, { label: "Namespace", number: true, show: String }, { label: "Found by" },
  ], data.time_wait_rows.map(([owner, local, remote, netns]) => {
    const its = data.owners[owner];
    return [local, remote, its.name, its.thread, its.container, netns, its.found_by];
  }), noSockets);
}

// What each chart shows of the selected processes, and what its caption says. Draws nothing.

/** Series that one chart can tell apart. */
const SERIES = 6;

const named = (process, index) => ({ ...process, colour: colourOf(index) });
const known = data.processes.map(named);
const others = {
  ...data.others, colour: "c-rest",
  name: `${number(data.others_count)} others`,
};

/** Every row of one label, over all processes, as one. */
const byLabel = (labelled) => {
  const rows = new Map();
  for (const { label, points } of labelled) {
    const row = rows.get(label) ?? [];
    row.push(points);
    rows.set(label, row);
  }
  return [...rows].map(([label, sparse]) => {
    const values = dense(...sparse);
    return { label, values, total: sum(values) };
  });
};

/** Colours other than those of the first processes, so that a kind is not taken for a process. */
const coloured = (rows, from) => rows.map((row, index) => ({ colour: colourOf(from + index), ...row }));

const withRest = (rows, label, sparse, shade = "c-rest") => {
  const values = dense(...sparse);
  const total = sum(values);
  return total > 0 ? [...rows, { label, values, total, colour: shade }] : rows;
};

const descriptors = (processes) => {
  const single = processes.filter((process) => process !== others);
  const rows = single
    .filter((process) => process.fds.length > 0)
    .map((process) => {
      const values = level(process.fds, null, process.ended);
      const peak = highest(values);
      return { ...process, label: process.name, values, peak, total: peak.value };
    })
    .filter((row) => row.peak.value !== null)
    .sort((a, b) => share(b) - share(a) || b.total - a.total);
  const told = rows.slice(0, SERIES);
  const limits = [...new Set(told.map((row) => row.limit).filter((limit) => limit !== null))];
  const top = told[0];
  const highestPeak = Math.max(0, ...told.map((row) => row.peak.value));
  const shown = limits.filter((limit) => limit <= highestPeak * 5);
  const caption = [];
  if (top) {
    const limit = top.limit === null
      ? "its limit is not known, or there is none"
      : `${Math.round((top.peak.value * 100) / top.limit)} % of its limit of ${number(top.limit)}`;
    caption.push(`${top.name} held ${number(top.peak.value)} at the most (${limit}), at ${clock(timeOf(top.peak.bucket))}.`);
  }
  const hidden = limits.filter((limit) => !shown.includes(limit)).sort((a, b) => a - b);
  if (hidden.length > 0) caption.push(`Far above what is shown: the limit of ${hidden.map(number).join(", ")}.`);
  const missing = single.length - rows.length;
  if (missing > 0) caption.push(`Not known for ${counted(missing, "process", "processes")}.`);
  return {
    title: "Open descriptors against the limit", kind: "lines", unit: "open",
    caption: caption.join(" "),
    empty: !data.fds ? "Not watched: descriptors were left out (--no-fds)."
      : "Not known: no descriptor table of these processes was looked at.",
    rows: told.map((row) => ({ ...row, label: `${row.label} (peak ${number(row.peak.value)})` })),
    lines: shown.map((limit) => ({ label: `limit ${number(limit)}`, value: limit })),
  };
};

const share = (row) => (row.limit === null ? 0 : row.peak.value / row.limit);

const opens = (processes) => {
  const rows = byLabel(processes.flatMap((process) => process.opens));
  let told = coloured(largest(rows, SERIES, "other patterns"), 2);
  told = withRest(told, "other directories", processes.map((process) => process.elsewhere));
  told = withRest(told, "path not known", processes.map((process) => process.unknown), "c5");
  return {
    title: "Files opened a second, by directory", kind: "bars", unit: "a second",
    caption: told.length > 0 ? `${counted(sum(told.map((row) => row.total)), "file")} in all; ${told[0].label}: ${number(told[0].total)}.` : "",
    empty: data.fds ? "These processes opened no files." : "Not watched: descriptors were left out (--no-fds).",
    rows: told.map((row) => ({ ...row, label: `${row.label} (${number(row.total)})` })),
  };
};

const connections = (processes) => {
  const rows = processes.map((process) => {
    const values = dense(process.opened);
    const down = dense(process.closed);
    return { label: process.name, colour: process.colour, values, down, total: sum(values) + sum(down) };
  });
  const told = rows.filter((row) => row.total > 0).sort((a, b) => b.total - a.total);
  const all = (of) => sum(told.map((row) => sum(row[of])));
  return {
    title: "Connections a second: opened above, ended below", kind: "bars", unit: "a second",
    caption: told.length > 0 ? `${number(all("values"))} opened, ${number(all("down"))} ended.` : "",
    empty: data.tcp ? "These processes opened and ended no connection." : "Not watched: connections were left out (--no-tcp).",
    rows: told.slice(0, SERIES).flatMap((row) => [
      { ...row, label: `${row.label} (${number(sum(row.values))} opened, ${number(sum(row.down))} ended)` },
    ]),
  };
};

const failures = (processes) => {
  let told = coloured(largest(byLabel(processes.flatMap((process) => process.failed)), SERIES, "other errors"), 4);
  told = told.map((row) => ({ ...row, label: `connect: ${row.label}` }));
  told = withRest(told, "descriptor refused (EMFILE)", processes.map((process) => process.refused), "c-bad");
  return {
    title: "Failures a second", kind: "bars", unit: "a second",
    caption: told.map((row) => `${row.label}: ${number(row.total)}`).join("; ") + (told.length > 0 ? "." : ""),
    empty: "No connect failed, and no descriptor was refused, of what was watched of these processes.",
    rows: told.map((row) => ({ ...row, label: `${row.label} (${number(row.total)})` })),
  };
};

const timeWait = (processes) => {
  const of = (label, shade, points) => {
    const values = level(points, 0);
    const { value, bucket } = highest(values);
    return { label, colour: shade, values, total: value ?? 0, bucket };
  };
  const rows = processes.map((process) => of(process.name, process.colour, process.time_wait));
  const told = largest(rows, SERIES, "other processes");
  const unowned = of("owner not known", "c5", data.time_wait_unowned);
  if (unowned.total > 0) told.push(unowned);
  let empty = "These processes had no TIME_WAIT socket.";
  if (!data.time_wait_listed) empty = "Not known: TIME_WAIT sockets were never listed.";
  if (!data.tcp) empty = "Not watched: connections were left out (--no-tcp).";
  return {
    title: "TIME_WAIT sockets by owner", kind: "area", unit: "sockets",
    caption: told.length > 0 ? `${told[0].label} had ${number(told[0].total)} at the most.` : "",
    empty, rows: told.map((row) => ({ ...row, label: `${row.label} (at most ${number(row.total)})` })),
  };
};

const losses = () => {
  const rows = coloured(largest(byLabel(data.lost), SERIES, "other causes"), 1);
  return {
    title: "Lost a second: all numbers here are lower bounds", kind: "bars", unit: "a second",
    caption: rows.map((row) => `${row.label}: ${number(row.total)}`).join("; "),
    empty: "", rows,
  };
};

const charts = [descriptors, opens, connections, failures, timeWait];
if (data.lost.length > 0) charts.push(losses);


// Draws the timeline: one view of time that all charts and lanes share, zoomed together.

const AXIS = 52;
const RIGHT = 28;
/** Bars that are told apart at once. */
const BARS = 120;
/** Verdicts with a lane of their own; the table has all. */
const LANES = 20;

const allLost = dense(...data.lost.map((row) => row.points));
const timeline = document.getElementById("timeline");
const view = { from: begin, to: end };
let plots = [];

const lanes = element("div", { class: "panel" });
const range = element("output", { "aria-live": "polite" });
const holder = element("div");

/** Buckets that make one bar in this view. */
const stepNow = () => Math.max(1, Math.ceil((view.to - view.from) / seconds / BARS));

const setView = (from, to) => {
  const shortest = Math.min(end - begin, 4 * seconds);
  const length = Math.min(Math.max(to - from, shortest), end - begin);
  view.from = Math.min(Math.max(from, begin), end - length);
  view.to = view.from + length;
  const whole = length >= end - begin;
  range.value = `${clock(view.from)} – ${clock(view.to)} UTC${whole ? "" : " (zoomed)"}`;
  for (const button of timeline.querySelectorAll("[data-needs-zoom]")) button.disabled = whole;
  for (const plot of plots) plot.follow();
  placeLanes();
};

/** A span of the lanes in percent of the view. */
const placeLanes = () => {
  const share = (at) => ((at - view.from) / (view.to - view.from)) * 100;
  for (const mark of lanes.querySelectorAll("[data-from]")) {
    const from = Math.max(0, share(Number(mark.dataset.from)));
    const to = Math.min(100, share(Number(mark.dataset.to)));
    mark.hidden = to < 0 || from > 100;
    mark.style.left = `min(${from}%, 100% - 4px)`;
    mark.style.width = `${Math.max(0, to - from)}%`;
  }
};

/** Shows a span with some time before and after it. */
const show = (from, to) => {
  const margin = Math.max((to - from) * 0.5, 2, seconds * 8);
  setView(from - margin, to + margin);
  timeline.scrollIntoView({ behavior: "smooth" });
};

const showVerdict = (id) => {
  const verdict = data.verdicts.find((candidate) => candidate.id === id);
  if (!verdict) return;
  const its = known.findIndex((process) => process.verdicts.includes(id));
  if (its >= 0 && !selected.has(its)) {
    selected.add(its);
    chips.querySelectorAll("input")[its].checked = true;
    draw();
  }
  show(verdict.from_ms / 1000, verdict.to_ms / 1000);
};

const makeLanes = () => {
  for (const verdict of data.verdicts.slice(0, LANES)) {
    const told = `${verdict.label} ${verdict.who}`;
    const mark = element("button", {
      type: "button", title: told, "aria-label": `${told}: show in the timeline`,
      "data-from": verdict.from_ms / 1000, "data-to": verdict.to_ms / 1000,
    });
    mark.addEventListener("click", () => showVerdict(verdict.id));
    lanes.append(element("div", { class: `lane ${verdict.name}` },
      element("span", { class: "lane-label" }, element("b", {}, verdict.label), ` ${verdict.who}`),
      element("div", { class: "lane-track" }, mark)));
  }
  if (data.verdicts.length > LANES) {
    const hidden = counted(data.verdicts.length - LANES, "verdict");
    lanes.append(element("p", { class: "quiet" }, `… and ${hidden} more, in the table below.`));
  }
  if (data.lost.length > 0) {
    const track = element("div", { class: "lane-track" });
    allLost.forEach((count, bucket) => {
      if (count > 0) track.append(element("span", {
        title: `${number(count)} lost`, "data-from": timeOf(bucket), "data-to": timeOf(bucket + 1),
      }));
    });
    lanes.append(element("div", { class: "lane lost" },
      element("span", { class: "lane-label" }, element("b", {}, "LOST"), " events that did not arrive"), track));
  }
  return lanes.childElementCount > 0;
};

/** Marks verdicts and losses behind what a chart shows. */
const drawMarks = (plot) => {
  const { ctx, bbox } = plot;
  const x = (at) => plot.valToPos(at, "x", true);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const red = colour("red");
  const hues = { churn: colour("amber"), failing_connects: colour("violet"), fd_burst: colour("blue"), fd_near_limit: colour("amber"), fd_leak: colour("amber") };
  for (const verdict of data.verdicts) {
    const [from, to] = [x(verdict.from_ms / 1000), x(verdict.to_ms / 1000)];
    ctx.fillStyle = hues[verdict.name] ?? red;
    ctx.globalAlpha = 0.06;
    ctx.fillRect(from, bbox.top, Math.max(2, to - from), bbox.height);
    ctx.globalAlpha = 0.55;
    ctx.fillRect(from, bbox.top, devicePixelRatio, bbox.height);
  }
  ctx.globalAlpha = 1;
  ctx.fillStyle = colour("mark");
  allLost.forEach((count, bucket) => {
    if (count > 0) ctx.fillRect(x(timeOf(bucket)), bbox.top, Math.max(2, x(timeOf(bucket + 1)) - x(timeOf(bucket))), bbox.height);
  });
  ctx.restore();
};

const shortNumber = (value) => (Math.abs(value) >= 10000 ? `${rates.format(value / 1000)}k` : rates.format(Math.abs(value)));

/** The lines, bars and fills of one chart, with the numbers that they are drawn from. */
const seriesOf = (chart, step) => {
  const series = [];
  const columns = [];
  const raw = [];
  const add = (row, values, told, style) => {
    columns.push(values);
    raw.push(told);
    series.push({ label: row.label, value: (_plot, _value, at, index) => (index === null || raw[at - 1][index] === null ? "" : shortNumber(raw[at - 1][index])), points: { show: false }, ...style });
  };
  if (chart.kind === "lines") {
    for (const line of chart.lines ?? []) {
      const values = new Array(data.buckets).fill(line.value);
      add(line, values, values, { stroke: colour("c-bad"), width: 1.5, dash: [6, 4] });
    }
    for (const row of chart.rows) {
      add(row, row.values, row.values, { stroke: colour(row.colour), width: 2, paths: uPlot.paths.stepped({ align: 1 }) });
    }
  } else if (chart.kind === "area") {
    const heights = stacked(chart.rows.map((row) => row.values));
    chart.rows.forEach((row, at) => add(row, heights[at], row.values, {
      stroke: colour(row.colour), fill: colour(row.colour), width: 1, paths: uPlot.paths.stepped({ align: 1 }),
    }));
  } else {
    const paths = uPlot.paths.bars({ align: 1, size: [0.92, 40, 1] });
    const up = chart.rows.map((row) => barsOf(row.values, step));
    stacked(up).forEach((heights, at) => {
      const shade = colour(chart.rows[at].colour);
      add(chart.rows[at], heights, up[at], { fill: shade, stroke: shade, width: 0, paths });
    });
    const mirrored = chart.rows.filter((row) => row.down);
    const down = mirrored.map((row) => barsOf(row.down, step));
    stacked(down).forEach((heights, at) => {
      const shade = colour(mirrored[at].colour);
      add({ label: "ended" }, heights.map((height) => -height), down[at], { fill: shade, stroke: shade, width: 0, paths });
    });
  }
  return { series, columns };
};

/** From zero, but for lines that are all far above it: there what is left to the limit counts. */
const rangeOf = (chart, low, high) => {
  if (high <= low && high === 0) return [0, 1];
  const room = (high - low) * 0.15;
  if (chart.kind === "lines" && low > high / 2) return [low - Math.max(room, 1), high + Math.max(room, 1)];
  return [Math.min(0, low * 1.1), high * 1.1];
};

const timesOf = (chart, step) => {
  if (chart.kind !== "bars") step = 1;
  const length = Math.ceil(data.buckets / step);
  return Array.from({ length }, (_, at) => timeOf(at * step));
};

const makePlot = (chart, target, height) => {
  let step = stepNow();
  const made = seriesOf(chart, step);
  const axis = { stroke: colour("quiet"), grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1, size: 4 }, font: "12px system-ui, sans-serif" };
  const plot = new uPlot({
    width: Math.max(200, target.clientWidth), height,
    padding: [8, RIGHT, 0, 0],
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    scales: {
      x: { time: true, range: () => [view.from, view.to] },
      y: { range: (_plot, low, high) => rangeOf(chart, low ?? 0, high ?? 0) },
    },
    axes: [
      { ...axis, size: 30, values: [
        [31536000, "{YYYY}", null, null, null, null, null, null, 1],
        [86400, "{YYYY}-{MM}-{DD}", null, null, null, null, null, null, 1],
        [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, null, null, null, null, 1],
        [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
        [0.001, ":{ss}.{fff}", "\n{HH}:{mm}", null, null, null, null, null, 1],
      ] },
      { ...axis, size: AXIS, values: (_plot, splits) => splits.map(shortNumber) },
    ],
    legend: { live: true },
    cursor: {
      sync: { key: "timeline", setSeries: false },
      drag: { x: true, y: false, setScale: false },
      points: { show: false }, y: false,
      bind: { dblclick: () => () => { setView(begin, end); return null; } },
    },
    hooks: {
      drawClear: [drawMarks],
      setSelect: [(self) => {
        const { left, width } = self.select;
        if (width < 4) return;
        setView(self.posToVal(left, "x"), self.posToVal(left + width, "x"));
        self.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      }],
    },
    series: [{ label: "UTC" }, ...made.series],
  }, [timesOf(chart, step), ...made.columns], target);
  // The mirrored halves have their row's legend already.
  made.series.forEach((row, at) => {
    if (row.label === "ended") target.querySelectorAll(".u-series")[at + 1]?.remove();
  });
  return {
    follow: () => {
      if (chart.kind === "bars" && stepNow() !== step) {
        step = stepNow();
        const next = seriesOf(chart, step);
        made.series.forEach((row, at) => { row.value = next.series[at].value; plot.series[at + 1].value = row.value; });
        plot.setData([timesOf(chart, step), ...next.columns], false);
      }
      plot.setScale("x", { min: view.from, max: view.to });
    },
    resize: () => plot.setSize({ width: Math.max(200, target.clientWidth), height }),
    destroy: () => plot.destroy(),
  };
};

const makeFigure = (chart) => {
  const figure = element("figure", { class: "panel" },
    element("figcaption", {}, element("h3", {}, chart.title), element("p", {}, chart.rows.length > 0 ? chart.caption : chart.empty)));
  holder.append(figure);
  if (chart.rows.length === 0) return;
  const target = element("div", { class: "plot", role: "img", "aria-label": `${chart.title}. ${chart.caption}` });
  figure.append(target);
  plots.push(makePlot(chart, target, innerWidth < 640 ? 130 : 160));
};

// Those with verdicts; where nobody has one, the busiest.
const selected = new Set(known.flatMap((process, index) => (process.verdicts.length > 0 ? [index] : [])));
if (selected.size === 0) known.slice(0, 5).forEach((_, index) => selected.add(index));

const draw = () => {
  for (const plot of plots) plot.destroy();
  plots = [];
  holder.replaceChildren();
  document.documentElement.classList.toggle("drawn-dark", isDark.matches);
  const chosen = [...known, others].filter((_, index) => selected.has(index));
  for (const chart of charts) makeFigure(chart(chosen));
};

const chips = element("fieldset", { class: "chips" }, element("legend", {}, "Processes in the charts"));

const makeChips = () => {
  const all = data.others_count > 0 ? [...known, others] : known;
  all.forEach((process, index) => {
    const box = element("input", { type: "checkbox" });
    box.checked = selected.has(index);
    box.addEventListener("change", () => {
      if (box.checked) selected.add(index); else selected.delete(index);
      draw();
    });
    const swatch = element("i");
    swatch.style.background = `var(--${process.colour})`;
    const where = process.container ? ` in ${process.container.slice(0, 12)}` : "";
    chips.append(element("label", { class: "chip" }, box, swatch, process.name + where));
  });
};

const tool = (label, title, act, needsZoom = false) => {
  const button = element("button", { type: "button", title, "aria-label": title, "data-needs-zoom": needsZoom }, label);
  button.addEventListener("click", act);
  return button;
};

const zoom = (factor) => {
  const middle = (view.from + view.to) / 2;
  const half = ((view.to - view.from) / 2) * factor;
  setView(middle - half, middle + half);
};
const move = (part) => {
  const by = (view.to - view.from) * part;
  setView(view.from + by, view.to + by);
};

const makeTimeline = () => {
  timeline.append(element("div", { class: "tools", role: "toolbar", "aria-label": "Zoom" },
    tool("+", "Zoom in", () => zoom(0.5)),
    tool("−", "Zoom out", () => zoom(2), true),
    tool("←", "Earlier", () => move(-0.5), true),
    tool("→", "Later", () => move(0.5), true),
    tool("All", "Show all of the time", () => setView(begin, end), true),
    range));
  if (makeLanes()) timeline.append(lanes);
  makeChips();
  timeline.append(chips, holder,
    element("p", { class: "quiet" }, "Drag over a chart to zoom in, double-click to see all. Shaded: verdicts, and in which intervals events were lost."));
  draw();
  setView(begin, end);
  holder.addEventListener("pointerenter", () => timeline.classList.add("has-cursor"));
  holder.addEventListener("pointerleave", () => timeline.classList.remove("has-cursor"));
  let width = holder.clientWidth;
  new ResizeObserver(() => {
    if (holder.clientWidth === width) return;
    width = holder.clientWidth;
    for (const plot of plots) plot.resize();
  }).observe(holder);
  isDark.addEventListener("change", draw);
  for (const button of document.querySelectorAll("[data-verdict]")) {
    button.addEventListener("click", () => showVerdict(Number(button.dataset.verdict)));
  }
  for (const button of document.querySelectorAll("[data-offset-ms]")) {
    const at = begin + Number(button.dataset.offsetMs) / 1000;
    button.addEventListener("click", () => show(at, at));
  }
};

makeTimeline();


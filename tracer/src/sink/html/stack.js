// Numbers over time as the charts draw them: sparse to dense, many buckets to fewer bars, several
// series to a stack. Draws nothing.

/** Counts of all these sparse series (bucket, count, …) as one number for each bucket. */
const dense = (...sparse) => {
  const sums = new Float64Array(data.buckets);
  for (const points of sparse) {
    for (let at = 0; at < points.length; at += 2) sums[points[at]] += points[at + 1];
  }
  return sums;
};

const sum = (values) => values.reduce((total, value) => total + value, 0);

/** A level (bucket, peak, last, …) as its peak in each bucket; null where it is not known. */
const level = (points, before = null, ended = null) => {
  const peaks = new Array(data.buckets).fill(null);
  let [at, now] = [0, before];
  for (let bucket = 0; bucket < peaks.length; bucket += 1) {
    if (points[at] === bucket) {
      peaks[bucket] = points[at + 1];
      now = points[at + 2];
      at += 3;
    } else {
      peaks[bucket] = now;
    }
    if (ended !== null && bucket >= ended) now = null;
  }
  return peaks;
};

/** The highest of some values and where it is. */
const highest = (values) => {
  let best = { value: null, bucket: 0 };
  values.forEach((value, bucket) => {
    if (value !== null && (best.value === null || value > best.value)) best = { value, bucket };
  });
  return best;
};

/** So many buckets together make one bar. */
const barsOf = (values, step) => {
  const bars = new Array(Math.ceil(values.length / step)).fill(0);
  values.forEach((value, bucket) => { bars[Math.floor(bucket / step)] += value ?? 0; });
  return bars.map((count) => count / (step * seconds));
};

/** Each row on top of the ones after it; the first is drawn first, and so the highest. */
const stacked = (rows) => {
  const heights = rows.map(() => []);
  const length = rows.length > 0 ? rows[0].length : 0;
  for (let at = 0; at < length; at += 1) {
    let height = 0;
    for (let row = rows.length - 1; row >= 0; row -= 1) {
      height += rows[row][at] ?? 0;
      heights[row].push(height);
    }
  }
  return heights;
};

/** The largest rows by themselves, the others as one. */
const largest = (rows, count, restLabel) => {
  const sorted = rows.filter((row) => row.total > 0).sort((a, b) => b.total - a.total);
  const kept = sorted.slice(0, count);
  const rest = sorted.slice(count);
  if (rest.length > 0) {
    const values = new Float64Array(data.buckets);
    for (const row of rest) row.values.forEach((value, bucket) => { values[bucket] += value ?? 0; });
    const total = sum(rest.map((row) => row.total));
    kept.push({ label: `${rest.length} ${restLabel}`, colour: "c-rest", values, total });
  }
  return kept;
};


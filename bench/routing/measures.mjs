// The measures of RouteLLM (arXiv 2406.18665), as the project's scorer computes them: ties count as random order.

/** rows: {score, weak, strong, weakCost, strongCost}. */
export function measure(rows) {
  const points = curve(rows);
  const [first, last] = [points[0], points.at(-1)];
  const gap = last.quality - first.quality;
  let area = 0;
  for (let at = 1; at < points.length; at += 1) {
    area += ((points[at].share - points[at - 1].share) * (points[at].quality + points[at - 1].quality)) / 2;
  }
  const enough = 0.95 * last.quality;
  const cost = first.quality >= enough ? first.cost : reach(points, enough, 'cost');
  return {
    count: rows.length,
    apgr: (area - first.quality) / gap,
    cpt50: reach(points, first.quality + 0.5 * gap, 'share'),
    cpt80: reach(points, first.quality + 0.8 * gap, 'share'),
    save95: 1 - cost / last.cost,
  };
}

/** Standard error of APGR, by `times` resamplings with a fixed seed. */
export function standardError(rows, times = 200) {
  const next = randomFrom(7);
  const values = Array.from(
    { length: times },
    () => measure(rows.map(() => rows[Math.floor(next() * rows.length)])).apgr,
  ).filter(Number.isFinite);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/** Mulberry32: numbers from 0 to 1 in a fixed order. */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function curve(rows) {
  const count = rows.length;
  const sum = (value) => rows.reduce((total, row) => total + value(row), 0);
  let [share, quality, cost] = [0, sum((row) => row.weak) / count, sum((row) => row.weakCost)];
  const points = [{ share, quality, cost }];
  const sorted = rows.toSorted((one, other) => other.score - one.score);
  for (const [at, row] of sorted.entries()) {
    share += 1 / count;
    quality += (row.strong - row.weak) / count;
    cost += row.strongCost - row.weakCost;
    if (at + 1 === count || sorted[at + 1].score !== row.score) points.push({ share, quality, cost });
  }
  return points;
}

function reach(points, quality, what) {
  for (let at = 1; at < points.length; at += 1) {
    const [before, after] = [points[at - 1], points[at]];
    if (after.quality < quality) continue;
    const part =
      after.quality === before.quality ? 0 : Math.max(0, (quality - before.quality) / (after.quality - before.quality));
    return before[what] + part * (after[what] - before[what]);
  }
  return Number.NaN;
}

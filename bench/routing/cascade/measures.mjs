// RouteLLM's measures (arXiv 2406.18665) of a score by which prompts go to the strong model, highest first.

/** `rows` with `weak_correct` and `strong_correct`. Ties count as any order does on average. */
export function measure(rows, scores) {
  const points = curve(rows, scores);
  const [weak, strong] = [points[0].quality, points.at(-1).quality];
  let area = 0;
  for (let i = 1; i < points.length; i += 1) {
    area += ((points[i].share - points[i - 1].share) * (points[i].quality + points[i - 1].quality)) / 2;
  }
  const closes = (part) => shareFor(points, weak + part * (strong - weak));
  return { apgr: (area - weak) / (strong - weak), cpt50: closes(0.5), cpt80: closes(0.8), weak, strong };
}

/** Bootstrap over rows: the standard error of APGR. */
export function standardError(rows, scores, random, samples = 300) {
  const values = [];
  for (let sample = 0; sample < samples; sample += 1) {
    const picks = rows.map(() => Math.floor(random() * rows.length));
    const { apgr } = measure(
      picks.map((i) => rows[i]),
      picks.map((i) => scores[i]),
    );
    if (Number.isFinite(apgr)) values.push(apgr);
  }
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
}

/** Chance that of a wrong and a right answer the wrong one has the higher score. */
export function rankingChance(rows, scores) {
  const order = rows.map((_, i) => i).sort((one, other) => scores[one] - scores[other]);
  let [below, wins, wrong] = [0, 0, 0];
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end < order.length && scores[order[end]] === scores[order[start]]) end += 1;
    const tied = order.slice(start, end);
    const right = tied.reduce((sum, i) => sum + rows[i].weak_correct, 0);
    wins += (tied.length - right) * (below + right / 2);
    wrong += tied.length - right;
    below += right;
    start = end;
  }
  return wins / (wrong * below);
}

/** A small generator of numbers in [0, 1) with a seed (mulberry32). */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function curve(rows, scores) {
  const order = rows.map((_, i) => i).sort((one, other) => scores[other] - scores[one]);
  let quality = rows.reduce((sum, row) => sum + row.weak_correct, 0);
  const points = [{ share: 0, quality: quality / rows.length }];
  for (let i = 0; i < order.length; i += 1) {
    const row = rows[order[i]];
    quality += row.strong_correct - row.weak_correct;
    if (i + 1 === order.length || scores[order[i + 1]] !== scores[order[i]]) {
      points.push({ share: (i + 1) / rows.length, quality: quality / rows.length });
    }
  }
  return points;
}

function shareFor(points, target) {
  for (let i = 1; i < points.length; i += 1) {
    const [before, after] = [points[i - 1], points[i]];
    if (after.quality < target) continue;
    const part = after.quality === before.quality ? 0 : (target - before.quality) / (after.quality - before.quality);
    return before.share + Math.max(0, part) * (after.share - before.share);
  }
  return Number.NaN;
}

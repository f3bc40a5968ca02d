/** Milliseconds; null when nothing was answered. Exact (nearest rank), not interpolated. */
export interface Percentiles {
  p50Ms: number | null;
  p95Ms: number | null;
  p99Ms: number | null;
}

/** Up to here times are counted one by one; those above, minutes, are few and are sorted. */
const countedBelowMs = 65_536;
/** With fewer, clearing the counters costs more than sorting. */
const worthCounting = 8_192;

/** Nearest rank: the smallest time that at least p of all answers did not exceed. */
export function percentiles(lists: readonly Float64Array[]): Percentiles {
  const total = lists.reduce((sum, list) => sum + list.length, 0);
  if (total === 0) return { p50Ms: null, p95Ms: null, p99Ms: null };
  const ranks = [0.5, 0.95, 0.99].map((share) => Math.ceil(share * total));
  const [p50Ms = null, p95Ms = null, p99Ms = null] =
    total < worthCounting ? bySorting(lists, total, ranks) : byCounting(lists, ranks);
  return { p50Ms, p95Ms, p99Ms };
}

function bySorting(lists: readonly Float64Array[], total: number, ranks: number[]): (number | undefined)[] {
  const all = new Float64Array(total);
  let written = 0;
  for (const list of lists) {
    all.set(list, written);
    written += list.length;
  }
  all.sort();
  return ranks.map((rank) => all[rank - 1]);
}

/** `ranks` ascend. */
function byCounting(lists: readonly Float64Array[], ranks: number[]): (number | undefined)[] {
  const counts = new Uint32Array(countedBelowMs);
  const long: number[] = [];
  for (const list of lists) {
    for (const ms of list) {
      if (ms >= 0 && ms < countedBelowMs) counts[ms] = (counts[ms] ?? 0) + 1;
      else long.push(ms);
    }
  }
  const sorted = Float64Array.from(long).sort();
  let ms = -1;
  let below = 0;
  return ranks.map((rank) => {
    while (below < rank && ms < countedBelowMs) {
      ms += 1;
      below += counts[ms] ?? 0;
    }
    return below >= rank ? ms : sorted[rank - below - 1];
  });
}

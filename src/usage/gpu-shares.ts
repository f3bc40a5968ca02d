import type { Calendar } from './calendar.ts';
import type { Cell } from './cells.ts';
import { type InstanceRow, instanceCost } from './instance-cost.ts';

export interface GpuSpan {
  fromMs: number;
  toMs: number;
  nowMs: number;
}

/**
 * What machines cost, by the rows of a report; the shares add up to the whole. A machine belongs to the backend that
 * bears its name, over whose models, or askers, it is spread by the time that they took. One that no backend is named
 * after is a row of its own: it cost money, and served nobody that we know of.
 */
export function gpuShares(
  groupBy: 'day' | 'backend' | 'model' | 'kind' | 'principal',
  cells: readonly Cell[],
  machines: readonly InstanceRow[],
  span: GpuSpan,
  calendar: Calendar,
): Map<string, number> {
  const shares = new Map<string, number>();
  const add = (key: string, nanoUsd: number) => {
    if (nanoUsd > 0) shares.set(key, (shares.get(key) ?? 0) + nanoUsd);
  };
  for (const machine of machines) {
    const costNanoUsd = instanceCost(machine, span.fromMs, span.toMs, span.nowMs).costNanoUsd;
    if (groupBy === 'kind') add('dedicated', costNanoUsd);
    else if (groupBy === 'backend') add(machine.name, costNanoUsd);
    else if (groupBy === 'day') for (const [day, nanoUsd] of costByDay(machine, span, calendar)) add(day, nanoUsd);
    else {
      const keyOf = (cell: Cell) => (groupBy === 'model' ? `${cell.backend}/${cell.model}` : cell.principalId);
      for (const [key, nanoUsd] of costByTime(machine.name, costNanoUsd, cells, keyOf)) add(key, nanoUsd);
    }
  }
  return shares;
}

function* costByDay(
  machine: InstanceRow,
  { fromMs, toMs, nowMs }: GpuSpan,
  calendar: Calendar,
): Generator<[string, number]> {
  const untilMs = Math.min(toMs, machine.gone_at_ms ?? nowMs);
  for (let ms = Math.max(fromMs, machine.requested_at_ms); ms < untilMs; ) {
    const { day } = calendar.at(ms);
    yield [
      day.name,
      instanceCost(machine, Math.max(fromMs, day.startMs), Math.min(toMs, day.endMs), nowMs).costNanoUsd,
    ];
    ms = day.endMs;
  }
}

/** Rounded so that the parts add up: the last one takes what is left. */
function* costByTime(
  name: string,
  costNanoUsd: number,
  cells: readonly Cell[],
  keyOf: (cell: Cell) => string,
): Generator<[string, number]> {
  const busyMs = new Map<string, number>();
  for (const cell of cells) {
    if (cell.backend !== name || cell.kind !== 'dedicated' || cell.answeredMs === 0) continue;
    busyMs.set(keyOf(cell), (busyMs.get(keyOf(cell)) ?? 0) + cell.answeredMs);
  }
  if (busyMs.size === 0) yield [name, costNanoUsd];
  const totalMs = [...busyMs.values()].reduce((sum, ms) => sum + ms, 0);
  let leftNanoUsd = costNanoUsd;
  const served = [...busyMs].sort(([one], [other]) => (one < other ? -1 : 1));
  for (const [index, [key, ms]] of served.entries()) {
    const share = index === served.length - 1 ? leftNanoUsd : Math.round((costNanoUsd * ms) / totalMs);
    leftNanoUsd -= share;
    yield [key, share];
  }
}

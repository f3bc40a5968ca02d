import type { Calendar } from './calendar.ts';
import { type InstanceRow, instanceCost } from './instance-cost.ts';

export interface GpuSpan {
  fromMs: number;
  toMs: number;
  nowMs: number;
}

/** The rows of a report, as far as GPU time is concerned. */
export interface BusyGroup {
  key: string;
  dedicated_busy_ms: number;
}

/**
 * What machines cost, by the rows of a report; the shares add up to the whole. A machine belongs to the backend that
 * bears its name, over whose models it is spread by the time that they took. One that no backend is named after is
 * a row of its own: it cost money, and served nobody that we know of.
 */
export function gpuShares(
  groupBy: 'day' | 'backend' | 'model' | 'kind',
  groups: readonly BusyGroup[],
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
    else for (const [model, nanoUsd] of costByModel(machine.name, costNanoUsd, groups)) add(model, nanoUsd);
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

/** Rounded so that the parts add up: the last model takes what is left. */
function* costByModel(name: string, costNanoUsd: number, groups: readonly BusyGroup[]): Generator<[string, number]> {
  const served = groups.filter(({ key, dedicated_busy_ms }) => key.startsWith(`${name}/`) && dedicated_busy_ms > 0);
  const busyMs = served.reduce((sum, group) => sum + group.dedicated_busy_ms, 0);
  if (served.length === 0) yield [name, costNanoUsd];
  let leftNanoUsd = costNanoUsd;
  for (const [index, { key, dedicated_busy_ms }] of served.entries()) {
    const share = index === served.length - 1 ? leftNanoUsd : Math.round((costNanoUsd * dedicated_busy_ms) / busyMs);
    leftNanoUsd -= share;
    yield [key, share];
  }
}

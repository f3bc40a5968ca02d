import type { DeploymentRow } from '../usage/deployments.ts';
import type { InstanceRow } from '../usage/instance-cost.ts';

const minuteMs = 60_000;
/** A server that was ready and is silent for so long: its machine is broken. Docker has restarted it several times by then. */
const brokenAfterMs = 5 * minuteMs;

/**
 * Why a machine is given up that has not come far enough in its time; null: it still has some. `bootMs` takes the place
 * of the limit by type until it is active.
 */
export function tooLate(
  row: Pick<DeploymentRow, 'state' | 'state_since_ms' | 'ready_at_ms'>,
  { instance_type: type }: Pick<InstanceRow, 'instance_type'>,
  bootMs: number | null,
  nowMs: number,
): string | null {
  const isBooting = row.state === 'booting';
  const usualMs = isBooting ? (bootMs ?? bootLimitMs(type)) : startLimitMs(type);
  const limitMs = row.ready_at_ms === null ? usualMs : brokenAfterMs;
  if (nowMs - row.state_since_ms <= limitMs) return null;
  return isBooting
    ? `it was not active after ${minutes(limitMs)}`
    : `its model server did not answer for ${minutes(limitMs)}`;
}

export function minutes(ms: number): string {
  return `${Math.max(1, Math.round(ms / minuteMs))} min`;
}

/**
 * How long a machine may take until it is active: 2.5 to 16 minutes have been seen for one GPU, and 25 for eight
 * (dstackai/dstack#2342). Whoever gives up too early pays for the next boot as well.
 */
function bootLimitMs(instanceType: string): number {
  return (gpusOf(instanceType) > 1 ? 40 : 25) * minuteMs;
}

/** And from then until its server answers: the image and the weights have to come first. */
function startLimitMs(instanceType: string): number {
  return (gpusOf(instanceType) > 1 ? 45 : 30) * minuteMs;
}

/** `gpu_8x_h100_sxm5` -> 8. */
function gpusOf(instanceType: string): number {
  return Number(/^gpu_(\d+)x_/.exec(instanceType)?.[1] ?? 1);
}

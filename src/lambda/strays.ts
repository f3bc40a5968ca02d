import type { Log } from '../log.ts';
import type { DeploymentRow } from '../usage/deployments.ts';
import type { InstanceRow } from '../usage/instance-cost.ts';
import type { Fleet } from './fleet.ts';
import type { FleetInstance } from './fleet-instance.ts';
import type { Tell } from './tell.ts';
import { isEnding } from './terminate.ts';

/**
 * Ends machines of deployments that have others, or have ended: they turned up when nobody waited for them any more, or
 * ran on after their termination. `rows` are the deployments that have not ended, read after the machines.
 */
export async function endStrays(
  { fleet, tell, log }: { fleet: Fleet; tell: Tell; log: Log },
  seen: { machines: readonly InstanceRow[]; rows: readonly DeploymentRow[]; listed: readonly FleetInstance[] },
  signal: AbortSignal,
): Promise<void> {
  const strays = seen.machines.filter(
    (machine) =>
      machine.deployment_id !== null &&
      machine.gone_at_ms === null &&
      machine.terminate_requested_at_ms === null &&
      !seen.rows.some((row) => row.intent_id === machine.intent_id),
  );
  for (const { intent_id: intentId, name } of strays) {
    const target = seen.listed.find((instance) => instance.id !== null && instance.intentId === intentId);
    if (!target || isEnding(target.status)) continue;
    log.warn({ instance: target.id }, 'a machine that no deployment has is being ended');
    const text = `"${name}" (${target.id}) runs for a deployment that does not have it, and is terminated.`;
    await tell('orphan_found', `stray:${intentId}`, text);
    await fleet
      .terminate([target], signal, 'orphan')
      .catch((error: unknown) => log.warn({ error, instance: target.id }, 'it could not be ended; trying again'));
  }
}

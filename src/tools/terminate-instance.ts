import { z } from 'zod';
import type { DeploymentRow } from '../usage/deployments.ts';
import { type HuntRow, wishOf } from '../usage/hunts.ts';
import { presentInstance } from './list-gpu-instances.ts';
import { duration, usd } from './text.ts';
import { defineTool, type ToolContext } from './tool.ts';

const name = 'terminate_instance';
const tooLate =
  'A machine was found and is being launched: list_gpu_instances shows it in a moment; terminate that one.';

const noneWanted = 'No machine is looked for any more, and one that turns up all the same is terminated.';

export const terminateInstance = defineTool({
  name,
  title: 'Terminate GPU instances',
  effect: 'destroy',
  scope: 'operate',
  recorded: ['instances', 'id', 'name', 'instance_type', 'region', 'status', 'cost_so_far_usd'],
  openWorld: true,
  description:
    'End instances for good (billing stops, the local disk is erased, no deployment replaces them), or hunts. The first call returns what would be ended and confirm_token; repeat the call with it after the person agreed.',
  input: z.strictObject({
    instances: z.array(z.string().min(1)).min(1).describe('ids or names, of hunts too'),
    confirm_token: z.string().optional(),
  }),
  output: z.object({
    status: z.enum(['confirm_required', 'declined', 'terminating', 'terminated', 'still_running', 'cancelled']),
    instances: z.array(z.looseObject({ name: z.string(), status: z.string() })),
    note: z.string(),
    confirm_token: z.string().optional(),
  }),
  async handler({ instances: wanted, confirm_token: token }, context) {
    const { fleet, deployments, signal } = context;
    const { hunts, waiting, others } = await pickWaiting(wanted, context);
    const targets = others.length > 0 ? await fleet.find(others, signal) : [];
    const shown = [
      ...[...hunts.map(presentHunt), ...waiting.map(presentWaiting)],
      ...targets.map((instance) => presentInstance(instance, context)),
    ];
    const confirmed = await context.confirm({
      tool: name,
      subject: [...hunts, ...waiting, ...targets].map(({ id }) => id).sort(),
      token,
      plan: async () => shown,
      question: () => `Terminate ${shown.map(describe).join('; ')}? What is on their local disks is lost.`,
    });
    if (confirmed.status === 'confirm_required') {
      return {
        status: 'confirm_required' as const,
        instances: shown,
        note: 'Nothing was terminated yet.',
        confirm_token: confirmed.token,
      };
    }
    if (confirmed.status === 'declined')
      return { status: 'declined' as const, instances: shown, note: 'The person declined. Nothing was terminated.' };
    const cancelled = [...(await cancel(hunts, context)), ...(await endWaiting(waiting, context))];
    const isTooLate = cancelled.some((hunt) => hunt.status === 'launching');
    if (targets.length === 0) {
      return {
        status: isTooLate ? ('still_running' as const) : ('cancelled' as const),
        instances: cancelled,
        note: isTooLate ? tooLate : waiting.length > 0 ? noneWanted : 'No machine is looked for any more.',
      };
    }
    // First, so that nothing takes their place.
    const intentIds = targets.flatMap(({ intentId }) => intentId ?? []);
    if (intentIds.length > 0) await deployments.endAsked(intentIds, context.clock.nowMs()).catch(() => []);
    const results = await fleet.terminate(targets, signal);
    const statuses = [...results.map((result) => result.status), ...(isTooLate ? ['still_running' as const] : [])];
    const status =
      (['still_running', 'terminating', 'terminated'] as const).find((worst) => statuses.includes(worst)) ??
      'terminated';
    return {
      status,
      instances: [
        ...cancelled,
        ...results.map((result) => ({ ...presentInstance(result.instance, context), status: result.status })),
      ],
      note: isTooLate
        ? tooLate
        : status === 'still_running'
          ? "Lambda still shows some of them running, and they are billed: try again, or end them in Lambda's console."
          : 'Seen in the list: they are going, and no further minutes are counted.',
    };
  },
  render({ status, instances, note, confirm_token: token }) {
    const lines = instances.map((instance) => `- ${describe(instance)}`).join('\n');
    const next = token ? `\nTo terminate, repeat the call with confirm_token: ${token}` : '';
    return `${status}:\n${lines}\n${note}${next}`;
  },
});

/**
 * Hunts by their ids, or by the names of the deployments that they are for; deployments without a machine for which
 * nobody hunts: between two machines, or while the answer to a launch is open; the rest are machines.
 */
async function pickWaiting(wanted: readonly string[], { hunts, deployments, fleet, signal }: ToolContext) {
  const [live, rows] = await Promise.all([hunts.live(), deployments.live()]);
  const named = (idOrName: string) =>
    live.find(({ id, state, deployment_id: deploymentId }) => {
      const deployment = rows.find((row) => row.id === deploymentId);
      return id === idOrName || (state === 'hunting' && deployment?.name === idOrName);
    });
  const rest = wanted.filter((idOrName) => !named(idOrName));
  const boots = rows.some((row) => row.state === 'booting' && rest.includes(row.name));
  const listed = boots ? await fleet.list(signal) : [];
  const hasMachine = (row: DeploymentRow) =>
    listed.some(({ id, intentId }) => id !== null && intentId === row.intent_id);
  const between = (idOrName: string) =>
    rows.find(
      (row) => row.name === idOrName && (row.state === 'waiting' || (row.state === 'booting' && !hasMachine(row))),
    );
  return {
    hunts: [...new Set(wanted.flatMap((idOrName) => named(idOrName) ?? []))],
    waiting: [...new Set(rest.flatMap((idOrName) => between(idOrName) ?? []))],
    others: rest.filter((idOrName) => !between(idOrName)),
  };
}

function presentWaiting({ id, name: deployment, state }: DeploymentRow) {
  return { id, name: deployment, status: state as string, deployment: true };
}

/** Its end is carried out by the next pass; a machine that a hunt launches in this moment is ended by it too. */
async function endWaiting(rows: readonly DeploymentRow[], { deployments, clock }: ToolContext) {
  return Promise.all(
    rows.map(async (row) => {
      const done = await deployments.move(row, 'ending', clock.nowMs(), { reason: 'asked' });
      return { ...presentWaiting(row), status: done ? 'cancelled' : 'launching' };
    }),
  );
}

function presentHunt(row: HuntRow) {
  return { id: row.id, name: row.id, status: row.state, hunt: wishOf(row).types };
}

async function cancel(rows: readonly HuntRow[], { hunts, clock }: ToolContext) {
  const ended = { state: 'cancelled' as const, ended_at_ms: clock.nowMs() };
  return Promise.all(
    rows.map(async (row) => {
      const done = row.state === 'hunting' && (await hunts.move(row, ended));
      // Its launch is under way: the machine is in the list in a moment, and can be terminated then.
      return { ...presentHunt(row), status: done ? 'cancelled' : 'launching' };
    }),
  );
}

function describe(instance: Record<string, unknown>): string {
  if (instance.deployment) return `deployment ${instance.name}, which waits for a machine, ${instance.status}`;
  if (instance.hunt) return `hunt ${instance.id} for ${(instance.hunt as string[]).join(', ')}, ${instance.status}`;
  const age = duration(instance.age_seconds === null ? null : Number(instance.age_seconds) * 1000);
  const origin = instance.managed ? '' : ', not launched by Tandem';
  return `${instance.name} (${instance.id}, ${instance.instance_type} in ${instance.region}, ${instance.status}, age ${age}, cost so far ${usd(instance.cost_so_far_usd as number | null)}${origin})`;
}

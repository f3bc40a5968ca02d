import { z } from 'zod';
import { AppError } from '../errors.ts';
import type { FleetInstance } from '../lambda/fleet-instance.ts';
import type { RenewalPlan } from '../lambda/renewal.ts';
import { nanoToUsd } from '../money.ts';
import { usd } from './text.ts';
import { defineTool, type ToolContext } from './tool.ts';

const name = 'renew_lease';

export const renewLease = defineTool({
  name,
  title: 'Renew the lease of a GPU instance',
  effect: 'spend',
  scope: 'operate',
  recorded: [
    ...['instance', 'hours', 'status', 'plan', 'id', 'name', 'lease_ends_at', 'worst_case_usd', 'adopts'],
    ...['target', 'lease', 'expiresAtMs', 'worstCaseNanoUsd'],
  ],
  openWorld: true,
  description:
    'Let an instance live until `hours` from now, at most until its cap; one that Tandem did not launch gets a lease. Confirm like launch_instance.',
  input: z.strictObject({
    instance: z.string().min(1).describe('id or name'),
    hours: z.number().positive().max(8_760),
    confirm_token: z.string().optional(),
  }),
  output: z.object({
    status: z.enum(['confirm_required', 'declined', 'renewed', 'adopted']),
    plan: z.looseObject({}),
    note: z.string(),
    confirm_token: z.string().optional(),
  }),
  async handler({ instance, hours, confirm_token: token }, context) {
    const { fleet, signal } = context;
    const [target] = await fleet.find([instance], signal);
    const confirmed = await context.confirm<RenewalPlan | null>({
      tool: name,
      subject: { id: target?.id, hours },
      token,
      plan: async () => {
        if (!target) return null;
        await requireStays(target, hours, context);
        return fleet.planRenewal(target, hours, signal);
      },
      question: (plan) => `${describe(present(plan, context))}?`,
    });
    const plan = present(confirmed.plan, context);
    if (confirmed.status === 'confirm_required') {
      return { status: confirmed.status, plan, note: 'Nothing was changed yet.', confirm_token: confirmed.token };
    }
    if (confirmed.status === 'declined' || confirmed.plan === null)
      return { status: 'declined' as const, plan, note: 'The person declined. Nothing was changed.' };
    await fleet.renew(confirmed.plan);
    return {
      status: confirmed.plan.orphan ? ('adopted' as const) : ('renewed' as const),
      plan,
      note: 'It is terminated when the lease ends; terminate_instance ends it before.',
    };
  },
  render({ status, plan, note, confirm_token: token }) {
    const next = token ? `\nTo renew, repeat the call with confirm_token: ${token}` : '';
    return `${status}: ${describe(plan)}.\n${note}${next}`;
  },
});

/** A deployment that is on its way out, or whose window ends before, does not live longer by a lease. */
async function requireStays(
  { name: called, intentId }: FleetInstance,
  hours: number,
  { deployments, clock, calendar }: ToolContext,
): Promise<void> {
  const row = (await deployments.live()).find((live) => live.intent_id !== null && live.intent_id === intentId);
  if (row?.state === 'draining' || row?.state === 'ending') {
    throw new AppError('conflict', `The deployment "${called}" is ${row.state}, and ends whatever its lease.`, {
      next: 'Launch it anew with launch_instance.',
    });
  }
  const untilMs = row?.until_ms ?? Number.POSITIVE_INFINITY;
  if (clock.nowMs() + hours * 3_600_000 <= untilMs) return;
  throw new AppError(
    'invalid_input',
    `"${called}" belongs to a schedule, whose window ends at ${calendar.format(untilMs)} (${calendar.timeZone}).`,
    { next: 'Change the window under fleet in tandem.yaml, or launch another deployment.' },
  );
}

function present(plan: RenewalPlan | null, { calendar }: ToolContext) {
  if (plan === null) return {};
  const { target, lease, worstCaseNanoUsd, orphan } = plan;
  const cost = orphan ? null : target.cost;
  return {
    id: target.id,
    name: target.name,
    instance_type: target.instanceType,
    lease_ended_at: target.lease === null ? null : calendar.format(target.lease.expiresAtMs),
    lease_ends_at: calendar.format(lease.expiresAtMs),
    lease_cap_at: calendar.format(lease.capAtMs),
    time_zone: calendar.timeZone,
    cost_so_far_usd: nanoToUsd(cost?.costNanoUsd ?? null),
    worst_case_usd: nanoToUsd(worstCaseNanoUsd),
    adopts: orphan !== null,
  };
}

function describe(plan: Record<string, unknown>): string {
  const what = `"${plan.name}" (${plan.id}, ${plan.instance_type})`;
  const before = plan.lease_ended_at === null ? '' : ` instead of ${plan.lease_ended_at}`;
  const act = plan.adopts
    ? `Take ${what}, which Tandem did not launch, into the ledger and let it run`
    : `Let ${what} run`;
  return `${act} until ${plan.lease_ends_at} ${plan.time_zone}${before}, and terminate it then (cap ${plan.lease_cap_at}); until then it costs ${usd(plan.worst_case_usd as number)} in all, ${usd(plan.cost_so_far_usd as number | null)} of it so far`;
}

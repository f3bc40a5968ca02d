import { z } from 'zod';
import { AppError } from '../errors.ts';
import { recheck } from '../lambda/plan.ts';
import type { Confirmed } from './confirmation.ts';
import {
  beginHunt,
  cappedAtNow,
  describeHunt,
  type PlannedHunt,
  presentHunt,
  proposeHunt,
  waitInput,
} from './launch-hunt.ts';
import {
  filesystemsIn,
  launchMachine,
  noteOn,
  nothingLaunched,
  type PlannedMachine,
  present,
  proposeMachine,
  question,
} from './launch-machine.ts';
import { serveInput } from './launch-serve.ts';
import { usd } from './text.ts';
import { defineTool } from './tool.ts';

const name = 'launch_instance';
const huntNote =
  'It goes on in the background, also without this chat: list_gpu_instances shows it, terminate_instance with its id ends it.';

export const launchInstance = defineTool({
  name,
  title: 'Launch a GPU instance',
  effect: 'spend',
  scope: 'operate',
  recorded: [
    ...['instance_type', 'region', 'name', 'ssh_key', 'image_family', 'filesystems', 'max_hourly_usd', 'lease_hours'],
    ...['instanceType', 'sshKeyName', 'imageFamily', 'filesystemNames', 'priceCentsPerHour', 'leaseMs'],
    ...[
      'serve',
      'model',
      'engine',
      'endpoint',
      'allow_cidr',
      'max_context',
      'hf_token_env',
      'idle_minutes',
      'allow_misfit',
    ],
    ...['serves', 'spec', 'maxContext', 'hfTokenEnv', 'idleMs'],
    ...['wait_for_capacity', 'types', 'regions', 'until'],
    ...['hunt', 'untilMs', 'worstCaseNanoUsd', 'maxPriceCentsPerHour'],
    ...['status', 'instance_id', 'hunt_id'],
  ],
  openWorld: true,
  description:
    'Rent a Lambda Cloud instance, billed until terminated, at the latest when its lease ends. The first call returns a plan and confirm_token: show the plan to the person, then repeat the call with the token.',
  input: z.strictObject({
    instance_type: z.string().min(1).optional(),
    region: z.string().min(1).optional().describe('default: any with capacity'),
    name: z
      .string()
      // Not as a pattern: in the schema it would cost every client more than a refusal does the few that need one.
      .refine((name) => /^[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9])?$/.test(name), {
        error: 'must be 1 to 64 letters, digits, spaces, dots, dashes, underscores',
      })
      .optional(),
    ssh_key: z.string().min(1).optional(),
    image_family: z.string().min(1).optional(),
    filesystems: z.array(z.string().min(1)).optional(),
    user_data: z.string().optional().describe('cloud-init'),
    max_hourly_usd: z.number().min(0).optional(),
    lease_hours: z.number().positive().optional().describe('then it is terminated; default 4'),
    serve: serveInput.optional().describe('a model to serve on it; it becomes a backend'),
    wait_for_capacity: waitInput.optional(),
    confirm_token: z.string().optional(),
  }),
  output: z.object({
    status: z.enum(['confirm_required', 'declined', 'launching', 'unconfirmed', 'hunting']),
    plan: z.looseObject({}),
    note: z.string(),
    confirm_token: z.string().optional(),
    instance_id: z.string().nullable().optional(),
    hunt_id: z.string().optional(),
  }),
  async handler({ confirm_token: token, wait_for_capacity: wait, serve, ...input }, context) {
    if (serve && input.user_data !== undefined) {
      throw new AppError('invalid_input', 'Both serve and user_data are given.', {
        next: 'Give either: what serves a model is a boot script of its own.',
      });
    }
    const { fleet, signal } = context;
    const subject = { ...input, serve, wait };
    const order = {
      name: input.name,
      sshKey: input.ssh_key,
      imageFamily: input.image_family,
      filesystems: input.filesystems,
      userData: input.user_data,
      leaseHours: input.lease_hours,
      region: input.region,
      maxHourlyUsd: input.max_hourly_usd,
    };
    if (wait) {
      const confirmed = await context.confirm({
        ...{ tool: name, subject, token },
        plan: async () =>
          cappedAtNow(await proposeHunt(wait, { ...order, instanceType: input.instance_type }, serve, context)),
        question: (planned: PlannedHunt) => `Shall Tandem ${describeHunt(presentHunt(planned, context))}?`,
      });
      const plan = presentHunt(confirmed.plan, context);
      if (confirmed.status !== 'confirmed') return unconfirmed(confirmed, plan);
      const id = await beginHunt(confirmed.plan, context);
      return { status: 'hunting' as const, plan, note: huntNote, hunt_id: id };
    }
    const { instance_type: instanceType } = input;
    if (instanceType === undefined) {
      throw new AppError('invalid_input', 'No instance type is named.', {
        next: 'list_gpu_types shows what there is.',
      });
    }
    const wish = { ...order, instanceType };
    const proposal = { tool: name, subject, plan: () => proposeMachine(wish, serve, context), question };
    let confirmed: Confirmed<PlannedMachine> = await context.confirm({ ...proposal, token });
    let note = '';
    while (confirmed.status === 'confirmed') {
      // The yes was given for a price, maybe a while ago; a higher one needs a new yes.
      const before = confirmed.plan.priceCentsPerHour;
      const priceCentsPerHour = await recheck(fleet, confirmed.plan, signal).catch(nothingLaunched);
      if (priceCentsPerHour <= before) {
        confirmed = { ...confirmed, plan: { ...confirmed.plan, priceCentsPerHour } };
        break;
      }
      note = `The price has gone up since the plan was shown (it was ${usd(before / 100)} an hour). `;
      confirmed = await context.confirm({ ...proposal, token: undefined });
    }
    const plan = present(confirmed.plan, context);
    if (confirmed.status !== 'confirmed') return unconfirmed(confirmed, plan, note);
    const result = await launchMachine(confirmed.plan, context);
    return {
      status: result.status,
      plan,
      note: note + noteOn(result, confirmed.plan),
      instance_id: result.instanceId,
    };
  },
  render({ status, plan, note, confirm_token: token, instance_id: id, hunt_id: hunt }) {
    const ask = `\nTo launch, repeat the call with confirm_token: ${token}`;
    if (plan.until !== undefined)
      return `${token ? 'Plan' : status}: ${describeHunt(plan)}.\n${hunt ? `Hunt ${hunt}. ` : ''}${note}${token ? ask : ''}`;
    const planned = `${plan.instance_type} (${plan.gpu}) in ${plan.region} as "${plan.name}", ${usd(plan.price_usd_per_hour as number)} an hour, lease ${plan.lease_hours} h (until ${plan.lease_ends_at}), then terminated: ${usd(plan.worst_case_usd as number)} at most; SSH key ${plan.ssh_key}, image ${plan.image_family}${filesystemsIn(plan.filesystems as string[])}${plan.serves ? `; serves ${plan.serves}` : ''}${plan.user_data ? `; runs at boot: ${plan.user_data}` : ''}`;
    const budget = `Budget left: ${usd(plan.budget_left_today_usd as number)} today, ${usd(plan.budget_left_month_usd as number)} this month; it would last ${plan.budget_lasts_hours} h at this price.`;
    if (status === 'confirm_required') return `Plan: ${planned}.\n${budget}\n${note}${ask}`;
    return `${status}: ${planned}${id ? `; instance id ${id}` : ''}.\n${note}`;
  },
});

function unconfirmed(
  confirmed: { status: 'confirm_required'; token: string } | { status: 'declined' },
  plan: Record<string, unknown>,
  note = '',
) {
  if (confirmed.status === 'declined')
    return { status: 'declined' as const, plan, note: 'The person declined. Nothing was launched.' };
  return {
    status: 'confirm_required' as const,
    plan,
    note: `${note}Nothing was launched yet.`,
    confirm_token: confirmed.token,
  };
}

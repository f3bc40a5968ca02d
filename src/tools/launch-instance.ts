import { z } from 'zod';
import { AppError } from '../errors.ts';
import type { LaunchPlan, LaunchResult } from '../lambda/fleet.ts';
import { planLaunch, recheck } from '../lambda/plan.ts';
import { instanceCostNano, nanoToUsd } from '../money.ts';
import type { Confirmed } from './confirmation.ts';
import { usd } from './text.ts';
import { defineTool, type ToolContext } from './tool.ts';

const hourMs = 3_600_000;
/** How long the call waits for Lambda's answer; the launch itself goes on. */
const waitMs = 30_000;
const name = 'launch_instance';

export const launchInstance = defineTool({
  name,
  title: 'Launch a GPU instance',
  effect: 'spend',
  scope: 'operate',
  recorded: [
    ...['instance_type', 'region', 'name', 'ssh_key', 'image_family', 'filesystems', 'max_hourly_usd'],
    ...['instanceType', 'sshKeyName', 'imageFamily', 'filesystemNames', 'priceCentsPerHour'],
    ...['status', 'instance_id'],
  ],
  openWorld: true,
  description:
    'Rent a Lambda Cloud instance; it is billed until terminated. The first call returns a plan and confirm_token: show the plan to the person, then repeat the same call with the token.',
  input: z.strictObject({
    instance_type: z.string().min(1),
    region: z.string().min(1).optional().describe('default: any with capacity'),
    name: z
      .string()
      .regex(/^[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9])?$/, {
        error: 'must be 1 to 64 letters, digits, spaces, dots, dashes, underscores',
      })
      .optional(),
    ssh_key: z.string().min(1).optional().describe('default: the only one'),
    image_family: z.string().min(1).optional(),
    filesystems: z.array(z.string().min(1)).optional(),
    user_data: z.string().optional().describe('cloud-init'),
    max_hourly_usd: z.number().min(0).optional(),
    confirm_token: z.string().optional(),
  }),
  output: z.object({
    status: z.enum(['confirm_required', 'declined', 'launching', 'unconfirmed']),
    plan: z.looseObject({}),
    note: z.string(),
    confirm_token: z.string().optional(),
    instance_id: z.string().nullable().optional(),
  }),
  async handler({ confirm_token: token, ...wish }, context) {
    const { fleet, signal } = context;
    const propose = async (): Promise<LaunchPlan & Money> => {
      const plan = await planLaunch(
        fleet,
        {
          instanceType: wish.instance_type,
          region: wish.region,
          name: wish.name,
          sshKey: wish.ssh_key,
          imageFamily: wish.image_family,
          filesystems: wish.filesystems,
          userData: wish.user_data,
          maxHourlyUsd: wish.max_hourly_usd,
        },
        signal,
      );
      return { ...plan, ...(await moneyFor(plan, context)) };
    };
    const proposal = { tool: name, subject: wish, plan: propose, question };
    let confirmed: Confirmed<LaunchPlan & Money> = await context.confirm({ ...proposal, token });
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
    const plan = present(confirmed.plan);
    if (confirmed.status === 'confirm_required') {
      return {
        status: 'confirm_required' as const,
        plan,
        note: `${note}Nothing was launched yet.`,
        confirm_token: confirmed.token,
      };
    }
    if (confirmed.status === 'declined')
      return { status: 'declined' as const, plan, note: 'The person declined. Nothing was launched.' };
    const result = await fleet.launch(confirmed.plan, waitMs, signal);
    return { status: result.status, plan, note: note + noteOn(result), instance_id: result.instanceId };
  },
  render({ status, plan, note, confirm_token: token, instance_id: id }) {
    const planned = `${plan.instance_type} (${plan.gpu}) in ${plan.region} as "${plan.name}", ${usd(plan.price_usd_per_hour as number)} an hour, ${usd(plan.price_usd_per_day as number)} a day, until terminated; SSH key ${plan.ssh_key}, image ${plan.image_family}${filesystemsIn(plan.filesystems as string[])}${plan.user_data ? `; runs at boot: ${plan.user_data}` : ''}`;
    const budget = `Budget left: ${usd(plan.budget_left_today_usd as number)} today, ${usd(plan.budget_left_month_usd as number)} this month; it lasts ${plan.budget_lasts_hours} h at this price, and does not end the instance.`;
    if (status === 'confirm_required')
      return `Plan: ${planned}.\n${budget}\n${note}\nTo launch, repeat the call with confirm_token: ${token}`;
    return `${status}: ${planned}${id ? `; instance id ${id}` : ''}.\n${note}`;
  },
});

/** The yes is used up, but nothing came of it: say both. */
function nothingLaunched(error: unknown): never {
  if (!(error instanceof AppError)) throw error;
  const { code, cause, next, httpStatus, retryAfterMs } = error;
  throw new AppError(code, `${error.message} Nothing was launched.`, {
    next: `${next ?? ''} Then ask for a new plan: call ${name} without confirm_token.`.trim(),
    cause,
    ...(httpStatus !== undefined && { httpStatus }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });
}

interface Money {
  budgetLeftTodayNanoUsd: number;
  budgetLeftMonthNanoUsd: number;
}

async function moneyFor(plan: LaunchPlan, { reports }: ToolContext): Promise<Money> {
  const { day, month } = await reports.budget();
  const firstHour = instanceCostNano(plan.priceCentsPerHour, hourMs);
  for (const budget of [day, month]) {
    if (budget.leftNanoUsd >= firstHour) continue;
    throw new AppError(
      'budget_exhausted',
      `The ${budget.unit} budget has ${usd(nanoToUsd(budget.leftNanoUsd))} left; one hour of ${plan.instanceType} costs ${usd(nanoToUsd(firstHour))}. Nothing was launched.`,
      { next: 'Choose a cheaper type, terminate something, or raise budgets in tandem.yaml.' },
    );
  }
  return { budgetLeftTodayNanoUsd: day.leftNanoUsd, budgetLeftMonthNanoUsd: month.leftNanoUsd };
}

function question(plan: LaunchPlan & Money): string {
  const hourly = usd(plan.priceCentsPerHour / 100);
  const script = plan.userData === undefined ? '' : ` It runs this as root when it boots: ${excerpt(plan.userData)}.`;
  return `Launch ${plan.instanceType} (${plan.gpuDescription}) in ${plan.region} as "${plan.name}" for ${hourly} an hour, until it is terminated? SSH key ${plan.sshKeyName}, image ${plan.imageFamily}${filesystemsIn(plan.filesystemNames)}.${script} Budget left: ${usd(nanoToUsd(plan.budgetLeftTodayNanoUsd))} today, ${usd(nanoToUsd(plan.budgetLeftMonthNanoUsd))} this month.`;
}

function present(plan: LaunchPlan & Money) {
  const hourly = nanoToUsd(instanceCostNano(plan.priceCentsPerHour, hourMs));
  const leftNanoUsd = Math.min(plan.budgetLeftTodayNanoUsd, plan.budgetLeftMonthNanoUsd);
  return {
    instance_type: plan.instanceType,
    gpu: plan.gpuDescription,
    region: plan.region,
    name: plan.name,
    ssh_key: plan.sshKeyName,
    image_family: plan.imageFamily,
    filesystems: plan.filesystemNames,
    ...(plan.userData !== undefined && { user_data: excerpt(plan.userData) }),
    price_usd_per_hour: hourly,
    price_usd_per_day: nanoToUsd(instanceCostNano(plan.priceCentsPerHour, 24 * hourMs)),
    budget_left_today_usd: nanoToUsd(plan.budgetLeftTodayNanoUsd),
    budget_left_month_usd: nanoToUsd(plan.budgetLeftMonthNanoUsd),
    budget_lasts_hours: Math.round((nanoToUsd(leftNanoUsd) / hourly) * 10) / 10,
  };
}

function filesystemsIn(names: readonly string[]): string {
  return names.length > 0 ? `, filesystems ${names.join(', ')}` : '';
}

const longestExcerpt = 300;

/** A boot script as a person can judge it: its beginning, on one line, and its size. */
function excerpt(userData: string): string {
  const line = JSON.stringify(userData.length > longestExcerpt ? `${userData.slice(0, longestExcerpt)}…` : userData);
  return `${line} (${Buffer.byteLength(userData)} bytes)`;
}

function noteOn({ status, adopted }: LaunchResult): string {
  if (status === 'unconfirmed') {
    return 'Lambda has not said yet whether it launched. Do not launch again: Tandem looks for the machine by its tag; list_gpu_instances shows what became of it.';
  }
  const found = adopted ? "Lambda's answer was lost; the machine was found by its tag. " : '';
  return `${found}Boot takes 3 to 15 minutes; poll list_gpu_instances until it is active. It is billed until terminate_instance.`;
}
